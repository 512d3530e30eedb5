// Files that go with a message: chosen, dropped or pasted, refused with a reason, sent, shown, and taken up again.
import assert from "node:assert/strict";
import { test } from "node:test";
import { fits } from "./screens.mjs";
import { answers, ask, check, composer, messagesOf, sendButton, stored, world } from "./world.mjs";

const notes = "- Buy `screws`\n- Call Ada\n";
const recipe = "# Bread\n\n```\nflour, water, salt\n```\n";
const limit = 256 * 1024;

const chips = () => world.page.locator(".chip");
const refusals = () => world.page.locator(".refusals li");
const closeRefusals = () => world.page.locator(".refusals").getByRole("button", { name: "Close" }).click();
const sent = () => world.page.locator(".turn.user").last().locator(".sent-file");
const announced = (/** @type {string} */ words) => world.page.locator("#announce").filter({ hasText: words }).waitFor({ state: "attached" });

/** @param {...[string, string | Buffer]} files chosen by their names, as if with the button */
async function choose(...files) {
  const list = files.map(([name, content]) => ({ name, mimeType: "application/octet-stream", buffer: Buffer.from(content) }));
  await world.page.locator(".composer input[type=file]").setInputFiles(list);
}

/** @param {...[string, string]} files what is dragged or pasted */
const carried = (...files) => world.page.evaluateHandle((/** @type {[string, string][]} */ list) => {
  const made = new DataTransfer();
  for (const [name, content] of list) made.items.add(new File([content], name));
  return made;
}, files);

/** @param {number} count */
const hasChips = (count) => world.page.waitForFunction((/** @type {number} */ wanted) => document.querySelectorAll(".chip").length === wanted, count);

async function removeAll() {
  for (let left = await chips().count(); left > 0; left -= 1) {
    await chips().first().getByRole("button").click();
    await hasChips(left - 1);
  }
}

function choosing() {
  test("files are attached by the keyboard, and removed by it", async () => {
    const { page, server } = world;
    await page.goto(server.base);
    assert.equal(await sendButton().isDisabled(), true);
    // The page moves there by itself once it is there: what is pressed before goes astray.
    await page.waitForFunction(() => document.activeElement instanceof HTMLTextAreaElement);
    const button = page.getByRole("button", { name: "Attach files" });
    await page.keyboard.press("Tab");
    assert.equal(await button.evaluate((node) => node === document.activeElement), true);
    const chooser = page.waitForEvent("filechooser");
    await button.press("Enter");
    assert.equal((await chooser).isMultiple(), true);
    await (await chooser).setFiles([["notes.md", notes], ["bread.md", recipe], ["more.txt", "more"]].map(([name, content]) => (
      { name: name ?? "", mimeType: "text/plain", buffer: Buffer.from(content ?? "") })));
    await hasChips(3);
    await announced("3 files are attached.");
    assert.equal(await sendButton().isDisabled(), false);
    await chips().first().getByText("25 B").waitFor();
    await check("chat-attached");
    const focused = () => page.evaluate(() => document.activeElement?.getAttribute("aria-label"));
    await page.getByRole("button", { name: "Remove bread.md" }).focus();
    await page.keyboard.press("Enter");
    await hasChips(2);
    await announced("“bread.md” was removed.");
    assert.equal(await focused(), "Remove more.txt");
    await page.keyboard.press("Enter");
    await hasChips(1);
    assert.equal(await focused(), "Remove notes.md");
    await page.keyboard.press("Enter");
    await hasChips(0);
    assert.equal(await focused(), "Message…");
    assert.equal(await sendButton().isDisabled(), true);
  });

  test("files are attached by dropping them on the chat, which shows where", async () => {
    const { page } = world;
    const target = page.locator(".drop-target");
    const files = await carried(["notes.md", notes], ["bread.md", recipe]);
    await page.locator(".thread").dispatchEvent("dragover", { dataTransfer: files });
    await target.getByText("Drop text files here to attach them").waitFor();
    await check("chat-drop");
    await page.locator(".thread").dispatchEvent("dragleave", { dataTransfer: files });
    await target.waitFor({ state: "detached" });
    assert.equal(await chips().count(), 0);
    await page.locator(".thread").dispatchEvent("dragover", { dataTransfer: files });
    await target.waitFor();
    await page.locator(".thread").dispatchEvent("drop", { dataTransfer: files });
    await target.waitFor({ state: "detached" });
    await hasChips(2);
    await removeAll();
    const words = await page.evaluateHandle(() => { const made = new DataTransfer(); made.setData("text/plain", "words"); return made; });
    await page.locator(".thread").dispatchEvent("dragover", { dataTransfer: words });
    assert.equal(await target.count(), 0, "words that are dragged are no file");
  });

  test("a file that is pasted is attached, and words that come with their picture are words", async () => {
    const paste = (/** @type {Record<string, string>} */ words) => composer().evaluate((node, given) => {
      const made = new DataTransfer();
      made.items.add(new File(["from elsewhere"], "pasted.txt"));
      for (const [kind, text] of Object.entries(given)) made.setData(kind, text);
      // Whether the browser would go on and put words into the box.
      return node.dispatchEvent(new ClipboardEvent("paste", { clipboardData: made, bubbles: true, cancelable: true }));
    }, words);
    assert.equal(await paste({}), false);
    await hasChips(1);
    await announced("“pasted.txt” is attached.");
    assert.equal(await paste({ "text/plain": "cells", "text/html": "<b>cells</b>" }), true);
    assert.equal(await chips().count(), 1);
    await removeAll();
  });
}

function refusing() {
  test("what is no text, empty or too large is refused by its name, and the rest is attached", async () => {
    const large = "x".repeat(limit);
    await choose(["scan.pdf", Buffer.from([0x25, 0x50, 0x44, 0x46, 0xe2, 0xe3, 0xcf, 0xd3])], ["nothing.txt", ""], ["blank.txt", "\n \n"], ["huge.log", `${large}x`], ["notes.md", notes]);
    await hasChips(1);
    await refusals().first().waitFor();
    assert.deepEqual(await refusals().allInnerTexts(), [
      "“scan.pdf” is no text file, so it was not attached. Only text can be read here.",
      "“nothing.txt” is empty, so it was not attached.",
      "“blank.txt” is empty, so it was not attached.",
      "“huge.log” is larger than the 256 KiB that a message has room for, so it was not attached.",
    ]);
    await check("chat-not-attached");
    await closeRefusals();
    assert.equal(await refusals().count(), 0);
    await choose(["half.txt", large.slice(0, limit / 2)], ["other-half.txt", large.slice(0, limit / 2)]);
    await hasChips(2);
    await refusals().filter({ hasText: "“other-half.txt” was not attached: with what is there, it is more than the 256 KiB" }).waitFor();
    await removeAll();
    assert.equal(await refusals().count(), 0);
  });

  test("a message takes ten files, and says how many it did not take", async () => {
    await choose(...Array.from({ length: 12 }, (_, at) => /** @type {[string, string]} */ ([`${at}.txt`, `number ${at}`])));
    await hasChips(10);
    await refusals().filter({ hasText: "2 more files were not attached: a message takes 10." }).waitFor();
    await choose(["11.txt", "eleven"]);
    await refusals().filter({ hasText: "One more file was not attached: a message takes 10." }).waitFor();
    await removeAll();
  });

  test("what was attached stays where the message is not taken", async () => {
    const { page } = world;
    await page.route(messagesOf, (route) => route.fulfill({ status: 429, headers: { "retry-after": "20" },
      json: { error: { message: "x", type: "requests", param: null, code: "rate_limit_exceeded" } } }));
    await choose(["notes.md", notes]);
    await hasChips(1);
    await composer().fill("Read this.");
    await composer().press("Enter");
    await page.getByText("You have reached your limit for this minute.").waitFor();
    assert.equal(await composer().inputValue(), "Read this.");
    assert.equal(await chips().count(), 1);
    await page.unroute(messagesOf);
    await removeAll();
    await composer().fill("");
  });
}

function sending() {
  test("a message with files shows its words, and each file folded up", async () => {
    const { page, server } = world;
    await page.goto(server.base);
    await choose(["bread.md", recipe], ["notes`.txt", notes]);
    await hasChips(2);
    await ask("What is this about?");
    assert.equal(await chips().count(), 0);
    const { messages, conversation } = await stored();
    assert.equal(messages[0].content, `What is this about?\n\nFile 1 of 2: bread.md\n\`\`\`\`\n${recipe.trimEnd()}\n\`\`\`\`\n\nFile 2 of 2: notes.txt\n\`\`\`\n${notes.trimEnd()}\n\`\`\``);
    assert.equal(conversation.title, "What is this about?");
    await page.reload();
    await sent().nth(1).waitFor();
    assert.equal(await page.locator(".question").last().innerText(), "What is this about?");
    assert.match(await sent().first().locator("summary").innerText(), /bread\.md\s+5 lines · 35 B/);
    assert.equal(await page.locator(".sent-code").count(), 0, "a file is folded up at first");
    await sent().first().locator("summary").focus();
    await page.keyboard.press("Enter");
    await sent().first().getByText("flour, water, salt").waitFor();
    await sent().first().getByRole("button", { name: "Copy" }).click();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), recipe);
    await check("chat-sent-files");
    await sent().first().locator("summary").click();
    await page.locator(".sent-code").waitFor({ state: "detached" });
  });

  test("a message with files is taken up with its files, and what stood in the box can be had back", async () => {
    const { page } = world;
    await choose(["other.txt", "other"]);
    await hasChips(1);
    await page.locator(".turn.user").last().hover();
    await page.getByRole("button", { name: "Edit" }).click();
    await hasChips(2);
    assert.equal(await composer().inputValue(), "What is this about?");
    assert.deepEqual(await chips().locator(".clip").allInnerTexts(), ["bread.md", "notes.txt"]);
    await page.getByRole("button", { name: "Undo" }).click();
    await hasChips(1);
    assert.equal(await composer().inputValue(), "");
    await removeAll();
    await composer().press("ArrowUp");
    await hasChips(2);
    const before = (await stored()).messages[0].content;
    await ask("What is this about?");
    const again = (await stored()).messages.filter((/** @type {any} */ one) => one.role === "user");
    assert.deepEqual(again.map((/** @type {any} */ one) => one.content), [before, before]);
  });

  test("a message may be nothing but files, and is named by them", async () => {
    const { page, server } = world;
    await page.goto(server.base);
    await choose(["notes.md", notes]);
    await hasChips(1);
    await composer().press("Enter");
    await answers().first().locator(".figures").waitFor({ state: "attached" });
    await sendButton().waitFor();
    assert.equal(await page.locator(".question").count(), 0);
    assert.equal(await sent().count(), 1);
    assert.equal((await stored()).conversation.title, "notes.md");
    await page.getByRole("heading", { name: "notes.md" }).waitFor();
  });

  test("files fit a phone", async () => {
    const { page, server } = world;
    const name = `${"a-long-name-".repeat(8)}.txt`;
    await page.setViewportSize({ width: 390, height: 800 });
    await page.goto(server.base);
    await choose([name, `${"word".repeat(40)}\n`], ["notes.md", notes]);
    await hasChips(2);
    await fits("the chips");
    await check("phone-attached");
    await ask("Hello");
    await sent().first().locator("summary").click();
    await page.locator(".sent-code pre").waitFor();
    await fits("files that were sent");
    await check("phone-sent-files");
    await page.setViewportSize({ width: 1280, height: 800 });
    await page.goto(server.base);
  });
}

export function attaching() {
  choosing();
  refusing();
  sending();
}
