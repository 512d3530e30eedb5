// The account page: keys, password, sessions.
import assert from "node:assert/strict";
import { test } from "node:test";
import { openPage } from "./browser.mjs";
import { check, composer, get, look, passwords, signIn, world } from "./world.mjs";

/** @param {string} secret @returns {Promise<number>} the status that a program with this key gets */
const asProgram = (secret) => world.page.evaluate(async (key) =>
  (await fetch("/v1/models", { credentials: "omit", headers: { authorization: `Bearer ${key}` } })).status, secret);

export function account() {
  test("a key is made once, shown once, works, and is refused after it was revoked", async () => {
    const { page, server } = world;
    await page.goto(`${server.base}/account`);
    await page.getByRole("button", { name: "New key" }).click();
    await page.getByLabel("Name", { exact: true }).fill("notebook");
    // Pressed twice, as impatient hands do.
    await page.getByRole("button", { name: "Make the key" }).evaluate((/** @type {HTMLElement} */ button) => { button.click(); button.click(); });
    const secret = await page.locator("dialog .copy-line code").innerText();
    assert.match(secret, /^sr-/);
    assert.ok((await page.locator("dialog pre").innerText()).includes(`${server.base}/v1`));
    await look("key");
    await page.getByRole("button", { name: "Done" }).click();
    await page.reload();
    await page.getByText("notebook").waitFor();
    assert.equal((await get("/api/me/keys")).keys.length, 1, "one press too many made a second key");
    assert.equal((await page.content()).includes(secret), false);
    await look("account");
    assert.equal(await asProgram(secret), 200);
    await page.getByRole("button", { name: "Revoke: notebook" }).click();
    await check("key-revoke");
    await page.locator("dialog").getByRole("button", { name: "Revoke" }).click();
    await page.getByText("No keys yet").waitFor();
    assert.equal(await asProgram(secret), 401);
  });

  test("a key with a budget of its own says so, and one with a budget of nothing is not made", async () => {
    const { page } = world;
    await page.getByRole("button", { name: "New key" }).click();
    await page.getByLabel("Name", { exact: true }).fill("thrifty");
    await page.getByLabel("Tokens a month").fill("0");
    assert.equal(await page.getByRole("button", { name: "Make the key" }).isDisabled(), true);
    await page.getByLabel("Tokens a month").fill("5000");
    await look("key-limits");
    await page.getByRole("button", { name: "Make the key" }).click();
    await page.getByRole("button", { name: "Done" }).click();
    await page.getByText(/5.?000 a month/).waitFor();
    const [key] = (await get("/api/me/keys")).keys;
    assert.deepEqual([key.limits.tokens_per_month, key.limits.tokens_per_day], [5000, null]);
    await page.getByRole("button", { name: "Revoke: thrifty" }).click();
    await page.locator("dialog").getByRole("button", { name: "Revoke" }).click();
    await page.getByText("No keys yet").waitFor();
  });

  test("a key is accepted from its networks alone, says which and from where it was refused, and what is no network is told at the field", async () => {
    const { page } = world;
    await page.getByRole("button", { name: "New key" }).click();
    await page.getByLabel("Name", { exact: true }).fill("office");
    const field = page.getByRole("textbox", { name: "Networks" });
    await field.fill("192.0.2.7\n10.1.2.3/8");
    await page.getByRole("button", { name: "Make the key" }).click();
    const wrong = page.locator("dialog .field .wrong");
    await wrong.waitFor();
    assert.match(await wrong.innerText(), /Network 2 of the list.*10\.0\.0\.0\/8/s);
    assert.equal(await field.getAttribute("aria-invalid"), "true");
    const described = (await field.getAttribute("aria-describedby"))?.split(" ") ?? [];
    assert.ok(described.includes(/** @type {string} */ (await wrong.getAttribute("id"))), "screen readers are not told what is wrong");
    assert.equal(await page.locator("dialog .notice.bad").count(), 0, "it is told twice");
    await check("key-networks-wrong");
    await field.fill("192.0.2.7, 10.0.0.0/8\n2001:DB8::/32");
    await page.getByRole("button", { name: "Make the key" }).click();
    const secret = await page.locator("dialog .copy-line code").innerText();
    await page.getByRole("button", { name: "Done" }).click();
    await page.getByText("from 192.0.2.7, 10.0.0.0/8, 2001:db8::/32 alone").waitFor();
    assert.equal(await asProgram(secret), 401);
    await page.reload();
    await page.getByText(/refused .* from 127\.0\.0\.1, which is in none of its networks/).waitFor();
    await check("key-networks-list");
    await page.getByRole("button", { name: "Networks: office" }).click();
    assert.equal(await field.inputValue(), "192.0.2.7\n10.0.0.0/8\n2001:db8::/32");
    await field.fill("127.0.0.0/33");
    await page.locator("dialog").getByRole("button", { name: "Save" }).click();
    await wrong.waitFor();
    await check("key-networks");
    await field.fill("127.0.0.0/8 ::1");
    await page.locator("dialog").getByRole("button", { name: "Save" }).click();
    await page.getByText("from 127.0.0.0/8, ::1 alone", { exact: true }).waitFor();
    assert.equal(await asProgram(secret), 200);
    assert.equal(await page.getByText("none of its networks").count(), 0, "it is let in from there now");
    await page.getByRole("button", { name: "Networks: office" }).click();
    await field.fill("");
    await page.locator("dialog").getByRole("button", { name: "Save" }).click();
    await page.getByText("“office” is accepted from everywhere").waitFor();
    assert.deepEqual((await get("/api/me/keys")).keys[0].networks, []);
    await page.getByRole("button", { name: "Revoke: office" }).click();
    await page.locator("dialog").getByRole("button", { name: "Revoke" }).click();
    await page.getByText("No keys yet").waitFor();
  });

  test("the password is changed with the present one only", async () => {
    const { page } = world;
    await page.getByLabel("Present password", { exact: true }).fill("not the present password");
    await page.getByLabel("New password", { exact: true }).fill(passwords.changed);
    await page.getByRole("button", { name: "Change the password" }).click();
    await page.locator(".section .notice.bad").waitFor();
    assert.equal(await page.getByLabel("New password", { exact: true }).inputValue(), passwords.changed, "what was typed is lost");
    await page.getByLabel("Present password", { exact: true }).fill(passwords.first);
    await page.getByRole("button", { name: "Change the password" }).click();
    await page.getByText("The password is changed").waitFor();
  });

  test("a session elsewhere is ended, and loses nothing of what was being typed there", async () => {
    const { page, server, browser } = world;
    const elsewhere = await openPage(browser, server.base);
    await signIn(server.base, elsewhere.page, "olivia", passwords.changed);
    await composer(elsewhere.page).fill("a thought that must not be lost");
    await page.reload();
    const others = page.locator("section", { hasText: "Where you are signed in" }).locator("li").filter({ hasNotText: "this browser" });
    await others.first().waitFor();
    assert.equal(await others.count(), 1);
    await others.getByRole("button", { name: "Sign out" }).click();
    await others.waitFor({ state: "detached" });
    await composer(elsewhere.page).press("Enter");
    await elsewhere.page.getByText("You were signed out. Sign in again; what you typed is still here.").first().waitFor();
    await check("sign-in-again", elsewhere.page);
    await signIn(server.base, elsewhere.page, "olivia", passwords.changed);
    await composer(elsewhere.page).waitFor();
    assert.equal(await composer(elsewhere.page).inputValue(), "a thought that must not be lost");
    assert.deepEqual(elsewhere.problems, []);
    await elsewhere.context.close();
  });
}
