// The web app in a real browser against the real server: one person's first hour, in order.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { check as checkVendor } from "../../static/vendor/update.mjs";
import { axe, openBrowser, openPage } from "./browser.mjs";
import { hostile, streamOf, wellMade } from "./hostile.mjs";
import { startServer } from "./server.mjs";

const screenshots = process.env.SCREENSHOTS ? join(dirname(fileURLToPath(import.meta.url)), "../../docs/screenshots") : null;
const password = "green lamps under the tall bridge";
const changedPassword = "seven slow boats on a quiet river";

/** @type {Awaited<ReturnType<typeof startServer>>} */
let server;
/** @type {import("playwright-core").Browser} */
let browser;
/** @type {import("playwright-core").Page} */
let page;
/** @type {string[]} */
let problems;

before(async () => {
  server = await startServer();
  browser = await openBrowser();
  ({ page, problems } = await openPage(browser, server.base));
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** @param {string} name checks the page at hand with axe, in light and dark, and takes its picture */
async function look(name) {
  for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await page.waitForTimeout(50);
    assert.deepEqual(await axe(page), [], `${name} in ${colorScheme}`);
    if (screenshots) {
      mkdirSync(screenshots, { recursive: true });
      await page.screenshot({ path: join(screenshots, `${name}-${colorScheme}.png`),
        mask: [page.locator(".copy-line code, .copy-block pre")], maskColor: "#7c8991" });
    }
  }
  await page.emulateMedia({ colorScheme: "light", reducedMotion: "reduce" });
}

const composer = () => page.getByRole("textbox", { name: "Message…" });
const answers = () => page.locator(".turn.assistant");

/** @param {string} words asks, and waits for the end of the answer */
async function ask(words) {
  await composer().fill(words);
  await composer().press("Enter");
  await page.locator(".turn.assistant .figures").last().waitFor();
}

describe("the web app", () => {
  test("its libraries are those of the lock file", () => {
    assert.deepEqual(checkVendor(), []);
  });

  test("without the link there is no way in", async () => {
    await page.goto(server.base);
    await page.getByText("This server waits for its owner").waitFor();
    await look("set-up-waiting");
  });

  test("the set-up link leads to an owner, and the password is weighed kindly", async () => {
    await page.goto(server.link);
    await page.reload();
    await page.getByLabel("Your name").fill("Olivia Ray");
    assert.equal(await page.getByLabel("Sign-in name").inputValue(), "olivia");
    const create = page.getByRole("button", { name: "Create the owner" });
    await page.getByLabel("Password", { exact: true }).fill("short");
    await page.getByText("Easy to guess").waitFor();
    assert.equal(await create.isDisabled(), true);
    await page.getByLabel("Password", { exact: true }).fill(password);
    await page.getByText("Very good.").waitFor();
    await look("set-up");
    await create.click();
    await page.getByRole("heading", { name: "How this server keeps its key" }).waitFor();
    assert.equal(new URL(page.url()).hash, "", "the token stays in the address");
    await look("set-up-key");
    await page.getByRole("button", { name: "Continue" }).click();
    await page.getByRole("heading", { name: "A model to talk to" }).waitFor();
    await look("set-up-model");
    await page.getByRole("button", { name: "Start the first chat" }).click();
    await page.getByRole("heading", { name: "What shall we work on?" }).waitFor();
    await look("welcome");
  });

  test("the first question is answered, word by word", async () => {
    await ask("Who are you?");
    assert.notEqual((await answers().last().locator(".answer").innerText()).trim(), "");
    assert.match(new URL(page.url()).pathname, /^\/c\//);
    await look("chat");
  });

  test("an answer is there after a reload in its middle", async () => {
    await composer().fill("Tell me more about this server.");
    await composer().press("Enter");
    await page.locator(".turn.assistant").nth(1).waitFor();
    await page.reload();
    await page.locator(".turn.assistant .figures").nth(1).waitFor();
    assert.equal(await page.locator(".turn.user").count(), 2);
    assert.equal(await answers().count(), 2);
    assert.notEqual((await answers().nth(1).innerText()).trim(), "");
  });

  test("an answer can be made again, and stopped", async () => {
    await page.getByRole("button", { name: "Answer again" }).click();
    await page.locator(".turn.assistant .figures").nth(1).waitFor();
    assert.equal(await answers().count(), 2);
    await composer().fill("Count slowly.");
    await composer().press("Enter");
    await page.locator(".turn.assistant").nth(2).waitFor();
    await page.keyboard.press("Escape");
    // Stopped before its first word, an answer has no figures to show.
    await page.locator(".turn.assistant .figures").nth(2).waitFor({ state: "attached" });
    assert.equal(await page.getByRole("button", { name: "Send" }).count(), 1);
  });

  test("a chat is renamed, found and deleted, and the deletion can be undone", async () => {
    const entry = page.locator(".history li");
    await entry.first().hover();
    await entry.first().getByRole("button").click();
    await page.getByRole("menuitem", { name: "Rename" }).click();
    await page.getByLabel("Rename").fill("Talk with the guide");
    await page.keyboard.press("Enter");
    await page.getByRole("link", { name: "Talk with the guide" }).waitFor();
    await page.reload();
    await page.getByRole("link", { name: "Talk with the guide" }).waitFor();
    const search = page.getByLabel("Search chats");
    await search.fill("zebra crossing");
    await page.getByText("No chat has these words.").waitFor();
    await search.fill("guide");
    await page.getByRole("link", { name: "Talk with the guide" }).waitFor();
    await search.fill("");
    const remove = async () => {
      await entry.first().hover();
      await entry.first().getByRole("button").click();
      await page.getByRole("menuitem", { name: "Delete" }).click();
      await page.getByText("Your chats will be listed here.").waitFor();
    };
    await remove();
    await page.getByRole("button", { name: "Undo" }).click();
    await page.getByRole("link", { name: "Talk with the guide" }).waitFor();
    await remove();
    await page.waitForResponse((response) => response.request().method() === "DELETE", { timeout: 15_000 });
    await page.reload();
    await page.getByText("Your chats will be listed here.").waitFor();
  });

  test("an answer is set in type, and says what the guard did", async () => {
    await page.route("**/api/conversations/*/messages", (route) => route.fulfill({ contentType: "text/event-stream",
      body: streamOf(wellMade, { category: "personal.card", action: "redact", count: 2 }) }));
    await ask("What does encryption at rest protect? My card is 4111 1111 1111 1111.");
    await page.getByText("2 details were replaced before the model saw them.").waitFor();
    await page.locator(".answer .hljs-keyword").first().waitFor();
    assert.equal(await page.locator(".answer table tr").count(), 4);
    await page.locator(".code-head").getByRole("button", { name: "Copy" }).click();
    assert.match(await page.evaluate(() => navigator.clipboard.readText()), /fn open/);
    await look("chat-markdown");
    await page.unroute("**/api/conversations/*/messages");
    await page.locator(".new-chat").click();
  });

  test("what a model writes runs nothing and requests nothing", async () => {
    await page.route("**/api/conversations/*/messages", (route) => route.fulfill({ contentType: "text/event-stream", body: streamOf(hostile) }));
    await ask("Show me everything.");
    await page.waitForTimeout(300);
    const left = await answers().last().locator(".answer").evaluate((node) => ({
      active: node.querySelectorAll("script, img, iframe, object, embed, svg, form, style, link, video, audio, math").length,
      handlers: [...node.querySelectorAll("*")].flatMap((one) => [...one.attributes]).filter((one) => /^on|^style$|^srcset$/i.test(one.name)).length,
      links: [...node.querySelectorAll("a")].map((one) => one.protocol),
    }));
    assert.deepEqual({ active: left.active, handlers: left.handlers }, { active: 0, handlers: 0 });
    assert.ok(left.links.every((one) => ["http:", "https:", "mailto:"].includes(one)), left.links.join(" "));
    assert.equal(await page.evaluate(() => /** @type {any} */ (globalThis).wasHacked), undefined);
    await look("chat-hostile");
    await page.unroute("**/api/conversations/*/messages");
  });

  test("a refused message comes back into the box, with a reason", async () => {
    await page.route("**/api/conversations/*/messages", (route) => route.fulfill({ status: 429, headers: { "retry-after": "20" },
      json: { error: { message: "x", type: "requests", param: null, code: "rate_limit_exceeded" } } }));
    await composer().fill("One more thing");
    await composer().press("Enter");
    await page.getByText("Wait 20 s").waitFor();
    assert.equal(await composer().inputValue(), "One more thing");
    await page.unroute("**/api/conversations/*/messages");
  });

  test("a key is made, shown once, and revoked", async () => {
    await page.goto(`${server.base}/account`);
    await page.getByRole("button", { name: "New key" }).click();
    await page.getByLabel("Name", { exact: true }).fill("notebook");
    await page.getByRole("button", { name: "Make the key" }).click();
    const secret = await page.locator("dialog .copy-line code").innerText();
    assert.match(secret, /^sr-/);
    assert.ok((await page.locator("dialog pre").innerText()).includes(`${server.base}/v1`));
    await look("key");
    await page.getByRole("button", { name: "Done" }).click();
    await page.reload();
    await page.getByText("notebook").waitFor();
    assert.equal((await page.content()).includes(secret), false);
    await look("account");
    await page.getByRole("button", { name: "Revoke: notebook" }).click();
    await page.locator("dialog").getByRole("button", { name: "Revoke" }).click();
    await page.getByText("No keys yet").waitFor();
  });

  test("the password is changed with the present one only", async () => {
    await page.getByLabel("Present password", { exact: true }).fill("not the present password");
    await page.getByLabel("New password", { exact: true }).fill(changedPassword);
    await page.getByRole("button", { name: "Change the password" }).click();
    await page.locator(".section .notice.bad").waitFor();
    await page.getByLabel("Present password", { exact: true }).fill(password);
    await page.getByRole("button", { name: "Change the password" }).click();
    await page.getByText("The password is changed").waitFor();
  });

  for (const name of ["overview", "people", "roles", "models", "guard", "audit", "alerts", "evaluations"]) {
    test(`the administration shows ${name}`, async () => {
      await page.goto(`${server.base}/admin/${name}`);
      await page.locator(".admin h1").waitFor();
      await page.locator(".waiting").waitFor({ state: "detached" });
      assert.deepEqual(await page.locator(".admin .notice.bad").allInnerTexts(), []);
      await look(`admin-${name}`);
    });
  }

  test("the guard can be tried, and its policy reads as words", async () => {
    await page.goto(`${server.base}/admin/guard`);
    await page.getByRole("button", { name: "Check the text" }).click();
    const findings = page.getByRole("region", { name: "Findings" });
    await findings.getByText("Payment card number").waitFor();
    assert.match(await page.locator(".result .raw").innerText(), /^My card is \[card-1\]/);
    await look("admin-guard");
    const kinds = await page.getByRole("region", { name: "Policy in force" }).locator("td.name").allInnerTexts();
    assert.ok(kinds.length > 10);
    assert.deepEqual(kinds.filter((one) => /^\S+[.-]\S+$/.test(one) && one !== "E-mail"), []);
  });

  test("an evaluation runs, and its report opens beside the app", async () => {
    await page.goto(`${server.base}/admin/evaluations`);
    await page.getByRole("button", { name: "Start" }).click();
    const link = page.getByRole("link", { name: "Report" });
    await link.waitFor({ timeout: 120_000 });
    await look("admin-evaluations");
    const [report] = await Promise.all([page.context().waitForEvent("page"), link.click()]);
    await report.getByRole("heading", { level: 1 }).waitFor();
    assert.match(await report.locator("body").innerText(), /stereotype/i);
    if (screenshots) await report.screenshot({ path: join(screenshots, "evaluation-report.png") });
    await report.close();
  });

  test("the audit log reads as sentences and verifies", async () => {
    await page.goto(`${server.base}/admin/audit`);
    await page.getByText("used the set-up link and became the owner").waitFor();
    await page.getByRole("button", { name: "Verify the log" }).click();
    await page.getByText(/events are in place/).waitFor();
    await page.locator(".audit-row").first().click();
    await page.getByText("The event as recorded").waitFor();
    await look("admin-audit-event");
    await page.keyboard.press("Escape");
  });

  test("a person is invited, comes in, and sees what a member may see", async () => {
    await page.goto(`${server.base}/admin/people`);
    await page.getByRole("button", { name: "Invite" }).click();
    await page.getByLabel("Your name").fill("Max Member");
    await page.getByLabel("Sign-in name").fill("max");
    await page.getByRole("button", { name: "Make the invitation" }).click();
    const link = await page.locator("dialog .copy-line code").innerText();
    await page.getByRole("button", { name: "Done" }).click();
    const member = await openPage(browser, server.base);
    await member.page.goto(link);
    await member.page.getByLabel("Password", { exact: true }).fill("two grey herons by the old mill");
    await member.page.getByRole("button", { name: "Save and sign in" }).click();
    await member.page.getByRole("heading", { name: "What shall we work on?" }).waitFor();
    await member.page.getByRole("button", { name: /Max/ }).click();
    assert.equal(await member.page.getByRole("menuitem", { name: "Administration" }).count(), 0);
    await member.page.goto(`${server.base}/admin/people`);
    await member.page.getByText("Your role shows nothing here.").waitFor();
    assert.deepEqual(member.problems, []);
    await member.context.close();
  });

  test("signing out ends it, and a wrong password says nothing about who exists", async () => {
    await page.goto(`${server.base}/account`);
    await page.locator(".page-head").getByRole("button", { name: "Sign out" }).click();
    const signIn = page.getByRole("button", { name: "Sign in" });
    await signIn.waitFor();
    await look("sign-in");
    /** @type {string[]} */
    const said = [];
    for (const name of ["olivia", "nobody"]) {
      await page.getByLabel("Sign-in name").fill(name);
      await page.getByLabel("Password", { exact: true }).fill("not the password at all");
      await signIn.click();
      said.push(await page.getByRole("alert").innerText());
      await page.reload();
    }
    assert.equal(said[0], said[1]);
    await page.getByLabel("Sign-in name").fill("olivia");
    await page.getByLabel("Password", { exact: true }).fill(changedPassword);
    await signIn.click();
    await page.getByRole("heading", { name: "What shall we work on?" }).waitFor();
  });

  test("a phone shows the chat, and the list of chats on demand", async () => {
    await page.setViewportSize({ width: 390, height: 800 });
    await page.reload();
    await page.getByRole("heading", { name: "What shall we work on?" }).waitFor();
    const isWide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
    assert.equal(isWide, false, "the page scrolls sideways");
    await page.getByRole("button", { name: "Open the list of chats" }).click();
    await page.locator(".new-chat").waitFor();
    await look("phone");
    await page.setViewportSize({ width: 1280, height: 800 });
  });

  test("a sealed server says so, and how to open it", async () => {
    await page.route("**/api/**", (route) => route.fulfill({ status: 503,
      json: { error: { message: "sealed", type: "server_error", param: null, code: "sealed" } } }));
    await page.goto(server.base);
    await page.getByRole("heading", { name: "The server is sealed" }).waitFor();
    await look("sealed");
    await page.unroute("**/api/**");
    await page.getByRole("heading", { name: "What shall we work on?" }).waitFor();
  });

  test("nothing left the server, and no policy was broken", () => {
    assert.deepEqual(problems, []);
  });
});
