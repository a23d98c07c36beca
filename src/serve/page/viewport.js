// What part of a board is seen. Two canvases that share a viewport show the same part.

const DEEPEST = 40;

export class Viewport extends EventTarget {
  constructor() {
    super();
    this.image = { width: 1, height: 1 };
    this.canvas = { width: 1, height: 1 };
    this.fit();
  }

  setImage(width, height) {
    this.image = { width: Math.max(1, width), height: Math.max(1, height) };
    this.fit();
  }

  /** The size of one canvas in CSS pixels. A whole board stays whole. */
  resize(width, height) {
    if (width === this.canvas.width && height === this.canvas.height) return;
    this.canvas = { width: Math.max(1, width), height: Math.max(1, height) };
    if (this.whole) this.fit();
    else this.#changed();
  }

  get fitting() {
    const { image, canvas } = this;
    return Math.min(canvas.width / image.width, canvas.height / image.height) * 0.96;
  }

  /** Shows the whole board. */
  fit() {
    this.whole = true;
    this.scale = this.fitting;
    this.x = this.image.width / 2;
    this.y = this.image.height / 2;
    this.dispatchEvent(new Event("change"));
  }

  /** Zooms by a factor; the image point at `at`, in CSS pixels of the canvas, stays where it is. */
  zoom(factor, at = { x: this.canvas.width / 2, y: this.canvas.height / 2 }) {
    const before = this.toImage(at);
    this.scale *= factor;
    this.#limit();
    const after = this.toImage(at);
    this.x += before.x - after.x;
    this.y += before.y - after.y;
    this.#changed();
  }

  /** Moves the board by CSS pixels. */
  pan(x, y) {
    this.x -= x / this.scale;
    this.y -= y / this.scale;
    this.#changed();
  }

  /** Brings a box to the middle, large enough to judge it, with its surroundings. */
  show([left, top, right, bottom]) {
    const { width, height } = this.canvas;
    this.x = (left + right) / 2;
    this.y = (top + bottom) / 2;
    this.scale = Math.min(width / Math.max(1, right - left), height / Math.max(1, bottom - top)) / 4;
    this.#changed();
  }

  /** Moves as little as makes a box visible. */
  reveal([left, top, right, bottom]) {
    const { width, height } = this.canvas;
    const a = this.toCanvas({ x: left, y: top });
    const b = this.toCanvas({ x: right, y: bottom });
    if (a.x < 0 || a.y < 0 || b.x > width || b.y > height) {
      this.x = (left + right) / 2;
      this.y = (top + bottom) / 2;
      this.#changed();
    }
  }

  toImage({ x, y }) {
    const { width, height } = this.canvas;
    return { x: this.x + (x - width / 2) / this.scale, y: this.y + (y - height / 2) / this.scale };
  }

  toCanvas({ x, y }) {
    const { width, height } = this.canvas;
    return { x: (x - this.x) * this.scale + width / 2, y: (y - this.y) * this.scale + height / 2 };
  }

  #limit() {
    const smallest = Math.min(1, this.fitting);
    this.scale = Math.min(Math.max(this.scale, smallest), Math.max(DEEPEST, this.fitting));
  }

  #changed() {
    this.whole = false;
    this.#limit();
    this.x = Math.min(Math.max(this.x, 0), this.image.width);
    this.y = Math.min(Math.max(this.y, 0), this.image.height);
    this.dispatchEvent(new Event("change"));
  }
}
