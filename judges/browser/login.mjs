// By hand: node passkey.mjs MODULES SHOTS LINK LOGIN_URL
const [modules, shots, link, device] = process.argv.slice(2);
const { chromium } = await import(`${modules}/playwright-core/index.mjs`);
const { AxeBuilder } = await import(`${modules}/@axe-core/playwright/dist/index.mjs`);
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
const page = await context.newPage();
page.on("console", (m) => console.log("console", m.type(), m.text()));
page.on("request", (r) => { if (new URL(r.url()).origin !== new URL(link).origin) console.log("STRANGER", r.url()); });
const cdp = await context.newCDPSession(page);
await cdp.send("WebAuthn.enable");
const { authenticatorId } = await cdp.send("WebAuthn.addVirtualAuthenticator", { options: {
  protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true,
  isUserVerified: true, automaticPresenceSimulation: true } });
async function look(name) {
  for (const width of [360, 1280]) for (const colorScheme of ["light", "dark"]) {
    await page.setViewportSize({ width, height: 900 });
    await page.emulateMedia({ colorScheme });
    await page.screenshot({ path: `${shots}/${name}-${width}-${colorScheme}.png`, fullPage: true });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
    const found = await new AxeBuilder({ page }).analyze();
    if (wide || found.violations.length) console.log("VIOLATION", name, width, colorScheme, wide, found.violations.map((v) => v.id + ":" + v.nodes.map((n) => n.html)));
  }
}
const at = new URL(link).origin;
await page.goto(link);
await look("enrol");
await page.keyboard.press("Tab"); 
await page.click("button[type=submit]");
await page.waitForSelector("[role=status], [role=alert]:not([hidden])");
console.log("enrolled:", await page.innerText("main"));
await look("enrolled");
await page.goto(link);
console.log("again:", (await page.innerText("main")).slice(0, 120));
await page.goto(device ?? `${at}/account`);
console.log("at", page.url());
await look("sign-in");
await page.click("button[type=submit]");
await page.waitForURL((url) => !url.pathname.startsWith("/sign-in"));
console.log("signed in:", page.url(), await page.innerText("main"));
await look("after");
if (device) {
  await page.click("button[value=yes]");
  await page.waitForSelector("[role=status]");
  console.log("device:", await page.innerText("main"));
  await look("let");
  await page.goto(`${at}/account`);
  await look("account");
  console.log("account:", await page.innerText("main"));
}
await cdp.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified: false });
await page.goto(`${at}/sign-in`);
await page.click("button[type=submit]");
await page.waitForTimeout(3000);
console.log("unverified:", page.url(), (await page.innerText("main")).slice(0, 300));
await browser.close();
