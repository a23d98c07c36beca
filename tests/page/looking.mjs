// What several steps look at.

import assert from "node:assert/strict";

/** The server's JSON, asked with the page's cookie. */
export async function ask(page, path) {
  return page.evaluate(async (path) => (await fetch(path)).json(), path);
}

/** The record of the board that is open. */
export async function openRecord(page) {
  return ask(page, `/v1/detections/${page.url().split("#/board/")[1]}`);
}

/** Waits until a board of this name is open and its picture is drawn. */
export async function opened(page, name) {
  await page.locator("#board-name").filter({ hasText: name }).waitFor();
  await page.locator("#stage:not(.loading)").waitFor();
  await page.waitForFunction(
    () =>
      new Set(document.getElementById("board").getContext("2d").getImageData(0, 0, 400, 400).data).size > 2,
  );
}

/** Waits until `look` gives something true. */
export async function until(what, look) {
  const end = Date.now() + 60_000;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    assert.ok(Date.now() < end, `waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Waits until the server has every verdict. */
export async function saved(page) {
  await page.locator("#saved.saved").filter({ hasText: "Saved" }).waitFor();
}

/** Two frames later everything that was asked for is painted. */
export async function painted(page) {
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
}

/** What a canvas shows, as text to compare. */
export async function pixels(page, id = "board") {
  await painted(page);
  return page.evaluate((id) => document.getElementById(id).toDataURL(), id);
}

/** Sets the score slider as a drag does. */
export async function slide(page, to) {
  await page.locator("#threshold").evaluate((slider, to) => {
    slider.value = to;
    slider.dispatchEvent(new Event("input"));
  }, to);
}

/** Where a point of the image is on the screen while the whole board is seen. */
export async function onScreen(page, record, [x, y]) {
  const place = await page.locator("#board").boundingBox();
  const { width, height } = record.image;
  const scale = Math.min(place.width / width, place.height / height) * 0.96;
  return [
    place.x + place.width / 2 + (x - width / 2) * scale,
    place.y + place.height / 2 + (y - height / 2) * scale,
  ];
}

/** Shows the best defects, about as many as wanted, and gives how many the page should show. */
export async function showBest(page, record, wanted) {
  const scores = record.detections.map(({ score }) => score).sort((a, b) => b - a);
  assert.ok(scores.length >= wanted, `${scores.length} defects`);
  // The slider has hundredths.
  const to = Math.floor(scores[wanted - 1] * 100) / 100;
  await slide(page, to);
  const shown = scores.filter((score) => score >= to).length;
  await until(
    `${shown} defects in the list`,
    async () => (await page.locator("#defects li").count()) === shown,
  );
  return shown;
}
