// One canvas of the board: painting when something changed, and the pointer on it.

import { paint } from "./paint.js";

/** A finger is this many pixels wide of its aim. */
const TOLERANCE = 10;
/** A pointer that moved less than this has clicked. */
const CLICK = 5;

/**
 * Shows an image with a scene's boxes in a canvas. `acts` has `select(key)` and `hover(key)`, and for a box
 * that is being drawn `drafted()` and `drawn()`. `tags` writes beside each box what it is.
 */
export class Board {
  #pointers = new Map();
  #moved = 0;
  #from = null;
  #waiting = false;

  constructor(canvas, viewport, scene, acts, tags) {
    Object.assign(this, { canvas, viewport, scene, acts, tags, image: null });
    viewport.addEventListener("change", () => this.repaint());
    new ResizeObserver(() => this.#resize()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.repaint());
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", (event) => this.#forget(event));
    canvas.addEventListener("pointerleave", () => this.acts.hover(null));
    canvas.addEventListener("dblclick", (event) => this.viewport.zoom(2, this.#at(event)));
  }

  setImage(image) {
    this.image = image;
    this.repaint();
  }

  repaint() {
    if (this.#waiting) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      // While the whole board is seen, a finger may scroll the page instead.
      this.canvas.style.touchAction = this.viewport.whole && !this.scene.drawing ? "pan-y" : "none";
      const ratio = this.canvas.width / Math.max(1, this.canvas.clientWidth);
      if (this.canvas.clientWidth)
        paint(this.canvas, this.image, this.scene, this.viewport, ratio, this.tags);
    });
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    this.canvas.width = Math.round(width * devicePixelRatio);
    this.canvas.height = Math.round(height * devicePixelRatio);
    this.viewport.resize(width, height);
    this.repaint();
  }

  #at(event) {
    const place = this.canvas.getBoundingClientRect();
    return { x: event.clientX - place.left, y: event.clientY - place.top };
  }

  #wheel(event) {
    event.preventDefault();
    // Browsers tell of a touchpad's pinch as a wheel with Ctrl, in smaller steps.
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 30 : 1;
    const speed = event.ctrlKey ? 0.01 : 0.0018;
    this.viewport.zoom(Math.exp(-event.deltaY * lines * speed), this.#at(event));
  }

  #down(event) {
    if (event.button > 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, this.#at(event));
    this.#moved = this.#pointers.size > 1 ? Infinity : 0;
    this.#from = this.#at(event);
  }

  #move(event) {
    const at = this.#at(event);
    const before = this.#pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType === "mouse") this.acts.hover(this.#itemAt(at));
      return;
    }
    const others = [...this.#pointers.entries()].filter(([id]) => id !== event.pointerId);
    this.#moved += Math.hypot(at.x - before.x, at.y - before.y);
    if (others.length === 1) this.#pinch(before, at, others[0][1]);
    else if (this.scene.drawing) this.#draft(at);
    else if (this.#moved > CLICK) this.viewport.pan(at.x - before.x, at.y - before.y);
    this.#pointers.set(event.pointerId, at);
  }

  #pinch(before, at, other) {
    const distance = (point) => Math.max(1, Math.hypot(point.x - other.x, point.y - other.y));
    this.viewport.pan((at.x - before.x) / 2, (at.y - before.y) / 2);
    this.viewport.zoom(distance(at) / distance(before), { x: (at.x + other.x) / 2, y: (at.y + other.y) / 2 });
  }

  #draft(at) {
    const [a, b] = [this.viewport.toImage(this.#from), this.viewport.toImage(at)];
    const { width, height } = this.viewport.image;
    const inside = (value, end) => Math.min(Math.max(value, 0), end);
    this.scene.draft = [
      inside(Math.min(a.x, b.x), width),
      inside(Math.min(a.y, b.y), height),
      inside(Math.max(a.x, b.x), width),
      inside(Math.max(a.y, b.y), height),
    ];
    this.acts.drafted();
  }

  #up(event) {
    const at = this.#at(event);
    const clicked = this.#pointers.size === 1 && this.#moved <= CLICK;
    const drawn = this.scene.drawing && this.#pointers.size === 1 && this.#moved > CLICK;
    this.#forget(event);
    if (drawn && Number.isFinite(this.#moved)) this.acts.drawn();
    else if (clicked && !this.scene.drawing) this.acts.select(this.#itemAt(at));
  }

  #forget(event) {
    this.#pointers.delete(event.pointerId);
  }

  /** The smallest box at a place of the canvas: boxes may lie in one another. */
  #itemAt(place) {
    if (!this.scene.boxes) return null;
    const at = this.viewport.toImage(place);
    const margin = TOLERANCE / this.viewport.scale;
    const hit = ({ box: [left, top, right, bottom] }) =>
      at.x >= left - margin && at.x <= right + margin && at.y >= top - margin && at.y <= bottom + margin;
    const area = ({ box }) => (box[2] - box[0]) * (box[3] - box[1]);
    return this.scene.items.filter(hit).sort((a, b) => area(a) - area(b))[0]?.key ?? null;
  }
}
