// Debian's Chromium, watched: every request, every refusal by the content security policy, every error.
// It trusts the server's own authority as a person's browser does after its ca.pem was added; no check
// of certificates is switched off.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** Takes the static files from here, not from the binary, while they are worked on. */
const statics = process.env.STATIC_DIR;
/** A slow machine is given time; nothing waits this long where all is well. */
const PATIENCE_MS = 120_000;

/** @param {string} [authority] the certificate of the authority to trust; without it, none is added */
export async function openBrowser(authority) {
  const home = mkdtempSync(join(tmpdir(), "strongroom-browser-"));
  // Both places, as they differ between versions of Chromium.
  for (const place of [".pki/nssdb", ".local/share/pki/nssdb"]) {
    const store = join(home, place);
    mkdirSync(store, { recursive: true });
    execFileSync("certutil", ["-d", `sql:${store}`, "-N", "--empty-password"]);
    if (authority) execFileSync("certutil", ["-d", `sql:${store}`, "-A", "-n", "strongroom", "-t", "C,,", "-i", authority]);
  }
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    env: { ...process.env, HOME: home, XDG_DATA_HOME: join(home, ".local/share"), XDG_CONFIG_HOME: join(home, ".config"), XDG_CACHE_HOME: join(home, ".cache") },
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  browser.on("disconnected", () => rmSync(home, { recursive: true, force: true, maxRetries: 5 }));
  return browser;
}

/**
 * A fresh profile, and the list of everything that must not happen in it.
 * @param {import("playwright-core").Browser} browser
 * @param {string} base
 * @param {import("playwright-core").BrowserContextOptions} [options]
 */
export async function openPage(browser, base, options = {}) {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 800 }, reducedMotion: "reduce",
    permissions: ["clipboard-read", "clipboard-write"], ...options,
  });
  context.setDefaultTimeout(PATIENCE_MS);
  /** @type {string[]} */
  const problems = [];
  await context.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) =>
      console.error(`policy: ${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
  });
  if (statics) await context.route("**/static/**", (route) => route.fulfill({ path: join(statics, new URL(route.request().url()).pathname.slice("/static/".length)) }));
  const page = await context.newPage();
  watch(page, base, problems);
  return { context, page, problems };
}

/**
 * @param {import("playwright-core").Page} page
 * @param {string} base
 * @param {string[]} problems
 */
export function watch(page, base, problems) {
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.origin !== base && url.protocol !== "data:") problems.push(`request to ${url.origin}`);
  });
  page.on("pageerror", (error) => problems.push(`error: ${error.message}`));
  page.on("dialog", (dialog) => { problems.push(`dialog: ${dialog.message()}`); void dialog.dismiss(); });
  page.on("console", (message) => {
    // The browser itself notes each refused request; the tests provoke those.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) problems.push(`console: ${message.text()}`);
  });
}

/**
 * @param {import("playwright-core").Page} page
 * @returns {Promise<string[]>} what axe finds, one line each
 */
export async function axe(page) {
  await page.evaluate(axeSource);
  return page.evaluate(async () => {
    const found = await /** @type {any} */ (globalThis).axe.run(document, {
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    });
    return found.violations.map((/** @type {any} */ one) =>
      `${one.id}: ${one.nodes.slice(0, 3).map((/** @type {any} */ node) => `${node.target.join(" ")} ${node.any[0]?.message ?? ""}`).join(" | ")}`);
  });
}
