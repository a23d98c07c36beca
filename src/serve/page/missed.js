// Drawing a defect that the detector missed: a box by pointer or by arrows, then its class.

import { byId, element, swatch } from "./dom.js";
import { say } from "./notices.js";

export class Missed {
  #scene;
  #viewport;
  #finished;

  /** `finished(box, label)` is called with a new defect. */
  constructor(scene, viewport, finished) {
    this.#scene = scene;
    this.#viewport = viewport;
    this.#finished = finished;
    byId("classes").addEventListener("close", () => this.stop());
    byId("classes").addEventListener("keydown", (event) => {
      const button = byId("class-buttons").children[Number(event.key) - 1];
      if (button) button.click();
    });
  }

  get active() {
    return this.#scene.drawing;
  }

  start() {
    this.#scene.drawing = true;
    this.#scene.draft = null;
    this.#scene.boxes = true;
    this.#shown();
    say("Draw a box around the missed defect. With the keyboard: arrows, then Enter. Escape leaves.");
  }

  stop() {
    this.#scene.drawing = false;
    this.#scene.draft = null;
    this.#shown();
  }

  /** Moves the box, or with `resize` its right lower corner, by a step that shrinks with the zoom. */
  nudge(x, y, resize) {
    const { width, height } = this.#viewport.image;
    const step = Math.max(1, Math.round(8 / this.#viewport.scale));
    let [left, top, right, bottom] = this.#scene.draft ?? this.#middle();
    const inside = (value, start, end) => Math.min(Math.max(value, start), end);
    if (resize) {
      right = inside(right + x * step, left + 1, width);
      bottom = inside(bottom + y * step, top + 1, height);
    } else {
      const by = [inside(x * step, -left, width - right), inside(y * step, -top, height - bottom)];
      [left, right] = [left + by[0], right + by[0]];
      [top, bottom] = [top + by[1], bottom + by[1]];
    }
    this.#scene.draft = [left, top, right, bottom];
    this.#viewport.reveal(this.#scene.draft);
    this.#shown();
  }

  /** Asks for the class of the drawn box. */
  ask(classes) {
    const { width, height } = this.#viewport.image;
    const box = (this.#scene.draft ?? this.#middle()).map(
      (value, index) => Math.round(Math.min(Math.max(value, 0), index % 2 ? height : width) * 10) / 10,
    );
    if (box[2] - box[0] < 1 || box[3] - box[1] < 1) {
      say("That box is too small. Draw it again.");
      return;
    }
    this.#scene.draft = box;
    this.#shown();
    const choose = (label) => {
      byId("classes").close();
      this.#finished(box, label);
    };
    byId("class-buttons").replaceChildren(
      ...classes.map((name, index) =>
        element(
          "button",
          { type: "button", onclick: () => choose(index + 1) },
          index < 9 ? element("kbd", {}, String(index + 1)) : null,
          swatch(index + 1),
          element("span", {}, name),
        ),
      ),
    );
    byId("classes").showModal();
  }

  /** Where a box starts that is drawn by keys. */
  #middle() {
    const { x, y, scale, canvas, image } = this.#viewport;
    const half = Math.min(canvas.width, canvas.height) / scale / 16;
    return [
      Math.max(0, x - half),
      Math.max(0, y - half),
      Math.min(image.width, x + half),
      Math.min(image.height, y + half),
    ];
  }

  #shown() {
    byId("stage").classList.toggle("drawing", this.#scene.drawing);
    byId("draw-missed").setAttribute("aria-pressed", String(this.#scene.drawing));
    this.#scene.update();
  }
}
