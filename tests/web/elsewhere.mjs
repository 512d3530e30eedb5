// A person who goes elsewhere while something is under way, and a connection that breaks before the server has answered:
// nothing that was typed is lost, nothing is said twice, and what is shown is what the address names.
import assert from "node:assert/strict";
import { test } from "node:test";
import { answers, ask, composer, get, messagesOf, sendButton, stopButton, stored, world } from "./world.mjs";

const conversationsOf = "**/api/conversations";
const words = "Words that go their own way";

/** A gate that requests wait at. */
function gate() {
  /** @type {(value?: unknown) => void} */
  let open = () => {};
  const opened = new Promise((resolve) => { open = resolve; });
  return { opened, open };
}

/** @param {string} text types and sends, and does not wait for an answer */
async function send(text) {
  await composer().fill(text);
  await composer().press("Enter");
}

/** @returns {Promise<any[]>} the list of chats, as the server has it */
const listed = async () => (await get("/api/conversations")).conversations;

/** The server gets the next message, and its answer does not arrive. @param {{ isHeld?: boolean }} [options] `isHeld`: until the page gives up */
async function loseNext({ isHeld = false } = {}) {
  await world.page.evaluate((/** @type {boolean} */ isHeld) => {
    /** @type {any} */ (globalThis).lost = 0;
    const asked = globalThis.fetch;
    globalThis.fetch = async (to, options) => {
      if (!String(to).endsWith("/messages")) return asked(to, options);
      globalThis.fetch = asked;
      const { status } = await asked(to, { ...options, signal: undefined });
      /** @type {any} */ (globalThis).lost = status;
      const signal = /** @type {AbortSignal} */ (options?.signal);
      if (isHeld) await new Promise((_, refuse) => { signal.addEventListener("abort", () => refuse(signal.reason)); });
      throw new TypeError("the connection broke");
    };
  }, isHeld);
}

const lost = () => world.page.waitForFunction(() => /** @type {any} */ (globalThis).lost === 200);

export function elsewhere() {
  test("a message for a new chat goes into that chat, and the one that was opened meanwhile stays as it is", async () => {
    const { page, server } = world;
    await page.goto(server.base);
    await ask("Who are you?");
    const other = new URL(page.url()).pathname;
    await page.locator(".new-chat").click();
    const { opened, open } = gate();
    await page.route(conversationsOf, async (route) => { if (route.request().method() === "POST") await opened; await route.continue(); });
    await send(words);
    await page.locator(`.history a[href="${other}"]`).click();
    await answers().first().waitFor();
    const taken = page.waitForResponse((response) => response.url().endsWith("/messages"));
    open();
    await taken;
    await page.locator(".history li").filter({ hasText: words }).waitFor();
    assert.equal(new URL(page.url()).pathname, other);
    assert.equal(await answers().count(), 1);
    assert.equal(await page.locator(".turn").filter({ hasText: words }).count(), 0, "it stands in the wrong chat");
    assert.equal(await composer().inputValue(), "");
    await page.unroute(conversationsOf);
    await page.locator(".history li").filter({ hasText: words }).click();
    await page.locator(".turn").filter({ hasText: words }).waitFor();
    await answers().first().locator(".figures").waitFor({ state: "attached" });
    await sendButton().waitFor();
    assert.deepEqual((await stored()).messages.map((/** @type {any} */ one) => one.role), ["user", "assistant"]);
  });

  test("a message that is refused after its sender went elsewhere comes back into the box", async () => {
    const { page } = world;
    const here = new URL(page.url()).pathname;
    await page.locator(".new-chat").click();
    const before = (await listed()).length;
    const { opened, open } = gate();
    await page.route(messagesOf, async (route) => { await opened; await route.fulfill({ status: 503, json: { error: { code: "busy", message: "x", type: "x", param: null } } }); });
    await send(words);
    await page.locator(`.history a[href="${here}"]`).click();
    await answers().first().waitFor();
    open();
    await page.waitForFunction((text) => document.querySelector("textarea")?.value === text, words);
    await page.getByText("The server is busy.").waitFor();
    assert.equal(new URL(page.url()).pathname, here);
    await page.unroute(messagesOf);
    assert.equal((await listed()).length, before);
    await composer().fill("");
  });

  test("an answer that cannot be made again leaves the one that was there", async () => {
    const { page } = world;
    const answer = await answers().last().locator(".answer").innerText();
    const events = [["start", { user_message_id: null, message_id: "msg_2" }], ["error", { error: { code: "busy", message: "x", type: "x", param: null } }]];
    await page.route(messagesOf, (route) => route.fulfill({ contentType: "text/event-stream",
      body: events.map(([event, data]) => `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`).join("") }));
    await page.getByRole("button", { name: "Answer again" }).click();
    await page.locator(".send-error").getByText("The server is busy.").waitFor();
    assert.equal(await answers().last().locator(".answer").innerText(), answer);
    assert.equal(await answers().count(), 1);
    await page.unroute(messagesOf);
  });

  test("a first message that is refused leaves no empty chat behind", async () => {
    const { page } = world;
    await page.locator(".new-chat").click();
    const before = (await listed()).length;
    await page.route(messagesOf, (route) => route.fulfill({ status: 400, json: { error: { code: "request_exceeds_limit", message: "x", type: "x", param: null } } }));
    await send(words);
    await page.getByText("more tokens at once than your limit allows").waitFor();
    assert.equal(await composer().inputValue(), words);
    assert.equal(new URL(page.url()).pathname, "/");
    await page.waitForFunction(() => document.querySelector(".send[aria-label=Send]") !== null);
    assert.equal((await listed()).length, before);
    await page.unroute(messagesOf);
  });

  test("a message whose answer was lost on the way is found at the server, and is said once", async () => {
    const { page } = world;
    await loseNext();
    await composer().press("Enter");
    await answers().first().locator(".figures").waitFor({ state: "attached" });
    await sendButton().waitFor();
    assert.equal(await composer().inputValue(), "");
    assert.deepEqual((await stored()).messages.map((/** @type {any} */ one) => one.content).slice(0, -1), [words]);
  });

  test("a message that is sent again because nobody could say what became of it is said once", async () => {
    const { page } = world;
    await loseNext();
    const read = `**/api/conversations/${new URL(page.url()).pathname.slice("/c/".length)}`;
    await page.route(read, (route) => route.abort());
    await send("And once more");
    await page.getByText("The server does not answer. Nothing was lost").waitFor();
    assert.equal(await composer().inputValue(), "And once more");
    await page.unroute(read);
    await composer().press("Enter");
    await answers().nth(1).locator(".figures").waitFor({ state: "attached" });
    await sendButton().waitFor();
    const { messages } = await stored();
    assert.equal(messages.length, 4, "the question stands there twice");
    assert.equal(await answers().count(), 2);
  });

  test("a message that is taken back while the server takes it is not there twice", async () => {
    const { page } = world;
    await loseNext({ isHeld: true });
    await send("Taken back");
    await lost();
    await stopButton().click();
    await stopButton().click();
    await answers().nth(2).waitFor();
    await sendButton().waitFor();
    assert.equal(await composer().inputValue(), "");
    assert.equal((await stored()).messages.filter((/** @type {any} */ one) => one.content === "Taken back").length, 1);
  });

  test("an Enter that ends the composition of a word sends nothing", async () => {
    const { page } = world;
    await composer().fill("にほん");
    const isTaken = await composer().evaluate((node) => {
      const enter = { key: "Enter", keyCode: 229, bubbles: true, cancelable: true };
      return !node.dispatchEvent(new KeyboardEvent("keydown", enter));
    });
    assert.equal(isTaken, false);
    assert.equal(await composer().inputValue(), "にほん");
    assert.equal(await stopButton().count(), 0);
    await composer().fill("");
    await page.locator(".new-chat").click();
  });
}
