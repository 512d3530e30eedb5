// Instructions that an administrator keeps for many, and a chat that stands under them.
import { test } from "node:test";
import { admin, check, composer, world } from "./world.mjs";

export function instructions() {
  test("instructions are made, a chat stands under them, and they are deleted", async () => {
    const { page, server } = world;
    const dialog = page.locator("dialog");
    const row = page.locator("tr").filter({ hasText: "Librarian" });
    await admin("prompts");
    await page.getByRole("button", { name: "New instructions" }).click();
    await dialog.getByLabel("Name", { exact: true }).fill("Librarian");
    await dialog.getByLabel("Text", { exact: true }).fill("Answer as a librarian would.");
    await check("admin-prompts-new");
    await dialog.getByRole("button", { name: "Save" }).click();
    await row.getByText("everybody").waitFor();
    await check("admin-prompts");
    await page.goto(server.base);
    await composer(page).waitFor();
    await page.getByRole("button", { name: "Instructions: No instructions" }).click();
    await page.getByRole("menuitemradio", { name: "Librarian" }).click();
    await composer(page).fill("Hello");
    await composer(page).press("Enter");
    await page.waitForURL(/\/c\//);
    await page.getByRole("button", { name: "Copy answer" }).first().waitFor();
    await page.reload();
    await page.getByRole("button", { name: "Instructions: Librarian" }).click();
    await check("chat-instructions");
    await page.getByRole("menuitemradio", { name: "No instructions" }).click();
    await page.reload();
    await page.getByRole("button", { name: "Instructions: No instructions" }).waitFor();
    await admin("prompts");
    await row.getByRole("button", { name: "Actions for Librarian" }).click();
    await page.getByRole("menuitem", { name: "Delete" }).click();
    await dialog.getByRole("button", { name: "Delete", exact: true }).click();
    await page.getByText("No instructions yet").waitFor();
  });
}
