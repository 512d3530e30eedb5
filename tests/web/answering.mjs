// Answers while they are written: word by word, from another model, made again, stopped, met after a reload.
import assert from "node:assert/strict";
import { test } from "node:test";
import { answers, ask, card, composer, get, look, messagesOf, recordAnswer, sendButton, stopButton, stored, world } from "./world.mjs";

/** @param {string} name */
async function choose(name) {
  await world.page.locator(".model-button").click();
  await world.page.getByRole("menuitemradio", { name: new RegExp(`^${name}`) }).click();
  await world.page.locator(".model-button").getByText(name).waitFor();
}

/** @param {string} words asks, and waits for the first words of an answer that goes on */
async function meet(words) {
  const before = await answers().count();
  await composer().fill(words);
  await composer().press("Enter");
  await answers().nth(before).locator(".answer").filter({ hasText: /\w/ }).waitFor();
}

export function answering() {
  test("another model is chosen and answers, and one that cannot be loaded is no choice", async () => {
    const { page } = world;
    await page.locator(".new-chat").click();
    await page.locator(".model-button").click();
    const broken = page.getByRole("menuitemradio", { name: /broken-copy/ });
    await broken.getByText("cannot be used").waitFor();
    assert.equal(await broken.getAttribute("aria-disabled"), "true");
    await broken.click({ force: true });
    await look("model-picker");
    await page.keyboard.press("Escape");
    await page.locator(".model-button").getByText("guide").waitFor();
    await choose("storyteller");
    await ask("Tell me a story without an end.");
    assert.equal((await stored()).messages.at(-1).model, "storyteller");
    await choose("guide");
    await ask("Who are you?");
    const { messages, conversation } = await stored();
    assert.equal(messages.at(-1).model, "guide");
    assert.equal(messages.at(-3).model, "storyteller");
    assert.equal(conversation.model, "guide");
  });

  test("a long answer grows on the page while it is written, and says why it was cut", async () => {
    const { page, server } = world;
    await page.locator(".new-chat").click();
    await choose("storyteller");
    const seen = await recordAnswer();
    // Met while it begins: a fast machine could write all of it between two pictures of the page.
    await server.slowly(async () => {
      await meet("Tell me a story without an end.");
      await page.waitForFunction(() => /** @type {any} */ (globalThis).seen.length >= 3);
    });
    await answers().last().locator(".figures").waitFor({ state: "attached" });
    await sendButton().waitFor();
    const steps = await seen();
    const last = steps.at(-1)?.length ?? 0;
    const early = steps.filter((one) => one.isWriting && one.length < last * 0.8);
    assert.ok(early.length >= 2, `of ${steps.length} steps, ${early.length} came early`);
    await page.getByText("The answer reached its longest length").waitFor();
    assert.equal((await stored()).messages.at(-1).finish_reason, "length");
  });

  test("an answer is made again: another message takes its place", async () => {
    const { page, server } = world;
    const before = await stored();
    const old = before.messages.at(-1);
    const asked = page.waitForRequest((request) => request.method() === "POST" && request.url().endsWith("/messages"));
    await server.slowly(async () => {
      await page.getByRole("button", { name: "Answer again" }).click();
      assert.deepEqual((await asked).postDataJSON(), { regenerate: true, model: "storyteller" });
      await stopButton().waitFor();
      // What stood there is gone: no figures before the new answer has its own.
      await page.waitForFunction(() => [...document.querySelectorAll(".turn.assistant")].at(-1)?.querySelector(".figures") === null);
    });
    await answers().last().locator(".figures").filter({ hasText: "tokens/s" }).waitFor();
    await sendButton().waitFor();
    const { messages } = await stored();
    assert.equal(messages.length, before.messages.length);
    assert.equal(messages.at(-2).id, before.messages.at(-2).id);
    assert.notEqual(messages.at(-1).id, old.id);
    assert.notEqual(messages.at(-1).content, old.content);
    await page.reload();
    await answers().last().getByText(`${messages.at(-1).usage.completion_tokens} tokens`).waitFor();
  });

  test("an answer that is stopped in its middle says so, and is stored as stopped", async () => {
    const { page, server } = world;
    await server.slowly(async () => {
      await meet("And now a longer one.");
      await page.keyboard.press("Escape");
      await answers().last().getByText("You stopped this answer.").waitFor();
    });
    const last = (await stored()).messages.at(-1);
    assert.equal(last.finish_reason, "cancelled");
    assert.notEqual(last.content, "");
    await sendButton().waitFor();
    await page.reload();
    await answers().last().getByText("You stopped this answer.").waitFor();
  });

  test("an answer is stopped too where Stop comes before the server has the question", async () => {
    const { page, server } = world;
    const before = await answers().count();
    /** @type {(value?: unknown) => void} */
    let letGo = () => {};
    const held = new Promise((resolve) => { letGo = resolve; });
    await page.route(messagesOf, async (route) => { await held; await route.continue(); });
    await composer().fill("One more without an end.");
    await composer().press("Enter");
    await stopButton().click();
    assert.equal(await page.getByText("You stopped this answer.").count(), 1, "only the one before");
    await server.slowly(async () => {
      letGo();
      await answers().nth(before).getByText("You stopped this answer.").waitFor();
    });
    await page.unroute(messagesOf);
    assert.equal((await stored()).messages.at(-1).finish_reason, "cancelled");
  });

  test("an answer that is being written is picked up after a reload, and ends", async () => {
    const { page, server } = world;
    await page.locator(".new-chat").click();
    /** @type {string} */
    let id = "";
    let length = 0;
    await server.slowly(async () => {
      await meet("Tell me a story without an end.");
      id = (await stored()).active.message_id;
      await page.reload();
      await stopButton().waitFor();
      await answers().last().locator(".answer").filter({ hasText: /\w/ }).waitFor();
      const { active } = await stored();
      assert.equal(active?.message_id, id, "the answer ended before the page was there again");
      length = (await answers().last().locator(".answer").innerText()).length;
    });
    await sendButton().waitFor();
    const { messages, active } = await stored();
    assert.equal(active, null);
    assert.equal(messages.at(-1).id, id);
    assert.equal(messages.at(-1).finish_reason, "length");
    assert.equal(messages.length, 2);
    assert.equal(await answers().count(), 1);
    assert.ok((await answers().last().locator(".answer").innerText()).length > length, "nothing came after the reload");
    await choose("guide");
  });

  test("what the guard replaced is said, where it happened", async () => {
    const { page } = world;
    await page.locator(".new-chat").click();
    await choose("guide");
    await ask(`My card is ${card}. Is it safe with you?`);
    const question = page.locator(".turn.user").last();
    await question.getByText("One detail was replaced before the model saw it.").waitFor();
    await question.getByText("payment card number").waitFor();
    await look("chat-guard");
    const { messages } = await stored();
    const notices = messages.flatMap((/** @type {any} */ one) => one.notices);
    assert.deepEqual(notices.map((/** @type {any} */ one) => [one.category, one.action, one.count]), [["personal.card", "redact", 1]]);
    assert.equal(notices[0].direction, "input");
    await page.reload();
    await question.getByText("One detail was replaced before the model saw it.").waitFor();
    assert.equal(await page.locator(".turn.assistant .notice").count(), 0, "the answer has nothing to do with it");
    const again = page.waitForResponse((response) => response.request().method() === "POST" && response.url().endsWith("/messages"));
    await page.getByRole("button", { name: "Answer again" }).click();
    await again;
    await sendButton().waitFor();
    assert.equal(await page.locator(".turn .notice").count(), 1, "an answer that is made again tells it once");
    const { events } = await get("/api/admin/audit");
    assert.ok(events.length > 0);
    assert.equal(JSON.stringify(events).includes(card.slice(-9)), false, "the number is on record");
  });
}
