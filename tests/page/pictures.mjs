import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { ask, opened, painted, showBest } from "./looking.mjs";

/** The pictures of README.md and docs/page.md, where PAGE_PICTURES names a folder for them. */
export async function pictures({ page, context, browser, base }) {
  const folder = process.env.PAGE_PICTURES;
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  await page.goto(base);
  const { items } = await ask(page, "/v1/detections?limit=200");
  const plain = items.filter(({ image }) => !/[<>]/.test(image.name));
  const board = plain.find(({ reference }) => reference) ?? plain[0];
  const storageState = await context.storageState();
  const sized = await browser.newContext({ viewport: { width: 1280, height: 800 }, storageState });
  const at = await sized.newPage();
  await at.goto(`${base}/#/board/${board.id}`);
  await opened(at, board.image.name);
  if ((await at.locator("#defects li").count()) > 10) await showBest(at, board, 5);
  await painted(at);
  await at.screenshot({ path: join(folder, "inspect.png") });
  await at.locator("#stage").screenshot({ path: join(folder, "board.png") });
  await at.goto(`${base}/#/overview`);
  await at.locator("#chart-classes svg").waitFor();
  await painted(at);
  await at.screenshot({ path: join(folder, "overview.png"), fullPage: true });
  await sized.close();
}
