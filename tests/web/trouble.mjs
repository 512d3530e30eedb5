// When things go wrong: nothing that was typed is lost, and there is always a way on.
import assert from "node:assert/strict";
import { test } from "node:test";
import { openPage } from "./browser.mjs";
import { answers, ask, check, composer, look, messagesOf, passwords, sendButton, signIn, stopButton, stored, world } from "./world.mjs";

const words = "Words that must not be lost";

/** @param {string} text types and sends, and does not wait for an answer */
async function send(text) {
  await composer().fill(text);
  await composer().press("Enter");
}

/** @param {import("playwright-core").Page} [page] has a model chosen whose answers are long */
async function longAnswers(page = world.page) {
  await page.locator(".model-button").click();
  await page.getByRole("menuitemradio", { name: /^storyteller/ }).click();
}

export function trouble() {
  test("a message beyond the rate comes back into the box, with the time to wait", async () => {
    const { page, server } = world;
    await page.goto(server.base);
    await page.route(messagesOf, (route) => route.fulfill({ status: 429, headers: { "retry-after": "20" },
      json: { error: { message: "x", type: "requests", param: null, code: "rate_limit_exceeded" } } }));
    await send(words);
    await page.getByText("You have reached your limit for this minute. Wait 20 s").waitFor();
    assert.equal(await composer().inputValue(), words);
    assert.equal(await page.locator(".turn").count(), 0, "a message that was not taken stands in the chat");
    await check("chat-refused");
    await page.unroute(messagesOf);
    await composer().press("Enter");
    await answers().first().locator(".figures").waitFor({ state: "attached" });
    assert.equal(await page.locator(".send-error").count(), 0);
  });

  test("what is typed while a message is refused stays behind it", async () => {
    const { page } = world;
    /** @type {(value?: unknown) => void} */
    let letGo = () => {};
    const held = new Promise((resolve) => { letGo = resolve; });
    await page.route(messagesOf, async (route) => { await held; await route.abort(); });
    await send(words);
    await composer().fill("and a second thought");
    letGo();
    await page.getByText("The server does not answer. Nothing was lost").waitFor();
    assert.equal(await composer().inputValue(), `${words}\n\nand a second thought`);
    await page.unroute(messagesOf);
  });

  test("a message that is too long is not cut, and not sent", async () => {
    const { page } = world;
    const long = "long ".repeat(60_000);
    await send(long);
    await page.getByText("This is too long to send.").waitFor();
    assert.equal((await composer().inputValue()).length, long.trim().length);
    await composer().fill("");
  });

  test("a chat that was deleted in another window says so, and the message goes into a new one", async () => {
    const { page, server } = world;
    await page.goto(server.base);
    await ask("Who are you?");
    const other = await page.context().newPage();
    await other.goto(page.url());
    await other.locator(".history li.current").hover();
    await other.locator(".history li.current").getByRole("button").click();
    const deleted = other.waitForResponse((response) => response.request().method() === "DELETE");
    await other.getByRole("menuitem", { name: "Delete" }).click();
    await deleted;
    await other.close();
    await send(words);
    await page.getByText("This chat was deleted, here or in another window.").waitFor();
    assert.equal(await composer().inputValue(), words);
    await page.locator(".send-error").getByRole("button", { name: "New chat" }).click();
    assert.equal(await composer().inputValue(), words);
    await composer().press("Enter");
    await answers().first().locator(".figures").waitFor({ state: "attached" });
    assert.equal((await stored()).messages[0].content, words);
  });

  test("a chat that another window writes in is shown as it is, and its answer is followed", async () => {
    const { page, server } = world;
    await page.goto(server.base);
    await ask("Who are you?");
    const other = await page.context().newPage();
    await other.goto(page.url());
    await longAnswers(other);
    await server.slowly(async () => {
      await composer(other).fill("Tell me a story without an end.");
      await composer(other).press("Enter");
      await answers(other).nth(1).locator(".answer").filter({ hasText: /\w/ }).waitFor();
      await send(words);
      await page.getByText("This chat changed in the meantime").waitFor();
      assert.equal(await composer().inputValue(), words);
      await answers().nth(1).locator(".answer").filter({ hasText: /\w/ }).waitFor();
      await stopButton().click();
      await answers().nth(1).getByText("You stopped this answer.").waitFor();
      await answers(other).nth(1).getByText("You stopped this answer.").waitFor();
    });
    await other.close();
    assert.equal((await stored()).messages.length, 4);
    await composer().fill("");
  });

  test("a connection that breaks in the middle of an answer is taken up again", async () => {
    const { page, server } = world;
    await page.goto(server.base);
    await longAnswers();
    let attempts = 0;
    await page.route("**/api/conversations/*/stream", (route) => { attempts += 1; return attempts === 1 ? route.abort() : route.continue(); });
    await server.slowly(async () => {
      await send("Tell me a story without an end.");
      await answers().first().locator(".answer").filter({ hasText: /\w/ }).waitFor();
      await page.context().setOffline(true);
      await page.context().setOffline(false);
      await page.waitForFunction(() => document.querySelector(".send[aria-label=Stop]") !== null);
    });
    await sendButton().waitFor();
    const { messages } = await stored();
    assert.equal(messages.at(-1).finish_reason, "length");
    assert.equal(await answers().count(), 1);
    assert.equal(await page.getByText("The answer broke off.").count(), 0);
    await page.unroute("**/api/conversations/*/stream");
  });

  test("a chat that cannot be opened is tried again", async () => {
    const { page } = world;
    const address = page.url();
    const read = `**/api${new URL(address).pathname.replace("/c/", "/conversations/")}`;
    await page.route(read, (route) => route.abort());
    await page.reload();
    await page.getByText("The server does not answer. Nothing was lost").waitFor();
    await check("chat-unreadable");
    await page.unroute(read);
    await page.getByRole("button", { name: "Try again" }).click();
    await page.locator(".turn.user").waitFor();
  });

  test("who comes after somebody else in the same window finds nothing of them", async () => {
    const { page, server, browser } = world;
    const shared = await openPage(browser, server.base);
    await signIn(server.base, shared.page, "max", `${passwords.member} again`);
    await ask("Who are you?", shared.page);
    await composer(shared.page).fill("a secret of Max");
    // The session is ended from outside, so that nothing in this window can tidy up.
    await shared.context.clearCookies();
    await composer(shared.page).press("Enter");
    await shared.page.getByText("You were signed out.").first().waitFor();
    await signIn(server.base, shared.page, "olivia", passwords.changed);
    await shared.page.getByRole("heading", { name: "What shall we work on?" }).waitFor();
    assert.equal(await composer(shared.page).inputValue(), "");
    assert.equal((await shared.page.content()).includes("secret of Max"), false);
    assert.equal(await shared.page.locator(".turn").count(), 0);
    await composer(shared.page).fill("a secret of Olivia");
    await shared.page.goto(`${server.base}/account`);
    await shared.page.locator(".page-head").getByRole("button", { name: "Sign out" }).click();
    await signIn(server.base, shared.page, "max", `${passwords.member} again`);
    await shared.page.goto(server.base);
    await composer(shared.page).waitFor();
    assert.equal(await composer(shared.page).inputValue(), "");
    assert.deepEqual(shared.problems, []);
    await shared.context.close();
    await page.goto(server.base);
  });

  test("signing out ends it, and a wrong password says nothing about who exists", async () => {
    const { page, server } = world;
    await page.goto(`${server.base}/account`);
    await page.locator(".page-head").getByRole("button", { name: "Sign out" }).click();
    const button = page.getByRole("button", { name: "Sign in" });
    await button.waitFor();
    await look("sign-in");
    /** @type {string[]} */
    const said = [];
    for (const name of ["olivia", "nobody"]) {
      await page.getByLabel("Sign-in name").fill(name);
      await page.getByLabel("Password", { exact: true }).fill("not the password at all");
      await button.click();
      said.push(await page.getByRole("alert").innerText());
      await page.reload();
    }
    assert.equal(said[0], said[1]);
    await signIn(server.base, page, "olivia", passwords.changed);
    await page.getByRole("heading", { name: "What shall we work on?" }).waitFor();
  });
}
