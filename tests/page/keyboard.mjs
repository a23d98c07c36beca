import assert from "node:assert/strict";

import { opened, openRecord, until } from "./looking.mjs";

/** Everything can be reached and worked without a pointer. */
export async function keyboard({ page, base }) {
  await page.goto(base);
  await page.reload();
  await page.locator("#intake").waitFor();
  // Through the page by Tab: the first stop leads past the header.
  const reached = await tabs(page);
  for (const id of [
    "to-inspect",
    "to-history",
    "to-overview",
    "open-help",
    "sign-out",
    "images",
    "reference",
  ]) {
    assert.ok(reached.has(id), `${id} cannot be reached by Tab`);
  }

  // From the history to a board.
  await page.keyboard.press("h");
  await page.locator("#history-list a").first().waitFor();
  for (let presses = 0; ; presses += 1) {
    assert.ok(presses < 60, "no card of the history is reached by Tab");
    await page.keyboard.press("Tab");
    if (await page.evaluate(() => document.activeElement.matches("#history-list a"))) break;
  }
  const name = await page.evaluate(() => document.activeElement.querySelector(".name").textContent);
  await page.keyboard.press("Enter");
  await opened(page, name);
  const onBoard = await tabs(page);
  for (const id of [
    "add-boards",
    "toggle-boxes",
    "toggle-compare",
    "board-frame",
    "zoom-in",
    "zoom-out",
    "zoom-fit",
    "zoom-defect",
    "threshold",
    "defects",
    "judge-real",
    "judge-false",
    "judge-good",
    "draw-missed",
    "by",
  ]) {
    assert.ok(onBoard.has(id), `${id} cannot be reached by Tab`);
  }

  // The slider takes its own arrows; letters act from there as well.
  await page.locator("#threshold").focus();
  const shown = await page.locator("#threshold-value").textContent();
  await page.keyboard.press("ArrowRight");
  assert.notEqual(await page.locator("#threshold-value").textContent(), shown);
  await page.keyboard.press("[");
  await page.locator("#board-frame").focus();
  await page.keyboard.press("ArrowDown");
  const chosen = await page.locator("#defects li.selected").getAttribute("data-key");
  await page.keyboard.press("ArrowDown");
  await until(
    "the next defect",
    async () => (await page.locator("#defects li.selected").getAttribute("data-key")) !== chosen,
  );
  await page.keyboard.press("ArrowUp");
  assert.equal(await page.locator("#defects li.selected").getAttribute("data-key"), chosen);

  // Letters in a field are letters.
  const before = await openRecord(page);
  await page.locator("#by").focus();
  await page.keyboard.type("rfg");
  assert.ok((await page.locator("#by").inputValue()).endsWith("rfg"));
  assert.deepEqual(await openRecord(page), before);
  await page.locator("#by").fill("Ada");

  // The keys are told, and single letters can be turned off.
  await page.locator("#board-frame").focus();
  await page.keyboard.press("?");
  await page.locator("#help[open]").waitFor();
  assert.ok((await page.locator("#help-keys dt").count()) > 20);
  await page.locator("#single-keys").focus();
  await page.keyboard.press("Space");
  await page.keyboard.press("Escape");
  await page.locator("#help:not([open])").waitFor({ state: "attached" });
  await page.keyboard.press("b");
  assert.equal(await page.locator("#toggle-boxes").getAttribute("aria-pressed"), "true");
  await page.locator("#open-help").press("Enter");
  await page.locator("#single-keys").press("Space");
  await page.keyboard.press("Escape");
}

/** The ids that Tab reaches: from where the focus is to the end of the page, and from its start. */
async function tabs(page) {
  const reached = new Set();
  for (let ends = 0, presses = 0; ends < 2; presses += 1) {
    assert.ok(presses < 4000, `Tab does not come around: ${[...reached]}`);
    await page.keyboard.press("Tab");
    const id = await page.evaluate(
      () => document.activeElement !== document.body && document.activeElement.id,
    );
    if (id === false) ends += 1;
    else reached.add(id);
  }
  return reached;
}
