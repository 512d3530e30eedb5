// Small windows, quiet motion, and a server that is sealed.
import assert from "node:assert/strict";
import { test } from "node:test";
import { streamOf } from "./hostile.mjs";
import { admin, answers, ask, check, composer, look, messagesOf, world } from "./world.mjs";

const long = "Donaudampfschifffahrtsgesellschaft".repeat(12);
const wide = `# ${long}\n\n${long} and \`${long}\`\n\n- ${long}\n\n| ${long} | b |\n|---|---|\n| ${long} | ${long} |\n\n\`\`\`rust\nlet ${long} = "${long}";\n\`\`\`\n\n> ${long}\n`;

/** @param {string} name fails where the page is wider than its window */
export async function fits(name) {
  const { inner, widest } = await world.page.evaluate(() => ({ inner: innerWidth, widest: Math.max(document.documentElement.scrollWidth, document.querySelector(".main")?.scrollWidth ?? 0) }));
  assert.ok(widest <= inner, `${name} is ${widest} wide in a window of ${inner}`);
}

/**
 * Waits until exactly this moves on the page, by the names of its classes.
 * @param {string} names
 */
const moves = (names) => world.page.waitForFunction((/** @type {string} */ wanted) => document.getAnimations()
  .filter((one) => Number(one.effect?.getComputedTiming().duration) > 1)
  .map((one) => /** @type {KeyframeEffect} */ (one.effect).target?.className ?? "?").join(" ") === wanted, names);

export function screens() {
  test("a phone shows the chat, and the list of chats on demand", async () => {
    const { page, server } = world;
    await page.setViewportSize({ width: 390, height: 800 });
    await page.goto(server.base);
    await page.getByRole("heading", { name: "What shall we work on?" }).waitFor();
    await fits("the welcome");
    await check("phone-welcome");
    await page.getByRole("button", { name: "Open the list of chats" }).click();
    await page.locator(".new-chat").waitFor();
    await look("phone");
    await page.locator(".new-chat").click();
  });

  test("long words, code and tables stay within a phone", async () => {
    const { page } = world;
    await page.route(messagesOf, (route) => route.fulfill({ contentType: "text/event-stream", body: streamOf(wide) }));
    await ask(`${long} ${long}`);
    await answers().last().locator("table").waitFor();
    await fits("the chat");
    const sticking = await page.evaluate(() => [...document.querySelectorAll(".turn, .turn .block, .question, .code, .table-wrap")]
      .filter((one) => one.getBoundingClientRect().right > innerWidth).length);
    assert.equal(sticking, 0);
    await check("phone-long");
    await page.unroute(messagesOf);
  });

  test("every page fits a phone", async () => {
    const { page, server } = world;
    for (const name of ["overview", "people", "roles", "models", "guard", "audit", "alerts", "evaluations"]) {
      await admin(name);
      await fits(name);
      await check(`phone-admin-${name}`);
    }
    await page.goto(`${server.base}/account`);
    await page.getByText("this browser", { exact: true }).waitFor();
    await fits("the account");
    await check("phone-account");
    await page.getByRole("button", { name: "New key" }).click();
    await page.getByLabel("Name", { exact: true }).fill("a".repeat(60));
    await page.getByRole("button", { name: "Make the key" }).click();
    await page.locator("dialog .copy-line").waitFor();
    await fits("the key");
    await page.getByRole("button", { name: "Done" }).click();
    await page.getByRole("button", { name: /^Revoke:/ }).click();
    await fits("the question before a key is revoked");
    const isWithin = await page.locator("dialog").evaluate((node) => node.scrollWidth <= node.clientWidth);
    assert.ok(isWithin, "the dialog scrolls sideways");
    await page.locator("dialog").getByRole("button", { name: "Revoke" }).click();
    await page.getByText("No keys yet").waitFor();
    await page.setViewportSize({ width: 1280, height: 800 });
  });

  test("things move for those who like it, and stand still for those who asked for that", async () => {
    const { page, server } = world;
    await page.goto(server.base);
    await page.route(messagesOf, () => { /* nobody answers: one waits */ });
    await composer().fill("Who are you?");
    await composer().press("Enter");
    await page.locator(".pulse").waitFor();
    for (const reducedMotion of /** @type {const} */ (["no-preference", "reduce"])) {
      await page.emulateMedia({ reducedMotion });
      const isStill = reducedMotion === "reduce";
      await moves(isStill ? "" : "pulse");
      await page.getByRole("button", { name: "What does that mean?" }).click();
      await page.locator("dialog[open]").waitFor();
      const duration = await page.locator("dialog").evaluate((node) => getComputedStyle(node).animationDuration);
      assert.equal(duration === "0s", isStill, `a dialog takes ${duration} with ${reducedMotion}`);
      await check(`seal-${isStill ? "still" : "moving"}`);
      await page.emulateMedia({ reducedMotion });
      await page.keyboard.press("Escape");
      await page.locator("dialog").waitFor({ state: "detached" });
    }
    // Twice: nobody answers, so the message is taken back.
    await page.keyboard.press("Escape");
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Send" }).waitFor();
    assert.equal(await composer().inputValue(), "Who are you?");
    // Not before: a request that nobody holds any more would go on to the server.
    await page.unrouteAll({ behavior: "ignoreErrors" });
    await composer().fill("");
  });

  test("a theme that is chosen holds against the system's, and after a reload", async () => {
    const { page, server } = world;
    await page.goto(`${server.base}/account`);
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await ground();
    await page.getByRole("radio", { name: "Dark" }).check();
    const dark = await ground();
    assert.notEqual(dark, light);
    await page.reload();
    await page.getByText("this browser", { exact: true }).waitFor();
    assert.equal(await ground(), dark);
    await page.getByRole("radio", { name: "System" }).check();
    assert.equal(await ground(), light);
  });

  test("a sealed server says so, and how to open it", async () => {
    const { page, server } = world;
    await page.route("**/api/**", (route) => route.fulfill({ status: 503,
      json: { error: { message: "sealed", type: "server_error", param: null, code: "sealed" } } }));
    await page.goto(server.base);
    await page.getByRole("heading", { name: "The server is sealed" }).waitFor();
    await look("sealed");
    await page.unroute("**/api/**");
    await page.getByRole("heading", { name: "What shall we work on?" }).waitFor();
  });
}
