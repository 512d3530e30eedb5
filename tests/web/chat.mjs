// Chats: their list, how answers are set, and what a hostile answer can do.
import assert from "node:assert/strict";
import { test } from "node:test";
import { hostile, streamOf, wellMade } from "./hostile.mjs";
import { answers, ask, comeIn, composer, look, messagesOf, world } from "./world.mjs";

/** @param {string} text */
const answerWith = (text) => world.page.route(messagesOf, (route) => route.fulfill({ contentType: "text/event-stream", body: streamOf(text) }));

export function chat() {
  test("a chat is renamed, found and deleted, and the deletion can be undone", async () => {
    const { page } = world;
    const entry = page.locator(".history li").first();
    const open = async (/** @type {string} */ act) => {
      await entry.hover();
      await entry.getByRole("button").click();
      await page.getByRole("menuitem", { name: act }).click();
    };
    await open("Rename");
    await page.getByLabel("Rename").fill("Talk with the guide");
    await page.keyboard.press("Enter");
    const link = page.getByRole("link", { name: "Talk with the guide" });
    await link.waitFor();
    await page.reload();
    await link.waitFor();
    const search = page.getByLabel("Search chats");
    await search.fill("zebra crossing");
    await page.getByText("No chat has these words.").waitFor();
    await search.fill("with the guide");
    await link.waitFor();
    assert.equal(await page.locator(".history li").count(), 1);
    await open("Delete");
    await link.waitFor({ state: "detached" });
    await page.getByRole("button", { name: "Undo" }).click();
    await link.waitFor();
    const deleted = page.waitForResponse((response) => response.request().method() === "DELETE");
    await open("Delete");
    assert.equal((await deleted).status(), 204);
    await page.reload();
    await page.locator(".history li").first().waitFor();
    assert.equal(await link.count(), 0);
  });

  test("the list of chats goes on beyond its first 200, and stays as long when it is read anew", async () => {
    const { page, problems, context } = await comeIn("lena", "Lena Long");
    await page.evaluate(async () => {
      const headers = { "content-type": "application/json", "x-strongroom-csrf": (await (await fetch("/api/me")).json()).csrf };
      const begin = (/** @type {number} */ at) => fetch("/api/conversations", { method: "POST", headers, body: JSON.stringify({ title: `Chat ${at}` }) });
      for (let at = 1; at <= 205; at += 1) await begin(at);
    });
    await page.reload();
    const entries = page.locator(".history li");
    await page.getByRole("link", { name: "Chat 205", exact: true }).waitFor();
    assert.equal(await entries.count(), 200);
    const more = page.getByRole("button", { name: "Show older chats" });
    await more.click();
    await page.getByRole("link", { name: "Chat 1", exact: true }).waitFor();
    assert.equal(await entries.count(), 205);
    assert.equal(await more.count(), 0);
    await ask("Who are you?", page);
    await page.waitForFunction(() => document.querySelectorAll(".history li").length === 206);
    await page.getByLabel("Search chats").fill("Chat 20");
    await page.waitForFunction(() => document.querySelectorAll(".history li").length === 7);
    assert.equal(await more.count(), 0);
    assert.deepEqual(problems, []);
    await context.close();
  });

  test("an answer is set in type", async () => {
    const { page } = world;
    await page.locator(".new-chat").click();
    await answerWith(wellMade);
    await ask("What does encryption at rest protect?");
    await page.locator(".answer .hljs-keyword").first().waitFor();
    assert.equal(await page.locator(".answer table tr").count(), 4);
    await page.locator(".code-head").getByRole("button", { name: "Copy" }).click();
    assert.match(await page.evaluate(() => navigator.clipboard.readText()), /fn open/);
    await look("chat-markdown");
    await page.unroute(messagesOf);
  });

  test("class_08 what a model writes runs nothing and requests nothing", async () => {
    const { page } = world;
    await page.locator(".new-chat").click();
    await answerWith(hostile);
    await ask("Show me everything.");
    await answers().last().getByText("The end.").waitFor();
    const left = await answers().last().locator(".answer").evaluate((node) => ({
      active: node.querySelectorAll("script, img, iframe, object, embed, svg, form, style, link, video, audio, math").length,
      handlers: [...node.querySelectorAll("*")].flatMap((one) => [...one.attributes]).filter((one) => /^on|^style$|^srcset$/i.test(one.name)).length,
      links: [...node.querySelectorAll("a")].map((one) => one.protocol),
    }));
    assert.deepEqual({ active: left.active, handlers: left.handlers }, { active: 0, handlers: 0 });
    assert.ok(left.links.length > 0 && left.links.every((one) => ["http:", "https:", "mailto:"].includes(one)), left.links.join(" "));
    assert.equal(await page.evaluate(() => /** @type {any} */ (globalThis).wasHacked), undefined);
    await look("chat-hostile");
    await page.unroute(messagesOf);
  });

  test("code in a language with the name of something else is shown, and so is what cannot be set in type", async () => {
    const { page } = world;
    await page.locator(".new-chat").click();
    const names = ["constructor", "__proto__", "toString", "hasOwnProperty"];
    await answerWith(`${names.map((name) => `\`\`\`${name}\nthe code of ${name}\n\`\`\``).join("\n\n")}\n\nThe end.\n`);
    await ask("Show me strange languages.");
    await answers().last().getByText("The end.").waitFor();
    assert.equal(await answers().last().locator(".code").count(), names.length);
    const plain = await page.evaluate(async () => {
      const at = (/** @type {string} */ path) => import(`/static/${path}`);
      const [{ show }, { default: hljs }] = await Promise.all([at("js/markdown.js"), at("vendor/highlight/core.js")]);
      const root = document.createElement("div");
      const highlight = hljs.highlight;
      hljs.registerLanguage("broken", () => ({}));
      hljs.highlight = () => { throw new Error("broken"); };
      show(root, "**Before**\n\n```broken\nlet x;\n```\n");
      hljs.highlight = highlight;
      const text = root.textContent;
      show(root, "**Before**");
      return { text, after: root.querySelector("strong")?.textContent };
    });
    assert.deepEqual(plain, { text: "**Before**\n\n```broken\nlet x;\n```\n", after: "Before" });
    await page.unroute(messagesOf);
  });

  test("a message that is taken up again takes nothing from what was being typed", async () => {
    const { page } = world;
    await page.locator(".new-chat").click();
    await ask("Who are you?");
    await composer().fill("half a thought");
    await page.locator(".turn.user").last().hover();
    await page.getByRole("button", { name: "Edit" }).click();
    assert.equal(await composer().inputValue(), "Who are you?");
    assert.equal(await composer().evaluate((node) => node === document.activeElement), true);
    await page.getByRole("button", { name: "Undo" }).click();
    assert.equal(await composer().inputValue(), "half a thought");
    await composer().fill("");
  });
}
