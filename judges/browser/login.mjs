// A person lets two command lines act as them, in a real browser: on a laptop (the whole address) and for a machine without
// a screen (the code, typed). ARGV[2] is a JSON file: { modules, chromium, shots, issuer, provider, link, name, laptop, address,
// code }. With `link` the person registers a passkey first and signs in with that, at a virtual authenticator; without it
// they sign in at `provider` as `name`.
//
// Prints one line of JSON: what came of each step, or `error`.
import { readFileSync } from "node:fs";

import { person } from "./browser.mjs";

const asked = JSON.parse(readFileSync(process.argv[2], "utf8"));
const kind = asked.link ? "passkey" : "provider";

const text = (page, selector = "main") => page.innerText(selector);

/** Registers a passkey with the link, and tries the link again. */
async function enrol(someone, told) {
  const { page } = someone;
  await page.goto(asked.link);
  await someone.look("enroll");
  await someone.press("Register a passkey");
  await page.waitForSelector("[role=status]");
  told.enrolled = await text(page);
  await someone.look("enrolled");
  await page.goto(asked.link);
  told.spent = await text(page);
  await someone.look("spent");
}

/** Signs in wherever the browser was sent to. */
async function signIn(someone) {
  const { page } = someone;
  if (kind === "provider") return someone.signIn(asked.name);
  await page.waitForSelector("#passkey");
  await someone.look("sign-in");
  await someone.press("Sign in with a passkey");
}

/** What a device that does not know its user, one without the passkey, and one with an older copy of it come to. */
async function refusals(someone, holder, told) {
  const { page } = someone;
  const attempt = async () => {
    await page.goto(`${asked.issuer}/sign-in`);
    await someone.press("Sign in with a passkey");
    await page.waitForSelector("[role=alert]:not([hidden])");
    return text(page, "[role=alert]:not([hidden])");
  };
  await holder.recognises(false);
  told.unverified = await attempt();
  await someone.look("unverified");
  await holder.recognises(true);
  const [key] = await holder.keys();
  await holder.forget();
  told.without = await attempt();
  await holder.remember({ ...key, signCount: 1 });
  told.copied = await attempt();
  await someone.look("copied");
}

async function go(someone, told) {
  const { page } = someone;
  const holder = asked.link && (await someone.device());
  if (holder) await enrol(someone, told);
  // On a laptop: the address has the code in it.
  await page.goto(asked.laptop);
  await signIn(someone);
  await page.waitForSelector("button[value=yes]");
  told.asked = await text(page);
  await someone.look(`device-${kind}`);
  await someone.press("Let it act as me");
  await page.waitForSelector("[role=status]");
  told.let = await text(page);
  await someone.look(`let-${kind}`);
  // Without a screen: somebody reads the code there and types it here.
  await page.goto(asked.address);
  await someone.look(`code-${kind}`);
  await someone.type("user_code", "WRNG-CODE");
  await someone.press("Go on");
  await page.waitForSelector("[aria-invalid=true]");
  told.wrong = await text(page, "[role=alert]");
  await page.fill("#code", "");
  await someone.type("user_code", asked.code.toLowerCase());
  await someone.press("Go on");
  await page.waitForSelector("button[value=yes]");
  await someone.press("Let it act as me");
  await page.waitForSelector("[role=status]");
  await page.goto(`${asked.issuer}/account`);
  told.account = await text(page);
  await someone.look(`account-${kind}`);
  // The person ends one of the two here; which, is the older.
  await someone.press("End it");
  await page.waitForFunction(() => document.querySelectorAll("input[name=login]").length === 1);
  told.after = await text(page);
  await someone.press("Sign out");
  await page.waitForSelector("a[href='/sign-in']");
  told.out = await text(page);
  if (holder) await refusals(someone, holder, told);
}

let answer = {};
const owners = [asked.issuer, asked.provider].filter(Boolean);
const someone = await person({ ...asked, owners });
try {
  await go(someone, answer);
} catch (error) {
  const page = await someone.page.textContent("main, body").catch(() => "");
  answer = { ...answer, error: String(error.stack), page, at: someone.page.url() };
}
Object.assign(answer, someone.told);
await someone.browser.close();
console.log(JSON.stringify(answer));
process.exit(0);
