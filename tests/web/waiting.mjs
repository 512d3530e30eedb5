// What stands in the place of an answer before it begins: the model is loaded, or others come first. The server is
// stood in for, as it would be too quick.
import assert from "node:assert/strict";
import { test } from "node:test";
import { answers, ask, check, composer, sendButton, stopButton, stored, world } from "./world.mjs";

const line = () => world.page.locator(".wait-line");
const says = (/** @type {string} */ words) => line().getByText(words, { exact: true }).waitFor();

/** In the page: takes the next request to an address that ends so from the server. @param {string} end */
function take(end) {
  const asked = globalThis.fetch;
  globalThis.fetch = async (to, options) => {
    if (!String(to).endsWith(end)) return asked(to, options);
    globalThis.fetch = asked;
    const body = new ReadableStream({ start: (controller) => { /** @type {any} */ (globalThis).told = controller; } });
    return new Response(body.pipeThrough(new TextEncoderStream()), { headers: { "content-type": "text/event-stream" } });
  };
}

/** Tells the page an event, once it listens. @param {string} event @param {unknown} data */
async function tell(event, data) {
  await world.page.waitForFunction(() => /** @type {any} */ (globalThis).told !== undefined);
  await world.page.evaluate((/** @type {string} */ words) => {
    /** @type {any} */ (globalThis).told.enqueue(words);
  }, `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
}

/** Asks in a new chat, where the server is stood in for. @param {string} words */
async function askByHand(words) {
  await world.page.locator(".new-chat").click();
  await world.page.evaluate(() => { delete /** @type {any} */ (globalThis).told; });
  await world.page.evaluate(take, "/messages");
  await composer().fill(words);
  await composer().press("Enter");
  await says("Thinking");
  await tell("start", { user_message_id: "msg_1", message_id: "msg_2" });
}

const done = { finish_reason: "stop", usage: { prompt_tokens: 4, completion_tokens: 2 }, tokens_per_second: 42 };

export function waiting() {
  test("the place in the queue is shown from when the server tells it until the answer begins", async () => {
    const { page } = world;
    await askByHand("Is there a queue?");
    await tell("queued", { position: 3 });
    await says("2 ahead of you");
    await check("chat-queue");
    await tell("queued", { position: 1 });
    await says("You are next");
    await tell("started", {});
    await says("Thinking");
    await tell("delta", { text: "No more." });
    await answers().last().getByText("No more.").waitFor();
    await line().waitFor({ state: "detached" });
    await tell("notice", { category: "personal.email", action: "redact", direction: "output", count: 2 });
    await answers().last().getByText("2 details in this answer were replaced.").waitFor();
    await tell("notice", { category: "injection", action: "flag", direction: "input", count: 1 });
    await page.locator(".turn.user").last().getByText("The guard noted this message: hint of injection.").waitFor();
    await tell("done", done);
    await sendButton().waitFor();
  });

  test("how far a model is loaded is shown in the place of its answer, and is said aloud once", async () => {
    const { page } = world;
    await page.evaluate(() => {
      const aloud = /** @type {(string | null)[]} */ ([]);
      const region = /** @type {Node} */ (document.getElementById("announce"));
      new MutationObserver(() => { aloud.push(region.textContent); }).observe(region, { childList: true, characterData: true, subtree: true });
      /** @type {any} */ (globalThis).aloud = aloud;
    });
    await askByHand("Is it there?");
    await tell("loading", { percent: null });
    await says("Loading the model…");
    for (const percent of [0, 40, 41, 100]) {
      await tell("loading", { percent });
      await says(`Loading the model… ${percent} %`);
    }
    await check("chat-loading");
    assert.equal(await line().getAttribute("role"), null, "each percent is read out");
    await tell("queued", { position: 3 });
    await says("2 ahead of you");
    await tell("started", {});
    await says("Thinking");
    await tell("delta", { text: "It is." });
    await answers().last().getByText("It is.").waitFor();
    await tell("done", done);
    await sendButton().waitFor();
    const aloud = await page.evaluate(() => /** @type {any} */ (globalThis).aloud);
    assert.deepEqual(aloud, ["Answering…", "Loading the model…", "Waiting for a place.", "The answer is complete."]);
  });

  test("a model that does not come is told in the place of the answer, with what the log has it under", async () => {
    await askByHand("Is it there now?");
    await tell("loading", { percent: 40 });
    await says("Loading the model… 40 %");
    const error = { code: "internal_error", message: "x", type: "server_error", param: null };
    await tell("error", { error, request_id: "req_0123", retry_after: null });
    const told = answers().last().getByRole("alert");
    await told.getByText("Its log has the details under req_0123.").waitFor();
    assert.equal((await told.innerText()).includes("broke off"), false, "nothing had begun");
    await line().waitFor({ state: "detached" });
    await sendButton().waitFor();
    await check("chat-not-loaded");
    await askByHand("And now?");
    await tell("loading", { percent: 41 });
    await tell("error", { error: { ...error, code: "rate_limit_exceeded" }, request_id: "req_0124", retry_after: 20 });
    await answers().last().getByText("Wait 20 s, then send it again.").waitFor();
    await sendButton().waitFor();
  });

  test("Stop is pressed once while a model is loaded", async () => {
    const { page } = world;
    await askByHand("Never mind.");
    await tell("loading", { percent: 40 });
    await says("Loading the model… 40 %");
    const asked = page.waitForRequest((request) => request.method() === "POST" && request.url().endsWith("/stop"));
    await stopButton().click();
    await asked;
    await tell("done", { ...done, finish_reason: "cancelled" });
    await answers().last().getByText("You stopped this answer.").waitFor();
    await sendButton().waitFor();
  });

  test("a wait is met again after a reload, and the answer after it", async () => {
    const { page } = world;
    await page.locator(".new-chat").click();
    await ask("Who are you?");
    const { conversation, messages } = await stored();
    const [question, answer] = messages;
    const read = `**/api/conversations/${conversation.id}`;
    await page.route(read, (route) => route.fulfill({ json: { conversation, messages: [question], active: { message_id: answer.id } } }));
    // Only in pages of this test.
    await page.evaluate(() => sessionStorage.setItem("byHand", "yes"));
    await page.addInitScript({ content: `if (sessionStorage.getItem("byHand")) (${take})("/stream");` });
    await page.reload();
    await tell("start", { user_message_id: question.id, message_id: answer.id });
    await tell("loading", { percent: 40 });
    await says("Loading the model… 40 %");
    await page.locator(".turn.user").getByText("Who are you?").waitFor();
    await stopButton().waitFor();
    await tell("started", {});
    await tell("delta", { text: "It goes on." });
    await answers().last().getByText("It goes on.").waitFor();
    await tell("done", done);
    await sendButton().waitFor();
    assert.equal(await answers().count(), 1);
    await page.evaluate(() => sessionStorage.removeItem("byHand"));
    await page.unroute(read);
    await page.reload();
    await answers().last().locator(".answer").filter({ hasText: /\w/ }).waitFor();
    assert.equal(await page.getByText("It goes on.").count(), 0, "the server is asked again");
  });
}
