import assert from "node:assert/strict";

import { HOSTILE } from "./giving.mjs";
import { ask, onScreen, opened, openRecord, saved, showBest, until } from "./looking.mjs";

/** Verdicts by mouse and by keyboard, missed defects, a network that goes away, and another operator. */
export async function verdicts({ page, context }) {
  await byKeys(page);
  await missed(page);
  await byMouse(page);
  await offline(page, context);
  await overtaken(page);
}

const given = (record) =>
  record.detections
    .map(({ verdict }) => verdict)
    .filter(Boolean)
    .sort();

async function byKeys(page) {
  await page.locator("#by").fill("Ada");
  await page.locator("#by").blur();
  const record = await openRecord(page);
  const shown = await showBest(page, record, 3);
  await page.locator("#defects li .choose").first().click();
  await page.keyboard.press("r");
  for (let left = shown - 1; left > 0; left -= 1) await page.keyboard.press("f");
  await page.locator("#left").filter({ hasText: "All judged" }).waitFor();
  // A slip is taken back and the defect judged again.
  await page.keyboard.press("u");
  await page.locator("#left").filter({ hasText: "1 to judge" }).waitFor();
  await page.keyboard.press("f");
  await page.locator("#left").filter({ hasText: "All judged" }).waitFor();
  await saved(page);
  // The best is real, and the others are false calls.
  const judged = await openRecord(page);
  assert.deepEqual(given(judged), [...Array(shown - 1).fill("false_call"), "real"]);
  const best = judged.detections.reduce((a, b) => (b.score > a.score ? b : a));
  assert.equal(best.verdict, "real");
  assert.equal(judged.verdict_by, "Ada");

  // It survives a reload, and a second click on a verdict takes it away.
  await page.reload();
  await opened(page, "first.jpg");
  await showBest(page, record, 3);
  assert.equal(await page.locator("#defects li.real").count(), 1);
  assert.equal(await page.locator("#defects li.false_call").count(), shown - 1);
  await page.locator("#defects li.false_call .verdict.false_call").first().click();
  await page.locator("#left").filter({ hasText: "1 to judge" }).waitFor();
  await until("it was taken back", async () => given(await openRecord(page)).length === shown - 1);
}

async function missed(page) {
  const record = await openRecord(page);
  const { classes } = await ask(page, "/v1/model");
  await page.keyboard.press("m");
  const wanted = [0.3, 0.3, 0.5, 0.45].map(
    (share, index) => share * (index % 2 ? record.image.height : record.image.width),
  );
  await page.mouse.move(...(await onScreen(page, record, wanted.slice(0, 2))));
  await page.mouse.down();
  await page.mouse.move(...(await onScreen(page, record, wanted.slice(2))), { steps: 4 });
  await page.mouse.up();
  await page.locator("#classes[open]").waitFor();
  await page.keyboard.press("2");
  await page.locator("#defects li.missed").filter({ hasText: classes[1] }).waitFor();
  await until("the missed defect is stored", async () => (await openRecord(page)).missed.length === 1);
  const [stored] = (await openRecord(page)).missed;
  assert.deepEqual([stored.label, stored.name], [2, classes[1]]);
  for (const [index, value] of stored.box.entries())
    assert.ok(Math.abs(value - wanted[index]) < 2, `${stored.box} ${wanted}`);

  // The same by keys alone, and away again.
  await page.keyboard.press("m");
  for (const key of ["ArrowLeft", "ArrowUp", "Shift+ArrowRight", "Shift+ArrowDown", "Enter"])
    await page.keyboard.press(key);
  await page.locator("#classes[open]").waitFor();
  await page.keyboard.press("1");
  await until("two missed defects", async () => (await openRecord(page)).missed.length === 2);
  await page.keyboard.press("Delete");
  await until("one again", async () => (await openRecord(page)).missed.length === 1);
  // Escape leaves without one.
  await page.keyboard.press("m");
  await page.locator("#stage.drawing").waitFor();
  await page.keyboard.press("Escape");
  await page.locator("#stage:not(.drawing)").waitFor();
}

async function byMouse(page) {
  // Only the open board is in hand after a reload: the history gives the others.
  await page.locator("#to-history").click();
  await page.locator("#history-list a").filter({ hasText: "onerror" }).first().click();
  await opened(page, HOSTILE);
  const record = await openRecord(page);
  const shown = await showBest(page, record, 2);
  await page
    .locator("#defects li")
    .first()
    .getByRole("button", { name: /: real$/ })
    .click();
  await page.locator("#judge-false").click();
  await until("two verdicts", async () => given(await openRecord(page)).length === 2);
  assert.ok(shown >= 2);
  await page.locator("#judge-good").click();
  await saved(page);
  await until(
    "every defect is judged",
    async () => given(await openRecord(page)).length === record.detections.length,
  );
  assert.equal(given(await openRecord(page)).filter((verdict) => verdict === "real").length, 1);

  // One key for the next board, one for the one before.
  const first = page.url();
  const name = await page.locator("#board-name").textContent();
  await page.locator("#previous-board").click();
  await until("the board before", async () => page.url() !== first);
  await page.keyboard.press("n");
  await opened(page, name);
  assert.equal(page.url(), first);
}

/** Without a network a sentence says so, and the verdict is stored when there is one again. */
async function offline(page, context) {
  await page.locator("#defects li .choose").first().click();
  await context.setOffline(true);
  await page.keyboard.press("f");
  await page.locator("#saved.failed").waitFor();
  const alert = page.locator("#alerts [role=alert]");
  await alert.filter({ hasText: "the verdict is not saved yet. The server cannot be reached." }).waitFor();
  await context.setOffline(false);
  await saved(page);
  assert.ok(given(await openRecord(page)).every((verdict) => verdict === "false_call"));
  await alert.getByRole("button").click();
}

/** Another operator was faster: nothing is replaced unseen, and the board is shown as it is now. */
async function overtaken(page) {
  const { id, detections } = await openRecord(page);
  const verdict = { detections: detections.map(() => "real"), missed: [], by: "Bob" };
  const send = async ([path, body]) => {
    const headers = { "content-type": "application/json" };
    return (await fetch(path, { method: "POST", headers, body })).status;
  };
  const path = `/v1/detections/${id}/verdict`;
  assert.equal(await page.evaluate(send, [path, JSON.stringify(verdict)]), 200);
  await page.locator("#defects li .choose").first().click();
  await page.keyboard.press("f");
  const alert = page.locator("#alerts [role=alert]");
  await alert.filter({ hasText: "verdict is not stored. This board was judged meanwhile" }).waitFor();
  await page.locator("#saved.saved").filter({ hasText: "by Bob" }).waitFor();
  assert.equal(await page.locator("#defects li.false_call").count(), 0);
  assert.ok(given(await openRecord(page)).every((verdict) => verdict === "real"));
  await alert.getByRole("button").click();
  // What is decided now is stored.
  await page.locator("#defects li .choose").first().click();
  await page.keyboard.press("f");
  await page.locator("#saved.saved").filter({ hasText: "by Ada" }).waitFor();
  assert.equal(given(await openRecord(page)).filter((verdict) => verdict === "false_call").length, 1);
}
