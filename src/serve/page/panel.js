// Beside the board: the score slider, the class filters, and the list of defects with their verdicts.

import { byId, element, icon, swatch } from "./dom.js";
import { className, count, verdictName } from "./format.js";

export class Panel {
  #scene;
  #acts;
  #slider;
  #rows = new Map();
  #classes = [];

  /** `acts` has `judge(item, verdict)` and `remove(item)`. */
  constructor(scene, acts) {
    this.#scene = scene;
    this.#acts = acts;
    const slider = byId("threshold");
    slider.addEventListener("input", () => {
      scene.threshold = Number(slider.value);
      scene.update();
    });
    this.#slider = slider;
    scene.addEventListener("change", () => this.render());
    scene.addEventListener("hover", () => this.#mark());
    scene.addEventListener("select", () =>
      this.#rows.get(scene.selected)?.scrollIntoView({ block: "nearest" }),
    );
  }

  /** Fits the slider and the filters to a board that was opened. */
  opened(inspection, classes) {
    const lowest = Math.floor(inspection.score_threshold * 100) / 100;
    this.#slider.min = lowest;
    this.#slider.value = this.#scene.threshold;
    this.#slider.title = `Scores from ${lowest.toFixed(2)} were stored.`;
    this.#classes = classes;
    this.counts(inspection);
  }

  moveThreshold(by) {
    this.#slider.value = Number(this.#slider.value) + by;
    this.#slider.dispatchEvent(new Event("input"));
  }

  /** The class filters with how many defects each class has. */
  counts(inspection) {
    const found = [...inspection.detections, ...inspection.missed];
    const names = new Map(this.#classes.map((name, index) => [name, index + 1]));
    for (const one of found) names.set(className(one), one.label);
    byId("class-filters").replaceChildren(
      ...[...names].map(([name, label]) => this.#filter(name, label, found)),
    );
  }

  #filter(name, label, found) {
    const { hiddenClasses } = this.#scene;
    const change = (event) => {
      if (event.target.checked) hiddenClasses.delete(name);
      else hiddenClasses.add(name);
      this.#scene.update();
    };
    const many = found.filter((one) => className(one) === name).length;
    const box = element("input", { type: "checkbox", checked: !hiddenClasses.has(name), onchange: change });
    return element(
      "label",
      { class: `chip${many ? "" : " none"}` },
      box,
      swatch(label),
      element("span", {}, name),
      element("b", {}, String(many)),
    );
  }

  render() {
    const { items, inspection, threshold } = this.#scene;
    byId("threshold-value").textContent = (threshold ?? 0).toFixed(2);
    byId("threshold").setAttribute("aria-valuetext", (threshold ?? 0).toFixed(2));
    this.#rows.clear();
    for (const [place, item] of items.entries()) this.#rows.set(item.key, this.#row(item, place + 1));
    const focused = document.activeElement?.closest?.("#defects li")?.dataset.key;
    const act = document.activeElement?.dataset?.act;
    byId("defects").replaceChildren(...this.#rows.values());
    // The focus stays on the same button of the same defect.
    if (focused) this.#rows.get(focused)?.querySelector(`[data-act="${act}"]`)?.focus();
    byId("defects-count").textContent = inspection ? this.#summary() : "";
    byId("no-defects").hidden = !inspection || items.length > 0;
    this.#mark();
  }

  #summary() {
    const { items, inspection } = this.#scene;
    const found = items.filter((item) => !item.missed).length;
    const all = inspection.detections.length;
    return found === all ? count(all, "defect") : `${found} of ${count(all, "defect")}`;
  }

  #row(item, place) {
    const scene = this.#scene;
    const called = item.missed ? `Missed defect, ${className(item)}` : `Defect ${place}, ${className(item)}`;
    const score = item.missed ? "missed" : item.score.toFixed(2);
    const choose = element(
      "button",
      {
        type: "button",
        class: "choose",
        "data-act": "choose",
        onclick: () => scene.select(item.key),
      },
      element("span", { class: "unseen" }, "Defect "),
      element("span", { class: "place" }, String(place)),
      swatch(item.label),
      element("span", { class: "name" }, className(item)),
      element("span", { class: "score" }, score),
      item.missed ? null : element("span", { class: "unseen" }, `, ${verdictName(item.verdict)}`),
    );
    const verdict = (value, text, sign) =>
      element(
        "button",
        {
          type: "button",
          class: `verdict ${value}`,
          "data-act": value,
          title: text,
          "aria-label": `${called}: ${text}`,
          "aria-pressed": String(item.verdict === value),
          onclick: () => this.#acts.judge(item, item.verdict === value ? null : value),
        },
        icon(sign),
      );
    const buttons = item.missed
      ? [
          element(
            "button",
            {
              type: "button",
              class: "verdict",
              "data-act": "remove",
              title: "Remove",
              "aria-label": `${called}: remove`,
              onclick: () => this.#acts.remove(item),
            },
            icon("remove"),
          ),
        ]
      : [verdict("real", "real", "real"), verdict("false_call", "false call", "false")];
    return element(
      "li",
      {
        "data-key": item.key,
        class: item.verdict ?? (item.missed ? "missed" : "open"),
        onpointerenter: () => scene.hover(item.key),
        onpointerleave: () => scene.hover(null),
      },
      choose,
      buttons,
    );
  }

  #mark() {
    for (const [key, row] of this.#rows) {
      const selected = key === this.#scene.selected;
      row.classList.toggle("selected", selected);
      row.classList.toggle("hovered", key === this.#scene.hovered);
      row.querySelector(".choose").setAttribute("aria-current", String(selected));
    }
  }
}
