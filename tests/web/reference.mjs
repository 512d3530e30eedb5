// The reference of the API: for whoever comes, without an account, from this server alone.
import assert from "node:assert/strict";
import { test } from "node:test";
import { openPage } from "./browser.mjs";
import { look, world } from "./world.mjs";

export function reference() {
  test("the reference shows every address of the specification, without an account", async () => {
    const opened = await openPage(world.browser, world.server.base);
    const { page } = opened;
    await page.goto(`${world.server.base}/docs`);
    await page.getByRole("heading", { name: "API reference" }).waitFor();
    const listed = await page.evaluate(async () => {
      const { paths } = await (await fetch("/openapi.json", { credentials: "omit" })).json();
      return Object.entries(paths).flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`));
    });
    assert.ok(listed.length > 15, listed.join(", "));
    const shown = await page.locator(".operation h3").allTextContents();
    assert.deepEqual(shown.map((one) => one.replace(/\s+/g, " ").trim()).sort(), listed.sort());
    const chat = page.locator("#createChatCompletion");
    await chat.locator("td code").filter({ hasText: /^temperature$/ }).waitFor();
    await chat.getByText("What can go wrong").click();
    await chat.getByText("content_policy").waitFor();
    // Every link on the page leads to a place on it, or to an address of this server.
    const astray = await page.evaluate(() => [...document.querySelectorAll("a[href^='#']")]
      .map((link) => link.getAttribute("href")?.slice(1) ?? "").filter((id) => !document.getElementById(id)));
    assert.deepEqual(astray, []);
    await look("reference", page);
    await page.setViewportSize({ width: 390, height: 800 });
    const { inner, widest } = await page.evaluate(() => ({ inner: innerWidth, widest: document.documentElement.scrollWidth }));
    assert.ok(widest <= inner, `the reference is ${widest} wide in a window of ${inner}`);
    assert.deepEqual(opened.problems, []);
    await opened.context.close();
  });

  test("the account page leads to the reference, and the reference back", async () => {
    const { page, server } = world;
    await page.goto(`${server.base}/account`);
    const link = page.getByRole("link", { name: "What programs may ask for" });
    assert.equal(await link.getAttribute("href"), "/docs");
    await page.goto(`${server.base}/docs#createResponse`);
    await page.locator("#createResponse").waitFor();
    await page.waitForFunction(() => Math.abs(document.getElementById("createResponse")?.getBoundingClientRect().top ?? 1e9) < 200);
    await page.getByRole("link", { name: "Strongroom" }).click();
    await page.getByRole("heading", { name: "What shall we work on?" }).waitFor();
  });
}
