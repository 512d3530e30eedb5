// What an administrator does: people and their roles, alerts, the audit log, the guard, evaluations.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { openPage, watch } from "./browser.mjs";
import { admin, check, comeIn, composer, get, look, passwords, signIn, world } from "./world.mjs";

const dialog = () => world.page.locator("dialog");
/** @param {string} name the row of a person, and what is chosen in its menu */
const row = (name) => world.page.locator("tr").filter({ hasText: name });
/** @param {string} name @param {string} act */
async function act(name, act) {
  await row(name).getByRole("button", { name: /^Actions for/ }).click();
  await world.page.getByRole("menuitem", { name: act }).click();
}

/** @type {Awaited<ReturnType<typeof openPage>>} the page of the person who is invited */
let member;

export function administration() {
  for (const name of ["overview", "people", "roles", "models", "usage", "guard", "audit", "alerts", "evaluations"]) {
    test(`the administration shows ${name}`, async () => {
      await admin(name);
      if (name !== "models") assert.deepEqual(await world.page.locator(".admin .notice.bad").allInnerTexts(), []);
      await look(`admin-${name}`);
    });
  }

  test("use is summed up by whatever is chosen, and comes as a file", async () => {
    const { page } = world;
    await admin("usage");
    await page.locator("tbody").getByText("olivia").waitFor();
    await page.getByLabel("By", { exact: true }).selectOption("Purpose");
    await page.locator("tbody").getByText("chat", { exact: true }).waitFor();
    const sums = await get("/api/admin/usage?group_by=kind");
    const told = sums.rows.find((/** @type {any} */ one) => one.kind === "chat").used.requests;
    assert.ok(told > 0, "there were chats before");
    const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Download as CSV" }).click()]);
    assert.match(file.suggestedFilename(), /^usage-\d{4}-\d\d-\d\d-\d{4}-\d\d-\d\d\.csv$/);
    const table = readFileSync(await file.path(), "utf8");
    assert.ok(table.startsWith("kind,requests,input_tokens,cached_tokens,output_tokens,cost,currency\n"), table);
    assert.ok(table.includes(`\nchat,${told},`), table);
  });

  test("a person is invited, comes in, and sees what a member may see", async () => {
    const { page, browser, server } = world;
    await admin("people");
    await page.getByRole("button", { name: "Invite" }).click();
    await page.getByLabel("Your name").fill("Max Member");
    await page.getByLabel("Sign-in name").fill("max");
    await check("admin-invite");
    await page.getByRole("button", { name: "Make the invitation" }).evaluate((/** @type {HTMLElement} */ button) => { button.click(); button.click(); });
    const link = await dialog().locator(".copy-line code").innerText();
    await look("admin-invitation");
    await page.getByRole("button", { name: "Done" }).click();
    await row("Max Member").getByText("Invited").waitFor();
    member = await openPage(browser, server.base);
    await member.page.goto(link);
    await member.page.getByLabel("Password", { exact: true }).fill("short");
    await look("invite", member.page);
    await member.page.getByLabel("Password", { exact: true }).fill(passwords.member);
    await member.page.getByRole("button", { name: "Save and sign in" }).click();
    await member.page.getByRole("heading", { name: "What shall we work on?" }).waitFor();
    await member.page.getByRole("button", { name: /Max/ }).click();
    assert.equal(await member.page.getByRole("menuitem", { name: "Administration" }).count(), 0);
    await member.page.goto(`${server.base}/admin/people`);
    await member.page.getByText("Your role shows nothing here.").waitFor();
    const stranger = await openPage(browser, server.base);
    await stranger.page.goto(link);
    await stranger.page.getByLabel("Password", { exact: true }).fill(passwords.member);
    await stranger.page.getByRole("button", { name: "Save and sign in" }).click();
    await stranger.page.getByText("This link was used already").waitFor();
    await check("invite-used", stranger.page);
    await stranger.context.close();
  });

  test("a role is given and taken, and holds from the next request on", async () => {
    await world.page.reload();
    await act("Max Member", "Change roles");
    await dialog().getByLabel("operator").check();
    await dialog().getByLabel("member").uncheck();
    await check("admin-person-roles");
    await dialog().getByRole("button", { name: "Save" }).click();
    await row("Max Member").getByText("operator").waitFor();
    const models = `${world.server.base}/admin/models`;
    await member.page.goto(models);
    await member.page.getByRole("heading", { name: "Models" }).waitFor();
    // Who manages models, but may not list the roles, can still say who may use a model.
    await member.page.getByRole("button", { name: "Change who may use guide" }).click();
    await member.page.getByLabel("Only people with one of these roles").check();
    await member.page.locator("dialog").getByLabel("service").waitFor();
    await act("Max Member", "Change roles");
    await dialog().getByLabel("operator").uncheck();
    assert.equal(await dialog().getByRole("button", { name: "Save" }).isDisabled(), true, "a person without any role");
    await dialog().getByLabel("member").check();
    await dialog().getByRole("button", { name: "Save" }).click();
    await row("Max Member").getByText("member", { exact: true }).waitFor();
    await member.page.locator("dialog").getByRole("button", { name: "Save" }).click();
    await member.page.getByText("Your role does not allow this.").waitFor();
    assert.equal((await get("/api/admin/models")).models.find((/** @type {any} */ one) => one.id === "guide").roles, null);
  });

  test("a group is made, gets its members and limits, and is deleted", async () => {
    const { page } = world;
    await page.reload();
    await page.getByRole("button", { name: "New group" }).click();
    await dialog().getByLabel("Group", { exact: true }).fill("Research");
    await dialog().getByLabel("Tokens a month").fill("7000");
    await check("admin-group");
    await dialog().getByRole("button", { name: "Save" }).click();
    await row("Research").getByText(/0 \/ 7.?000/).waitFor();
    await act("Research", "Members");
    await dialog().getByLabel("Max Member").check();
    await look("admin-group-members");
    await dialog().getByRole("button", { name: "Save" }).click();
    await row("Research").getByText("1", { exact: true }).waitFor();
    const [group] = (await get("/api/admin/groups")).groups;
    assert.deepEqual(group.members.map((/** @type {any} */ one) => one.username), ["max"]);
    await member.page.goto(`${world.server.base}/account`);
    await member.page.getByText("Together in Research").waitFor();
    // Limits that the page has no field for stay.
    await act("Research", "Change name and limits");
    await dialog().getByLabel("Tokens a month").fill("");
    await dialog().getByLabel("Tokens a day").fill("900");
    await dialog().getByRole("button", { name: "Save" }).click();
    await row("Research").getByText("0 / 900").waitFor();
    assert.equal((await get("/api/admin/groups")).groups[0].limits.tokens_per_month, null);
    await act("Research", "Delete");
    await dialog().getByRole("button", { name: "Delete" }).click();
    await page.getByText("No groups yet").waitFor();
  });

  test("the last owner keeps the role, and is told why", async () => {
    await act("Olivia Ray", "Change roles");
    await dialog().getByLabel("owner").uncheck();
    await dialog().getByLabel("member").check();
    await dialog().getByRole("button", { name: "Save" }).click();
    await dialog().getByRole("alert").waitFor();
    assert.deepEqual((await get("/api/me")).person.roles, ["owner"]);
    await dialog().getByRole("button", { name: "Cancel" }).click();
  });

  test("a reset ends no session before its link is used, and every one then", async () => {
    const { page, browser, server } = world;
    await member.page.goto(server.base);
    await act("Max Member", "Reset password");
    await dialog().getByText("Until it is used, nothing changes.").waitFor();
    await check("admin-reset");
    await dialog().getByRole("button", { name: "Make the link" }).click();
    const link = await dialog().locator(".copy-line code").innerText();
    await page.getByRole("button", { name: "Done" }).click();
    assert.equal((await get("/api/me", member.page)).person.username, "max");
    const anew = await openPage(browser, server.base);
    await anew.page.goto(link);
    await anew.page.getByLabel("Password", { exact: true }).fill(`${passwords.member} again`);
    await anew.page.getByRole("button", { name: "Save and sign in" }).click();
    await composer(anew.page).waitFor();
    await assert.rejects(get("/api/me", member.page), /401/);
    await member.context.close();
    member = anew;
  });

  test("a person who is disabled is out at once, and cannot sign in until they are enabled", async () => {
    const { page, server } = world;
    await act("Max Member", "Disable");
    await check("admin-disable");
    await dialog().getByRole("button", { name: "Disable" }).click();
    await row("Max Member").getByText("Disabled").waitFor();
    await composer(member.page).fill("Am I still here?");
    await composer(member.page).press("Enter");
    await member.page.getByRole("button", { name: "Sign in" }).waitFor();
    await member.page.getByLabel("Sign-in name").fill("max");
    await member.page.getByLabel("Password", { exact: true }).fill(`${passwords.member} again`);
    await member.page.getByRole("button", { name: "Sign in" }).click();
    await member.page.getByText("That name and password do not belong together.").waitFor();
    await check("sign-in-refused", member.page);
    await act("Max Member", "Enable");
    await row("Max Member").getByText("Active").waitFor();
    await signIn(server.base, member.page, "max", `${passwords.member} again`);
    await composer(member.page).waitFor();
    assert.deepEqual(member.problems, []);
    await member.context.close();
  });

  test("a person is deleted by whoever types their name, and is out at once", async () => {
    const { page, server } = world;
    const nora = await comeIn("nora", "Nora North");
    await admin("people");
    await row("Olivia Ray").getByRole("button", { name: /^Actions for/ }).click();
    assert.equal(await page.getByRole("menuitem", { name: "Delete" }).count(), 0, "nobody deletes themselves by a slip");
    await page.keyboard.press("Escape");
    await act("Nora North", "Delete");
    await dialog().getByText("this server can never open the chats again").waitFor();
    await dialog().getByText("opens as long as a copy of the keys from before exists").waitFor();
    await look("admin-delete");
    const button = dialog().getByRole("button", { name: "Delete" });
    const name = dialog().getByLabel("Type nora to delete this person");
    for (const typed of ["", "Nora North", "norah"]) {
      await name.fill(typed);
      assert.equal(await button.isDisabled(), true, typed);
    }
    await name.fill("nora");
    await button.click();
    await row("Nora North").waitFor({ state: "detached" });
    await page.getByText("Nora North is deleted").waitFor();
    assert.equal((await get("/api/admin/people")).people.some((/** @type {any} */ one) => one.username === "nora"), false);
    await composer(nora.page).fill("Am I still here?");
    await composer(nora.page).press("Enter");
    await nora.page.getByRole("button", { name: "Sign in" }).waitFor();
    await nora.page.getByLabel("Sign-in name").fill("nora");
    await nora.page.getByLabel("Password", { exact: true }).fill(passwords.member);
    await nora.page.getByRole("button", { name: "Sign in" }).click();
    await nora.page.getByText("That name and password do not belong together.").waitFor();
    assert.deepEqual(nora.problems, []);
    await nora.context.close();
    await page.goto(`${server.base}/admin/people`);
  });

  test("who may see people but not manage them is offered nothing to do to them", async () => {
    const { page } = world;
    const me = await get("/api/me");
    me.person.permissions = me.person.permissions.filter((/** @type {string} */ one) => one !== "people.manage");
    await page.route("**/api/me", (route) => route.fulfill({ json: me }));
    await admin("people");
    await row("Max Member").waitFor();
    assert.equal(await page.getByRole("button", { name: /^Actions for/ }).count(), 0);
    await page.unroute("**/api/me");
  });

  test("every event that the server can write has its sentence, and no other", async () => {
    const written = readFileSync(new URL("../../src/audit/event.rs", import.meta.url), "utf8");
    const table = written.slice(written.indexOf("\nactions! {"), written.indexOf("\n}", written.indexOf("\nactions! {")));
    const actions = [...table.matchAll(/^ {4}\w+ "([^"]+)"/gm)].map(([, name]) => name);
    assert.ok(actions.length > 40);
    await admin("audit");
    const offered = await world.page.getByLabel("What").locator("option").evaluateAll((options) => options.map((one) => /** @type {HTMLOptionElement} */ (one).value));
    assert.deepEqual(offered.filter((one) => one), actions.sort());
  });

  test("failed sign-ins raise an alert, which is acknowledged", async () => {
    const { page } = world;
    const open = page.locator(".list > li").filter({ has: page.getByRole("button", { name: "Acknowledge" }) });
    // The server looks for alerts every few seconds.
    for (await admin("alerts"); await open.count() === 0;) await admin("alerts");
    await look("admin-alerts");
    const count = await open.count();
    const { alerts } = await get("/api/admin/alerts");
    assert.ok(alerts.length >= count);
    await admin("overview");
    await page.getByText(/alerts? (is|are) open/).waitFor();
    await page.getByRole("link", { name: "See alerts" }).click();
    const all = page.locator(".list > li");
    await all.first().waitFor();
    // Others may come meanwhile.
    while (await open.count() > 0) {
      const one = await open.first().elementHandle();
      await open.first().getByRole("button", { name: "Acknowledge" }).click();
      await page.waitForFunction((row) => !row?.querySelector("button"), one);
    }
    await all.first().getByText(/acknowledged by/).waitFor();
    assert.ok((await get("/api/admin/alerts")).alerts.some((/** @type {any} */ one) => one.acknowledged_at));
  });

  test("the guard can be tried, and its policy reads as words", async () => {
    const { page } = world;
    await admin("guard");
    await page.getByRole("button", { name: "Check the text" }).click();
    const findings = page.getByRole("region", { name: "Findings" });
    await findings.getByText("Payment card number").waitFor();
    assert.match(await page.locator(".result .raw").innerText(), /^My card is \[card-1\]/);
    await look("admin-guard");
    const kinds = await page.getByRole("region", { name: "Policy in force" }).locator("td.name").allInnerTexts();
    assert.ok(kinds.length > 10);
    assert.deepEqual(kinds.filter((one) => /^\S+[.-]\S+$/.test(one) && one !== "E-mail"), []);
  });

  test("an evaluation runs once however often Start is pressed, and its report opens beside the app", async () => {
    const { page } = world;
    await admin("evaluations");
    await page.getByRole("button", { name: "Start" }).evaluate((/** @type {HTMLElement} */ button) => { button.click(); button.click(); });
    const link = page.getByRole("link", { name: "Report" });
    await link.waitFor({ timeout: 240_000 });
    assert.equal((await get("/api/admin/evaluations")).runs.length, 1);
    await look("admin-evaluations");
    const [report] = await Promise.all([page.context().waitForEvent("page"), link.click()]);
    /** @type {string[]} */
    const problems = [];
    watch(report, world.server.base, problems);
    await report.getByRole("heading", { level: 1 }).waitFor();
    assert.match(await report.locator("body").innerText(), /stereotype/i);
    // The report stands in a sandbox in which nothing runs, the checker neither: it looks at a copy without it.
    const address = report.url();
    const body = await page.evaluate(async (/** @type {string} */ at) => (await fetch(at)).text(), address);
    await report.route(address, (route) => route.fulfill({ contentType: "text/html", body }));
    await report.reload();
    await report.getByRole("heading", { level: 1 }).waitFor();
    await look("evaluation-report", report);
    assert.deepEqual(problems.filter((one) => one.startsWith("request")), []);
    await report.close();
  });

  test("the audit log reads as sentences, is narrowed down, and verifies", async () => {
    const { page } = world;
    await admin("audit");
    const rows = page.locator(".audit-row");
    await rows.first().waitFor();
    const before = await rows.count();
    await page.getByRole("button", { name: "Older events" }).click();
    await rows.nth(before).waitFor();
    await page.getByLabel("What", { exact: true }).selectOption("setup.redeem");
    await page.getByText("used the set-up link and became the owner").waitFor();
    await page.waitForFunction(() => document.querySelectorAll(".audit-row").length === 1);
    await page.getByLabel("What", { exact: true }).selectOption("person.disable");
    await page.getByText("disabled a person").waitFor();
    await page.getByRole("button", { name: "Verify the log" }).click();
    const found = await page.getByText(/All [\d,]+ events are in place/).innerText();
    assert.ok(Number(found.match(/All ([\d,]+)/)?.[1]?.replace(",", "")) > before);
    await check("admin-audit-verified");
    await rows.first().click();
    await page.getByText("The event as recorded").waitFor();
    assert.match(await page.locator("dialog .raw").innerText(), /"action": "person.disable"/);
    await look("admin-audit-event");
    await page.keyboard.press("Escape");
    await page.locator("dialog").waitFor({ state: "detached" });
  });
}
