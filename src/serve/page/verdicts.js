// What the operator says of a board, and getting it to the server.

import * as api from "./api.js";
import { recall } from "./memory.js";

const RETRY = 5000;

/** The body of the request that stores a board's verdict. */
export function verdictOf(inspection) {
  return {
    detections: inspection.detections.map((found) => found.verdict ?? null),
    missed: inspection.missed.map(({ box, label }) => ({ box, label })),
    by: recall("by") || null,
  };
}

/**
 * Saves verdicts in the order they were given: one request a board at a time, and the newest state when that
 * one is answered. What fails for the network's sake is tried until it works. Tells `change`.
 */
export class Saver extends EventTarget {
  /** Boards with something unsaved, by id: `{ inspection, running, again, error }`. */
  #open = new Map();

  get pending() {
    return this.#open.size > 0;
  }

  /** `saving`, `failed` or, where the server has everything, `saved`. */
  stateOf(id) {
    const work = this.#open.get(id);
    if (!work) return "saved";
    return work.error ? "failed" : "saving";
  }

  /** A board as it was judged last, where the server does not have that yet. */
  unsaved(id) {
    return this.#open.get(id)?.inspection ?? null;
  }

  save(inspection) {
    const work = this.#open.get(inspection.id) ?? { running: false, error: null };
    Object.assign(work, { inspection, again: true });
    this.#open.set(inspection.id, work);
    if (!work.running) this.#run(work);
    this.#changed();
  }

  async #run(work) {
    work.running = true;
    while (work.again) {
      work.again = false;
      try {
        const { inspection } = work;
        const stored = await api.sendVerdict(inspection.id, verdictOf(inspection));
        inspection.verdict_time = stored.verdict_time;
        inspection.verdict_by = stored.verdict_by;
        work.error = null;
      } catch (error) {
        if (!work.error)
          this.dispatchEvent(new CustomEvent("failed", { detail: { error, inspection: work.inspection } }));
        work.error = error;
        work.again = true;
        this.#changed();
        await whenItMayWork();
      }
    }
    work.running = false;
    this.#open.delete(work.inspection.id);
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

/** After a while, or as soon as the browser knows of a network again. */
function whenItMayWork() {
  return new Promise((resolve) => {
    setTimeout(resolve, RETRY);
    addEventListener("online", resolve, { once: true });
  });
}
