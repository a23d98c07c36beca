// What is shown of a board as files: PNG, JSON and CSV.

import { boardName, className, verdictName } from "./format.js";
import { paint } from "./paint.js";
import { Viewport } from "./viewport.js";

/** The board in its own size with the shown boxes. */
export async function png(inspection, image, scene) {
  const { width, height } = inspection.image;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const viewport = new Viewport();
  viewport.setImage(width, height);
  viewport.resize(width, height);
  viewport.scale = 1;
  paint(
    canvas,
    image,
    { ...scene, items: scene.items, boxes: true, selected: null, hovered: null, draft: null },
    viewport,
    1,
  );
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  if (!blob) throw new Error("This board is too large for a picture of the browser.");
  give(blob, `${stem(inspection)}.png`);
}

/** The stored record with the shown defects. */
export function json(inspection, scene) {
  const shown = new Set(scene.items.filter((item) => !item.missed).map((item) => item.index));
  const record = {
    ...inspection,
    score_threshold: scene.threshold,
    detections: inspection.detections.filter((_, index) => shown.has(index)),
  };
  give(
    new Blob([`${JSON.stringify(record, null, 2)}\n`], { type: "application/json" }),
    `${stem(inspection)}.json`,
  );
}

/** A row for each shown defect. */
export function csv(inspection, scene) {
  const { id, time, fields } = inspection;
  const head = [
    "id",
    "image",
    "time",
    "line",
    "product",
    "board",
    "class",
    "score",
    "x1",
    "y1",
    "x2",
    "y2",
    "verdict",
  ];
  const rows = scene.items.map((item) => [
    id,
    inspection.image.name,
    time,
    fields?.line,
    fields?.product,
    fields?.board,
    className(item),
    item.score,
    ...item.box,
    item.missed ? "missed" : verdictName(item.verdict),
  ]);
  const text = [head, ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("");
  give(new Blob([text], { type: "text/csv" }), `${stem(inspection)}.csv`);
}

/** Quotes text, and keeps spreadsheets from taking a name that begins with `=` for a formula. */
function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function stem(inspection) {
  const name = boardName(inspection)
    .split(/[\\/]/)
    .pop()
    .replace(/\.[a-z]{3,4}$/i, "");
  return name.replace(/[^\p{L}\p{N}._-]+/gu, "_") || inspection.id;
}

function give(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
