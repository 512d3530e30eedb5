// The models page: why one failed, and who may use which.
import assert from "node:assert/strict";
import { test } from "node:test";
import { openPage } from "./browser.mjs";
import { admin, check, composer, get, look, passwords, signIn, world } from "./world.mjs";

/** @param {import("playwright-core").Page} page @returns {Promise<string[]>} the models that the picker offers */
async function offered(page) {
  await page.goto(world.server.base);
  await composer(page).waitFor();
  await page.locator(".model-button").click();
  const all = page.getByRole("menuitemradio");
  await all.first().waitFor();
  return (await all.allInnerTexts()).map((one) => one.split("\n")[0] ?? "");
}

export function models() {
  test("a model that cannot be read says why", async () => {
    await admin("models");
    const { models: all } = await get("/api/admin/models");
    const broken = all.find((/** @type {any} */ one) => one.id === "broken-copy");
    assert.equal(broken.state, "failed");
    assert.ok(broken.reason.length > 10);
    const notice = world.page.locator(".notice.bad");
    assert.equal(await notice.count(), 1);
    assert.ok((await notice.innerText()).includes(broken.reason));
    await world.page.locator("tr").filter({ hasText: "broken-copy" }).getByText("failed").waitFor();
    await world.page.locator("tr").filter({ hasText: "guide" }).first().getByText("ready").waitFor();
  });

  test("a file that is put into the directory is found, loaded, named and unloaded", async () => {
    const { page, server } = world;
    await admin("models");
    server.addModel("latecomer");
    await page.getByRole("button", { name: "Look for new files" }).click();
    const row = page.locator("tr").filter({ hasText: "latecomer" });
    await row.getByText("not loaded").waitFor();
    await row.getByText("loaded when asked").waitFor();
    const act = async (/** @type {string} */ name) => {
      await row.getByRole("button", { name: "Actions for latecomer" }).click();
      await page.getByRole("menuitem", { name, exact: true }).click();
    };
    await act("Load");
    await row.getByText("ready", { exact: true }).waitFor();
    assert.match(await row.innerText(), /\d MiB/);
    await act("Add a further name");
    const dialog = page.locator("dialog");
    await dialog.getByLabel("Name").fill("guide");
    await dialog.getByRole("button", { name: "Save" }).click();
    await dialog.getByText("called `guide` already").waitFor();
    await dialog.getByLabel("Name").fill("gpt-4o");
    await dialog.getByRole("button", { name: "Save" }).click();
    await page.getByText("for latecomer").waitFor();
    await check("admin-models-alias");
    await page.getByRole("button", { name: "Take away gpt-4o" }).click();
    await page.getByText("for latecomer").waitFor({ state: "detached" });
    await act("Unload");
    await row.getByText("not loaded").waitFor();
    const { models: all } = await get("/api/admin/models");
    const model = all.find((/** @type {any} */ one) => one.id === "latecomer");
    assert.deepEqual([model.state, model.memory_bytes, model.aliases], ["not_loaded", null, []]);
  });

  test("a model is kept for some roles, is gone for the others, and is opened again", async () => {
    const { page, browser, server } = world;
    const member = await openPage(browser, server.base);
    await signIn(server.base, member.page, "max", `${passwords.member} again`);
    assert.ok((await offered(member.page)).includes("storyteller"));
    const row = page.locator("tr").filter({ hasText: "storyteller" });
    await row.getByText("everybody").waitFor();
    await row.getByRole("button", { name: "Change who may use storyteller" }).click();
    const dialog = page.locator("dialog");
    await dialog.getByLabel("Only people with one of these roles").check();
    await dialog.getByLabel("member").uncheck();
    await look("admin-model-access");
    await dialog.getByRole("button", { name: "Save" }).click();
    await row.getByText("owner, admin, operator, service").waitFor();
    assert.equal((await offered(member.page)).includes("storyteller"), false);
    await row.getByRole("button", { name: "Change who may use storyteller" }).click();
    await dialog.getByLabel("Everybody who may use models").check();
    await dialog.getByRole("button", { name: "Save" }).click();
    await row.getByText("everybody").waitFor();
    assert.ok((await offered(member.page)).includes("storyteller"));
    assert.deepEqual(member.problems, []);
    await member.context.close();
  });
}
