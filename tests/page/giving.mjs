import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { ask, opened, openRecord } from "./looking.mjs";

export const HOSTILE = "<img src=x onerror='window.hacked=1'>_0.jpg";

/** Choosing and dropping images, with their references, and files that are none. */
export async function giving({ page, boards }) {
  const read = (name) => readFileSync(join(boards, name));
  const file = (name, from = name) => ({ name, mimeType: "image/jpeg", buffer: read(from) });
  await page.locator("#intake").waitFor();
  await page.locator("#field-line").fill("line <b>1</b>");
  await page.locator("#field-product").fill("panel");

  // A reference is asked for where it is missing, and what was chosen waits for it.
  await page.locator("#images").setInputFiles([file("first.jpg", "0_test.jpg"), file(HOSTILE, "0_test.jpg")]);
  await page
    .locator("#intake-note")
    .filter({ hasText: "2 boards chosen. Now choose the reference" })
    .waitFor();
  await page.locator("#reference").setInputFiles(file("golden.jpg", "0_temp.jpg"));
  await page.locator("#strip li.done").nth(1).waitFor();
  await page.locator("#strip li.done").first().locator("button").click();
  await opened(page, "first.jpg");
  const record = await openRecord(page);
  assert.equal(record.reference.name, "golden.jpg");
  assert.deepEqual([record.fields.line, record.fields.product], ["line <b>1</b>", "panel"]);

  // Names are text wherever they are shown.
  await page.locator("#strip li.done").nth(1).locator("button").click();
  await opened(page, HOSTILE);
  assert.equal(await page.locator("#board-name").textContent(), HOSTILE);
  assert.equal(await page.evaluate(() => window.hacked), undefined);

  // Dropped pairs find each other; what is no image is left out with a sentence.
  await drop(page, [
    ["pair_test.jpg", read("1_test.jpg"), "image/jpeg"],
    ["pair_temp.jpg", read("1_temp.jpg"), "image/jpeg"],
    ["notes.txt", Buffer.from("not an image"), "text/plain"],
    ["cut.jpg", read("1_test.jpg").subarray(0, 200), "image/jpeg"],
  ]);
  await page
    .locator("#alerts")
    .filter({ hasText: "1 file is left out: only images can be inspected." })
    .waitFor();
  const failed = page.locator("#strip li.failed");
  await failed.filter({ hasText: "cut.jpg" }).waitFor();
  assert.match(await failed.locator(".sentence").textContent(), /^\S.{15,}$/);
  await failed.getByRole("button", { name: "Remove" }).click();
  await page.locator("#strip li.done").filter({ hasText: "pair_test.jpg" }).locator("button").click();
  await opened(page, "pair_test.jpg");
  assert.equal((await openRecord(page)).reference.name, "pair_temp.jpg");
  await page.locator("#progress").waitFor({ state: "hidden" });
  await page.locator("#alerts").getByRole("button", { name: "Close this message" }).click();

  // A stored board again, and a stored board as the reference.
  const before = (await ask(page, "/v1/detections")).items.length;
  await page.locator("#downloads summary").click();
  await page.locator("#use-as-reference").click();
  await page.locator("#reference-name").filter({ hasText: "Reference: pair_test.jpg" }).waitFor();
  await page.locator("#downloads summary").click();
  await page.locator("#detect-again").click();
  await page.locator("#strip li.done").nth(3).waitFor();
  assert.equal((await ask(page, "/v1/detections")).items.length, before + 1);
}

async function drop(page, files) {
  const named = files.map(([name, bytes, type]) => [name, bytes.toString("base64"), type]);
  const transfer = await page.evaluateHandle(async (files) => {
    const transfer = new DataTransfer();
    for (const [name, bytes, type] of files) {
      const content = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
      transfer.items.add(new File([content], name, { type }));
    }
    return transfer;
  }, named);
  await page.dispatchEvent("main", "dragenter", { dataTransfer: transfer });
  await page.locator("#drop-veil").waitFor();
  await page.dispatchEvent("main", "drop", { dataTransfer: transfer });
  await page.locator("#drop-veil").waitFor({ state: "hidden" });
}
