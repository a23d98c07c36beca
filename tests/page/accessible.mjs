import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

import { ask, opened, painted } from "./looking.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Every view, small and large, light and dark: nothing to scroll sideways, nothing for axe to find. */
export async function accessible({ page, context, browser, base }) {
  const [{ id, image }] = (await ask(page, "/v1/detections?limit=1")).items;
  const views = [
    ["intake", "#/", (at) => at.locator("#intake").waitFor()],
    ["board", `#/board/${id}`, (at) => opened(at, image.name)],
    ["history", "#/history", (at) => at.locator("#history-list a").first().waitFor()],
    ["overview", "#/overview", (at) => at.locator("#chart-classes svg").waitFor()],
    ["help", "#/overview", (at) => at.locator("#open-help").click()],
  ];
  const outside = [["sign-in", "", (at) => at.locator("#sign-in[open]").waitFor()]];
  const storageState = await context.storageState();
  const grounds = new Set();
  for (const [width, height, colorScheme] of [
    [400, 800, "light"],
    [2560, 1300, "dark"],
  ]) {
    const size = { viewport: { width, height }, colorScheme };
    for (const [cookies, seen] of [
      [{}, outside],
      [{ storageState }, views],
    ]) {
      const sized = await browser.newContext({ ...size, ...cookies });
      const at = await sized.newPage();
      for (const [name, address, ready] of seen) {
        await at.goto(`${base}/${address}`);
        await ready(at);
        await check(at, `${name} at ${width}, ${colorScheme}`);
      }
      grounds.add(await at.evaluate(() => getComputedStyle(document.body).backgroundColor));
      await sized.close();
    }
  }
  assert.equal(grounds.size, 2, "light and dark differ");
}

async function check(at, what) {
  await painted(at);
  const sideways = await at.evaluate(() =>
    [document.documentElement, document.body, document.querySelector("main")]
      .filter((one) => one.scrollWidth > one.clientWidth)
      .map((one) => one.tagName),
  );
  assert.deepEqual(sideways, [], what);
  // By the debugger, which the page's policy does not bind.
  await at.evaluate(AXE);
  const { violations } = await at.evaluate(() => axe.run());
  const found = violations.map(
    ({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html }) => html).join(" ")}`,
  );
  assert.deepEqual(found, [], what);
}
