import assert from "node:assert/strict";

import { ask } from "./looking.mjs";

/** The token makes a cookie that scripts cannot read; a wrong one gives a sentence. */
export async function signIn({ page, context, base, token }) {
  const answer = await page.goto(base);
  const policy = answer.headers()["content-security-policy"];
  assert.match(policy, /default-src 'self'/);
  assert.doesNotMatch(policy, /unsafe/);
  await page.locator("#sign-in[open]").waitFor();
  await page.locator("#token").fill("not the token");
  await page.keyboard.press("Enter");
  await page.locator("#sign-in-problem").filter({ hasText: "That is not this server's token." }).waitFor();
  // What is behind the dialog cannot be had without it.
  await page.keyboard.press("Escape");
  assert.ok(await page.locator("#sign-in").evaluate((dialog) => dialog.open));
  await page.locator("#token").fill(token);
  await page.keyboard.press("Enter");
  await page.locator("#sign-in:not([open])").waitFor({ state: "attached" });
  const [cookie, ...others] = await context.cookies();
  assert.deepEqual(others, []);
  assert.equal(cookie.httpOnly, true);
  assert.equal(cookie.sameSite, "Strict");
  assert.equal(await page.evaluate(() => document.cookie), "");
  const kept = await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }));
  assert.ok(!kept.includes(token), kept);
  const model = await ask(page, "/v1/model");
  await page
    .locator("#model")
    .filter({ hasText: model.name ?? "model from a file" })
    .waitFor();
}

export async function signOut({ page, context, base }) {
  await page.goto(`${base}/#/history`);
  await page.locator("#sign-out").click();
  await page.locator("#sign-in[open]").waitFor();
  assert.deepEqual(await context.cookies(), []);
  assert.equal(await page.locator("#history-list li").count(), 0);
}
