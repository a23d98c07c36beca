import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { onScreen, opened, openRecord, painted, pixels, showBest, slide, until } from "./looking.mjs";

/** The canvas, the list, the filters, the reference beside, and the downloads. */
export async function board({ page, browser, context, base }) {
  await page.locator("#strip li.done").first().locator("button").click();
  await opened(page, "first.jpg");
  const record = await openRecord(page);
  await zooming(page);
  await linked(page, record);
  await filters(page, record);
  await beside(page);
  await downloads(page, record);
  await fingers(browser, context, base, record.id);
}

async function zooming(page) {
  const whole = await pixels(page);
  const place = await page.locator("#board").boundingBox();
  const middle = [place.x + place.width / 2, place.y + place.height / 2];
  await page.mouse.move(...middle);
  await page.mouse.wheel(0, -600);
  const near = await until("the wheel zooms", async () => (await pixels(page)) !== whole && pixels(page));
  const nearReference = await pixels(page, "reference-board");
  await page.mouse.down();
  await page.mouse.move(middle[0] + 80, middle[1] + 40, { steps: 4 });
  await page.mouse.up();
  const moved = await pixels(page);
  assert.notEqual(moved, near, "dragging moves the board");
  assert.notEqual(await pixels(page, "reference-board"), nearReference, "the reference moves along");
  await page.locator("#board-frame").focus();
  await page.keyboard.press("Shift+ArrowLeft");
  assert.notEqual(await pixels(page), moved, "Shift and an arrow move the board");
  await page.keyboard.press("0");
  await page.mouse.move(0, 0);
  assert.equal(await pixels(page), whole, "0 shows the whole board");
  await page.keyboard.press("+");
  const zoomed = await pixels(page);
  assert.notEqual(zoomed, whole, "+ zooms in");
  await page.locator("#zoom-fit").click();
  await page.mouse.move(0, 0);
  assert.equal(await pixels(page), whole);
  await page.keyboard.press("z");
  assert.notEqual(await pixels(page), whole, "Z goes to the defect");
  await page.keyboard.press("0");
  await page.keyboard.press("b");
  assert.notEqual(await pixels(page), whole, "B hides the boxes");
  await page.keyboard.press("b");
  assert.equal(await pixels(page), whole);
}

/** A click on a box chooses its row, and the other way round; so does hovering. */
async function linked(page, record) {
  const shown = await showBest(page, record, 2);
  const best = [...record.detections].sort((a, b) => b.score - a.score).slice(0, shown);
  // Of boxes in one another the smallest is meant, so the smallest of all is hit at its middle.
  const area = ({ box }) => (box[2] - box[0]) * (box[3] - box[1]);
  const smallest = best.indexOf([...best].sort((a, b) => area(a) - area(b))[0]);
  const [left, top, right, bottom] = best[smallest].box;
  const rows = page.locator("#defects li");
  await rows
    .nth(smallest ? 0 : 1)
    .locator(".choose")
    .click();
  await rows
    .nth(smallest ? 0 : 1)
    .and(page.locator(".selected"))
    .waitFor();
  const middle = await onScreen(page, record, [(left + right) / 2, (top + bottom) / 2]);
  await page.mouse.move(...middle);
  await rows.nth(smallest).and(page.locator(".hovered")).waitFor();
  await page.mouse.click(...middle);
  await rows.nth(smallest).and(page.locator(".selected")).waitFor();
  await page.mouse.move(0, 0);
  const without = await pixels(page);
  await rows.nth(smallest ? 0 : 1).hover();
  assert.notEqual(await pixels(page), without, "a row under the pointer lights its box");
  await page.mouse.move(0, 0);
}

async function filters(page, record) {
  const lowest = record.score_threshold;
  await slide(page, lowest);
  const all = record.detections.length;
  await until("all defects", async () => (await page.locator("#defects li").count()) === all);
  await page
    .locator("#defects-count")
    .filter({ hasText: String(all) })
    .waitFor();
  const shown = await showBest(page, record, Math.ceil(all / 2));
  await page
    .locator("#defects-count")
    .filter({ hasText: shown === all ? String(all) : `${shown} of ${all}` })
    .waitFor();
  const label = record.detections[0].label;
  const name = record.detections[0].name;
  await slide(page, lowest);
  const before = await pixels(page);
  await page.locator("#class-filters label").filter({ hasText: name }).click();
  const others = record.detections.filter((found) => found.label !== label).length;
  await until("a class is hidden", async () => (await page.locator("#defects li").count()) === others);
  assert.notEqual(await pixels(page), before, "its boxes are hidden, too");
  await page.locator("#class-filters label").filter({ hasText: name }).click();
  await until("it is back", async () => (await page.locator("#defects li").count()) === all);
}

async function beside(page) {
  assert.ok(await page.locator("#reference-frame").isVisible());
  const [left, right] = await Promise.all(
    ["#board", "#reference-board"].map((id) => page.locator(id).boundingBox()),
  );
  assert.equal(left.width, right.width);
  assert.ok(right.x >= left.x + left.width);
  await page.keyboard.press("c");
  await page.locator("#reference-frame").waitFor({ state: "hidden" });
  await painted(page);
  assert.ok((await page.locator("#board").boundingBox()).width > 1.8 * left.width);
  await page.locator("#toggle-compare").click();
  await page.locator("#reference-frame").waitFor();
}

async function downloads(page, record) {
  const shown = await showBest(page, record, 2);
  const get = async (button) => {
    await page.locator("#downloads summary").click();
    const [download] = await Promise.all([page.waitForEvent("download"), page.locator(button).click()]);
    return [download.suggestedFilename(), readFileSync(await download.path())];
  };
  const [pngName, png] = await get("#save-png");
  assert.equal(pngName, "first.png");
  assert.equal(png.subarray(1, 4).toString(), "PNG");
  assert.deepEqual([png.readUInt32BE(16), png.readUInt32BE(20)], [record.image.width, record.image.height]);
  const [jsonName, json] = await get("#save-json");
  assert.equal(jsonName, "first.json");
  const best = (found) => [...found].sort((a, b) => b.score - a.score);
  const stored = JSON.parse(json);
  assert.equal(stored.id, record.id);
  assert.deepEqual(best(stored.detections), best(record.detections).slice(0, shown));
  const [csvName, csv] = await get("#save-csv");
  assert.equal(csvName, "first.csv");
  const lines = csv.toString().trim().split("\r\n");
  assert.equal(lines.length, shown + 1);
  assert.ok(lines[1].startsWith(`${record.id},first.jpg,`), lines[1]);
  assert.ok(lines[1].includes(`,${best(record.detections)[0].score},`), lines[1]);
}

/** Two fingers zoom; one scrolls the page while the whole board is seen. */
async function fingers(browser, context, base, id) {
  const touch = await browser.newContext({
    viewport: { width: 400, height: 800 },
    hasTouch: true,
    isMobile: true,
    storageState: await context.storageState(),
  });
  const page = await touch.newPage();
  await page.goto(`${base}/#/board/${id}`);
  await opened(page, "first.jpg");
  const whole = await pixels(page);
  const place = await page.locator("#board").boundingBox();
  const [x, y] = [place.x + place.width / 2, place.y + place.height / 2];
  const devtools = await touch.newCDPSession(page);
  const touches = (type, apart) =>
    devtools.send("Input.dispatchTouchEvent", {
      type,
      touchPoints: apart
        ? [
            { x: x - apart, y, id: 0 },
            { x: x + apart, y, id: 1 },
          ]
        : [],
    });
  await touches("touchStart", 20);
  for (const apart of [30, 45, 60, 80]) await touches("touchMove", apart);
  await touches("touchEnd", 0);
  assert.notEqual(await pixels(page), whole, "two fingers zoom");
  assert.equal(await page.evaluate(() => visualViewport.scale), 1, "the page itself stays as it is");
  await touch.close();
}
