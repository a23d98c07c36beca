// Drives the page in Chromium against a running server; the environment says where that is.

import { chromium } from "playwright-core";

import { accessible } from "./accessible.mjs";
import { board } from "./board.mjs";
import { giving } from "./giving.mjs";
import { keyboard } from "./keyboard.mjs";
import { signIn, signOut } from "./sign_in.mjs";
import { stored } from "./stored.mjs";
import { verdicts } from "./verdicts.mjs";

const { URL_OF_PAGE: base, TOKEN: token, BOARDS: boards, CHROMIUM: executablePath, OUT: out } = process.env;
const STEPS = [signIn, giving, board, verdicts, keyboard, stored, accessible, signOut];
/** Chromium says these of answers that the steps provoke, and of the canvases that they read. */
const PROVOKED = /Failed to load resource|Canvas2D: Multiple readback/;

// Containers and root have no namespaces for Chromium's own sandbox; it only ever sees our own server.
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, acceptDownloads: true });
context.setDefaultTimeout(30_000);
const page = await context.newPage();
const complaints = [];
page.on("pageerror", (error) => complaints.push(`error: ${error.stack}`));
page.on("dialog", (dialog) => {
  if (dialog.type() !== "beforeunload") complaints.push(`dialog: ${dialog.message()}`);
  dialog.accept();
});
page.on("console", (message) => {
  const bad = ["error", "warning"].includes(message.type());
  if (bad && !PROVOKED.test(message.text())) complaints.push(`console: ${message.text()}`);
});
page.on("request", (request) => {
  const url = request.url();
  if (!url.startsWith(base) && !/^(blob|data):/.test(url)) complaints.push(`another host: ${url}`);
});

for (const step of STEPS) {
  const started = performance.now();
  try {
    await step({ page, context, browser, base, token, boards });
    if (complaints.length) throw new Error(complaints.join("\n"));
  } catch (error) {
    await page.screenshot({ path: `${out}/failed.png` });
    console.error(
      `${step.name}: ${error.stack}\ncomplaints: ${complaints.join("\n")}\npicture: ${out}/failed.png`,
    );
    process.exit(1);
  }
  console.log(`${step.name}: ${((performance.now() - started) / 1000).toFixed(1)} s`);
}
await browser.close();
