// The reader of a guide, in front of a browser: registers a passkey with a link, and consents to a client's task.
// ARGV[2] is a JSON file: { modules, chromium, shots, issuer, link, address }.
//
// Prints one line of JSON: what came of each step, or `error`.
import { readFileSync } from "node:fs";

import { person } from "./browser.mjs";

const asked = JSON.parse(readFileSync(process.argv[2], "utf8"));

async function go(someone, told) {
  const { page } = someone;
  await someone.device();
  await page.goto(asked.link);
  await someone.look("enroll");
  await someone.press("Register a passkey");
  await page.waitForSelector("[role=status]");
  await page.goto(asked.address);
  await someone.press("Sign in with a passkey");
  await page.waitForSelector("button[value=allow]");
  told.asked = await page.innerText("main");
  await someone.look("consent");
  await someone.press("Start this task");
  await page.waitForSelector("#done");
}

let answer = {};
const back = new URL(asked.address).searchParams.get("redirect_uri");
const someone = await person({ ...asked, owners: [asked.issuer, new URL(back).origin] });
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
