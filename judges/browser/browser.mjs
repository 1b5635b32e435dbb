// A person with a browser: signs in, reads the consent page, and decides with the keyboard.
import { mkdirSync } from "node:fs";

/** Opens a browser. `asked` has `modules`, `shots` (a directory), `chromium`, `owners` (origins that may be asked). */
export async function person(asked) {
  const { chromium } = await import(`${asked.modules}/playwright-core/index.mjs`);
  const { AxeBuilder } = await import(`${asked.modules}/@axe-core/playwright/dist/index.mjs`);
  mkdirSync(asked.shots, { recursive: true });
  const browser = await chromium.launch({ executablePath: asked.chromium, args: ["--no-sandbox"] });
  // The public port has a certificate of the trust domain's own authority.
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  const told = { violations: [], strangers: [], complaints: [], pages: 0 };
  // The provider's pages want fonts from elsewhere; ours want nothing.
  const isStrange = (url) => !asked.owners.includes(url.origin);
  await context.route(isStrange, (route) => route.abort());
  page.on("request", (request) => {
    const ours = new URL(request.frame().url()).origin === asked.issuer;
    if (ours && isStrange(new URL(request.url()))) told.strangers.push(request.url());
  });
  page.on("console", (message) => {
    // What a page's answer was is no complaint of the browser about the page.
    const isStatus = message.text().startsWith("Failed to load resource");
    if (message.type() === "error" && !isStatus) told.complaints.push(message.text());
  });

  /** Looks at the page as people with small and large screens do, in light and dark. */
  async function look(name) {
    for (const width of [360, 1280]) {
      for (const colorScheme of ["light", "dark"]) {
        await page.setViewportSize({ width, height: 900 });
        await page.emulateMedia({ colorScheme });
        await page.screenshot({ path: `${asked.shots}/${name}-${width}-${colorScheme}.png`, fullPage: true });
        const wide = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
        if (wide) told.violations.push(`${name} at ${width}: wider than the screen`);
        const found = await new AxeBuilder({ page }).analyze();
        for (const it of found.violations) {
          told.violations.push(`${name} at ${width} ${colorScheme}: ${it.id} ${it.nodes.map((node) => node.html)}`);
        }
        told.pages += 1;
      }
    }
  }

  /** Signs in at the provider, which knows nobody and believes everybody. */
  async function signIn(name) {
    await page.fill("input[name=login]", name);
    await page.fill("input[name=password]", "x");
    await page.click("button[type=submit]");
    await page.waitForSelector("button[type=submit]");
    if (new URL(page.url()).origin === asked.provider) await page.click("button[type=submit]");
  }

  /** Gives the person a device with a fingerprint reader, as far as the browser can tell. */
  async function device() {
    const cdp = await context.newCDPSession(page);
    await cdp.send("WebAuthn.enable");
    const options = {
      protocol: "ctap2",
      transport: "internal",
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    };
    const { authenticatorId } = await cdp.send("WebAuthn.addVirtualAuthenticator", { options });
    return {
      recognises: (isUserVerified) => cdp.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified }),
      keys: async () => (await cdp.send("WebAuthn.getCredentials", { authenticatorId })).credentials,
      forget: () => cdp.send("WebAuthn.clearCredentials", { authenticatorId }),
      remember: (credential) => cdp.send("WebAuthn.addCredential", { authenticatorId, credential }),
    };
  }

  /** Goes with the tabulator to the control of this name, and types or picks there. */
  async function type(name, text) {
    await reach((it) => it.name === name, name);
    const kind = await page.evaluate(() => document.activeElement.tagName);
    if (kind === "SELECT") await page.locator(":focus").selectOption(text);
    else await page.keyboard.insertText(text);
  }

  /** Goes with the tabulator to the button that says this, and presses it. */
  async function press(text) {
    await reach((it) => it.text === text, text);
    await page.keyboard.press("Enter");
  }

  async function reach(fits, what) {
    for (let steps = 0; steps < 40; steps += 1) {
      await page.keyboard.press("Tab");
      const at = await page.evaluate(() => {
        const it = document.activeElement;
        return { name: it.name ?? "", text: it.textContent.trim() };
      });
      if (fits(at)) return;
    }
    throw new Error(`no way by keyboard to ${what}`);
  }

  return { browser, context, page, told, look, signIn, device, type, press };
}
