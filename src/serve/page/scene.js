// What is shown of the open board: which boxes, in which order, which one is chosen.

import { className } from "./format.js";

/**
 * The scene of the canvases and of the list. `items` are the shown detections, best first, and then the
 * missed defects; each is `{ key, box, label, name, text, score, verdict, missed, index }`.
 */
export class Scene extends EventTarget {
  inspection = null;
  items = [];
  selected = null;
  hovered = null;
  boxes = true;
  drawing = false;
  draft = null;
  /** The least score that is shown; null before the first board. */
  threshold = null;
  hiddenClasses = new Set();

  open(inspection) {
    this.inspection = inspection;
    this.hovered = null;
    this.draft = null;
    this.drawing = false;
    this.selected = null;
    this.update();
    this.select(this.undecided()[0]?.key ?? this.items[0]?.key ?? null);
  }

  /** Takes up a changed verdict, threshold or filter. */
  update() {
    this.items = this.inspection ? itemsOf(this.inspection, this) : [];
    if (!this.find(this.selected)) this.selected = null;
    if (!this.find(this.hovered)) this.hovered = null;
    this.dispatchEvent(new Event("change"));
  }

  find(key) {
    return key === null ? null : (this.items.find((item) => item.key === key) ?? null);
  }

  get chosen() {
    return this.find(this.selected);
  }

  select(key) {
    this.selected = key;
    this.dispatchEvent(new Event("change"));
    if (key) this.dispatchEvent(new Event("select"));
  }

  hover(key) {
    if (this.hovered === key) return;
    this.hovered = key;
    this.dispatchEvent(new Event("hover"));
  }

  undecided() {
    return this.items.filter((item) => !item.missed && !item.verdict);
  }

  /** The next defect without a verdict: after the chosen one, else from the start. */
  nextUndecided() {
    const at = this.items.findIndex((item) => item.key === this.selected);
    const open = this.undecided();
    return open.find((item) => this.items.indexOf(item) > at) ?? open[0] ?? null;
  }

  step(by) {
    if (!this.items.length) return;
    const at = this.items.findIndex((item) => item.key === this.selected);
    const to = at < 0 ? (by > 0 ? 0 : this.items.length - 1) : at + by;
    this.select(this.items[Math.min(Math.max(to, 0), this.items.length - 1)].key);
  }
}

function itemsOf(inspection, { threshold, hiddenClasses }) {
  const found = inspection.detections
    .map((one, index) => ({ ...one, index, key: `found-${index}`, missed: false }))
    .filter((one) => one.score >= threshold && !hiddenClasses.has(className(one)))
    .sort((a, b) => b.score - a.score)
    .map((one) => ({ ...one, text: `${className(one)} ${one.score.toFixed(2)}` }));
  const missed = inspection.missed
    .map((one, index) => ({
      ...one,
      index,
      key: `missed-${index}`,
      missed: true,
      verdict: null,
      score: null,
    }))
    .filter((one) => !hiddenClasses.has(className(one)))
    .map((one) => ({ ...one, text: `${className(one)} missed` }));
  return [...found, ...missed];
}
