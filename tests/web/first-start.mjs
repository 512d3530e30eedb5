// From the set-up link to the first answer, without a mouse.
import assert from "node:assert/strict";
import { test } from "node:test";
import { check as checkVendor } from "../../static/vendor/update.mjs";
import { openBrowser, openPage } from "./browser.mjs";
import { answers, composer, look, passwords, sendButton, world } from "./world.mjs";

const STEPS_MAX = 40;

/** @param {import("playwright-core").Locator} target presses Tab until the target has the focus, and shows that it has */
async function tabTo(target) {
  for (let step = 0; step < STEPS_MAX; step += 1) {
    if (await target.evaluate((node) => node === document.activeElement)) {
      // A button shows it by its outline, the box for messages by the frame around it.
      const outline = await target.evaluate((node) => getComputedStyle(node.closest(".composer") ?? node).outlineStyle);
      assert.notEqual(outline, "none", "the focus cannot be seen");
      return;
    }
    await world.page.keyboard.press("Tab");
  }
  assert.fail(`no way by keyboard to ${target}`);
}

export function firstStart() {
  test("the libraries are those of the lock file", () => {
    assert.deepEqual(checkVendor(), []);
  });

  test("a browser that trusts the server's own authority shows the page, and one that does not refuses it", async () => {
    const { server, page } = world;
    await page.goto(server.base);
    assert.equal(await page.evaluate(() => isSecureContext), true);
    const stranger = await openBrowser();
    const { page: refused } = await openPage(stranger, server.base);
    await assert.rejects(refused.goto(server.base), /ERR_CERT_AUTHORITY_INVALID/);
    await stranger.close();
  });

  test("without the link there is no way in", async () => {
    await world.page.goto(world.server.base);
    await world.page.getByText("This server waits for its owner").waitFor();
    await look("set-up-waiting");
  });

  test("the set-up link leads to an owner by keyboard alone, and the password is weighed kindly", async () => {
    const { page, server } = world;
    const { keyboard } = page;
    await page.goto(server.link);
    await page.reload();
    const create = page.getByRole("button", { name: "Create the owner" });
    await tabTo(page.getByLabel("Your name"));
    await keyboard.type("Olivia Ray");
    await tabTo(page.getByLabel("Sign-in name"));
    assert.equal(await page.getByLabel("Sign-in name").inputValue(), "olivia");
    const password = page.getByLabel("Password", { exact: true });
    await tabTo(password);
    await keyboard.type("short");
    await page.getByText("Easy to guess").waitFor();
    assert.equal(await create.isDisabled(), true);
    await keyboard.press("Control+A");
    await keyboard.type(passwords.first);
    await page.getByText("Very good.").waitFor();
    await look("set-up");
    await tabTo(create);
    await keyboard.press("Enter");
    const heading = page.getByRole("heading", { name: "How this server keeps its key" });
    await heading.waitFor();
    assert.equal(new URL(page.url()).hash, "", "the token stays in the address");
    assert.equal(await heading.evaluate((node) => node === document.activeElement), true, "the focus is not at the new screen");
    await look("set-up-key");
    await tabTo(page.getByRole("button", { name: "Continue" }));
    await keyboard.press("Enter");
    await page.getByRole("heading", { name: "A model to talk to" }).waitFor();
    await look("set-up-model");
    await tabTo(page.getByRole("button", { name: "Start the first chat" }));
    await keyboard.press("Enter");
    await page.getByRole("heading", { name: "What shall we work on?" }).waitFor();
    await look("welcome");
  });

  test("the first question is typed, sent and answered, by keyboard alone", async () => {
    const { page } = world;
    await tabTo(composer());
    await page.keyboard.type("Who are you?");
    await page.keyboard.press("Enter");
    // How long this answer is hangs on chance, and a short one comes at once; that one grows is tested with a long one.
    await answers().last().locator(".answer").filter({ hasText: /\w/ }).waitFor();
    await answers().last().locator(".figures").waitFor({ state: "attached" });
    await sendButton().waitFor();
    assert.match(new URL(page.url()).pathname, /^\/c\//);
    await tabTo(answers().last().getByRole("button", { name: "Copy answer" }));
    await page.keyboard.press("Enter");
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    assert.notEqual(copied.trim(), "");
    await look("chat");
  });
}
