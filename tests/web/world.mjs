// What the tests share: one server, one browser, one person at one page. They run in order.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { axe, openBrowser, openPage } from "./browser.mjs";
import { startServer } from "./server.mjs";

/** With SCREENSHOTS set, the picture of every page that is looked at goes to docs/screenshots. */
const screenshots = process.env.SCREENSHOTS ? join(dirname(fileURLToPath(import.meta.url)), "../../docs/screenshots") : null;
export const passwords = { first: "green lamps under the tall bridge", changed: "seven slow boats on a quiet river", member: "two grey herons by the old mill" };
/** A number with a right check digit that no card has. */
export const card = "5500 0055 5555 5559";

/**
 * @typedef {import("playwright-core").Page} Page
 * @type {{ server: Awaited<ReturnType<typeof startServer>>, browser: import("playwright-core").Browser, page: Page, problems: string[] }}
 */
export const world = /** @type {any} */ ({});

export async function begin() {
  world.server = await startServer();
  world.browser = await openBrowser(world.server.authority);
  Object.assign(world, await openPage(world.browser, world.server.base));
}

export async function end() {
  await world.browser?.close();
  await world.server?.stop();
}

/**
 * Checks a page with axe, in light and dark.
 * @param {string} name
 * @param {Page} [page]
 * @param {{ isPicture?: boolean }} [options]
 */
export async function check(name, page = world.page, { isPicture } = {}) {
  for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await page.evaluate(() => new Promise((drawn) => { requestAnimationFrame(() => requestAnimationFrame(drawn)); }));
    assert.deepEqual(await axe(page), [], `${name} in ${colorScheme}`);
    if (!screenshots || !isPicture) continue;
    mkdirSync(screenshots, { recursive: true });
    await page.screenshot({ path: join(screenshots, `${name}-${colorScheme}.png`),
      // Links and keys are shown once, and not in a picture.
      mask: [page.locator(".copy-line code, .copy-block pre").filter({ hasText: /sr-|#/ })], maskColor: "#7c8991" });
  }
  await page.emulateMedia({ colorScheme: "light", reducedMotion: "reduce" });
}

/**
 * Checks a page as `check` does, and takes its picture.
 * @param {string} name
 * @param {Page} [page]
 */
export const look = (name, page = world.page) => check(name, page, { isPicture: true });

export const composer = (page = world.page) => page.getByRole("textbox", { name: "Message…" });
export const answers = (page = world.page) => page.locator(".turn.assistant");
export const stopButton = (page = world.page) => page.getByRole("button", { name: "Stop" });
export const sendButton = (page = world.page) => page.getByRole("button", { name: "Send" });
export const messagesOf = "**/api/conversations/*/messages";

/**
 * Asks, and waits for the end of the answer.
 * @param {string} words
 * @param {Page} [page]
 */
export async function ask(words, page = world.page) {
  const before = await answers(page).count();
  await composer(page).fill(words);
  await composer(page).press("Enter");
  await answers(page).nth(before).locator(".figures").waitFor({ state: "attached" });
  await sendButton(page).waitFor();
}

/**
 * Asks the server, as the page does.
 * @param {string} path
 * @param {Page} [page]
 * @returns {Promise<any>}
 */
export function get(path, page = world.page) {
  return page.evaluate(async (/** @type {string} */ at) => {
    const response = await fetch(at);
    if (!response.ok) throw new Error(`${at}: ${response.status}`);
    return response.json();
  }, path);
}

/** @param {Page} [page] @returns {Promise<any>} the conversation that is open, as the server keeps it */
export function stored(page = world.page) {
  return get(`/api/conversations/${new URL(page.url()).pathname.slice("/c/".length)}`, page);
}

/**
 * Writes down every length that an answer has on the page, and whether it was still being written then.
 * @param {Page} [page]
 */
export async function recordAnswer(page = world.page) {
  await page.evaluate(() => {
    const seen = /** @type {{ length: number, isWriting: boolean }[]} */ ([]);
    /** @type {any} */ (globalThis).seen = seen;
    const look = () => {
      const last = [...document.querySelectorAll(".turn.assistant")].at(-1);
      const length = last?.querySelector(".answer")?.textContent?.trim().length ?? 0;
      if (length > (seen.at(-1)?.length ?? 0)) seen.push({ length, isWriting: document.querySelector(".send[aria-label=Stop]") !== null });
    };
    new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
  });
  return () => page.evaluate(() => /** @type {{ length: number, isWriting: boolean }[]} */ (/** @type {any} */ (globalThis).seen));
}

/** @param {string} at @param {Page} [page] goes to a page of the administration, and waits until it is there */
export async function admin(at, page = world.page) {
  await page.goto(`${world.server.base}/admin/${at}`);
  await page.locator(".admin h1").waitFor();
  await page.locator(".waiting").waitFor({ state: "detached" });
}

/**
 * Invites a person and brings them in, in a window of their own.
 * @param {string} username
 * @param {string} name
 */
export async function comeIn(username, name) {
  const link = await world.page.evaluate(async ([username, display_name]) => {
    const headers = { "content-type": "application/json", "x-strongroom-csrf": (await (await fetch("/api/me")).json()).csrf };
    const response = await fetch("/api/admin/people", { method: "POST", headers, body: JSON.stringify({ username, display_name, roles: ["member"] }) });
    return (await response.json()).invitation_link;
  }, [username, name]);
  const opened = await openPage(world.browser, world.server.base);
  await opened.page.goto(new URL(link, world.server.base).href);
  await opened.page.getByLabel("Password", { exact: true }).fill(passwords.member);
  await opened.page.getByRole("button", { name: "Save and sign in" }).click();
  await composer(opened.page).waitFor();
  return opened;
}

/** @param {string} base @param {Page} page @param {string} username @param {string} password */
export async function signIn(base, page, username, password) {
  if (!page.url().startsWith(base)) await page.goto(base);
  await page.getByLabel("Sign-in name").fill(username);
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("button", { name: "Sign in" }).waitFor({ state: "detached" });
}
