import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { ask, opened, slide, until } from "./looking.mjs";

/** The history and the overview agree with the server's numbers. */
export async function stored({ page, base }) {
  await history(page, base);
  await overview(page, base);
}

async function history(page, base) {
  await page.goto(`${base}/#/history`);
  const { items } = await ask(page, "/v1/detections");
  const cards = page.locator("#history-list a");
  const many = async (wanted) => until(`${wanted} cards`, async () => (await cards.count()) === wanted);
  await many(items.length);
  assert.deepEqual(
    await cards.locator(".name").allTextContents(),
    items.map(({ image }) => image.name),
  );
  await until("thumbnails", () =>
    page.locator("#history-list img").evaluateAll((all) => all.every((one) => one.naturalWidth > 0)),
  );
  assert.equal(await page.evaluate(() => window.hacked), undefined);

  const given = items.filter((item) => item.verdict_time).length;
  await page.locator("#history-filter [name=verdict]").selectOption("given");
  await many(given);
  // The address has the filter, so a reload keeps it.
  await page.reload();
  await many(given);
  assert.equal(await page.locator("#history-filter [name=verdict]").inputValue(), "given");
  await page.locator("#history-filter [name=verdict]").selectOption("");
  await many(items.length);
  await page.locator("#history-filter [name=line]").selectOption("line <b>1</b>");
  await many(items.filter(({ fields }) => fields.line === "line <b>1</b>").length);
  await page.locator("#history-filter [name=from]").fill("2001-01-01");
  await page.locator("#history-filter [name=to]").fill("2001-01-02");
  await page.locator("#history-count").filter({ hasText: "No board fits these filters." }).waitFor();
  await many(0);
  await page.goto(`${base}/#/history`);
  await many(items.length);
  // What is not judged, one after the other.
  const pending = items.filter((item) => !item.verdict_time);
  await page.locator("#judge-pending").click();
  await opened(page, pending[0].image.name);
  assert.equal(await page.locator("#strip li").count(), pending.length);
}

async function overview(page, base) {
  await page.goto(`${base}/#/overview`);
  // Counted from the score that the boards are shown from.
  const threshold = await page.locator("#threshold").inputValue();
  const note = page.locator("#overview-note");
  await note.filter({ hasText: `a score of ${Number(threshold)} or more` }).waitFor();
  const wanted = await ask(page, `/v1/statistics?score_threshold=${threshold}`);
  const tile = (name) =>
    page
      .locator("#tiles div")
      .filter({ has: page.getByText(name, { exact: true }) })
      .locator("dd")
      .first();
  await tile("Boards")
    .filter({ hasText: String(wanted.boards) })
    .waitFor();
  const percent = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(1)} %` : "–");
  const { real, false_call: calls, missed, boards } = wanted.verdicts;
  assert.equal(
    await tile("Yield").textContent(),
    percent(wanted.boards - wanted.boards_with_defects, wanted.boards),
  );
  assert.equal(await tile("False calls").textContent(), percent(calls, real + calls));
  assert.equal(await tile("Escapes").textContent(), percent(missed, real + missed));
  assert.match(await tile("Time, median").textContent(), / m?s$/);
  assert.ok(boards >= 2 && missed === 1 && real >= 1 && calls >= 1, JSON.stringify(wanted.verdicts));
  for (const id of ["days", "yield", "classes", "scores", "verdicts"]) {
    const figure = page.locator(`#chart-${id}`);
    await figure.locator("svg :is(rect.bar, circle.dot)").first().waitFor({ state: "attached" });
    assert.ok((await figure.locator("tbody tr").count()) > 0, id);
  }
  // Pareto: the most frequent class first, and bars for all.
  const sorted = wanted.classes
    .filter(({ defects }) => defects)
    .map(({ defects }) => defects)
    .sort((a, b) => b - a);
  const numbers = await page.locator("#chart-classes tbody td:nth-child(2)").allTextContents();
  assert.deepEqual(numbers.map(Number), sorted);
  assert.equal(await page.locator("#chart-classes rect.bar").count(), sorted.length);
  const cells = await page.locator("#chart-class-line td").allTextContents();
  assert.equal(
    cells.reduce((sum, cell) => sum + Number(cell), 0),
    sorted.reduce((sum, one) => sum + one, 0),
  );

  await page
    .locator("#save-verdicts-note")
    .filter({ hasText: `${boards} boards with a verdict` })
    .waitFor();
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.locator("#save-verdicts").click(),
  ]);
  const zip = readFileSync(await download.path());
  assert.equal(zip.subarray(0, 2).toString(), "PK");
  assert.ok(zip.includes("annotations.json") && zip.includes("images/"));

  await page.locator("#overview-filter [data-days='1']").click();
  await tile("Boards")
    .filter({ hasText: String(wanted.boards) })
    .waitFor();
  await page.locator("#overview-filter [name=line]").selectOption("line <b>1</b>");
  await until("the address has the filter", () => page.url().includes("line="));

  await slide(page, 0.99);
  await page.goto(`${base}/#/history`);
  await page.goto(`${base}/#/overview`);
  await note.filter({ hasText: "a score of 0.99 or more" }).waitFor();
  assert.equal(await tile("Yield").textContent(), "100.0 %");
}
