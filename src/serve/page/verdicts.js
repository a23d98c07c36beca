// What the operator says of a board, and getting it to the server.

import * as api from "./api.js";
import { recall } from "./memory.js";

const RETRY = 5000;

/** The body of the request that stores a board's verdict, unless another one came meanwhile. */
export function verdictOf(inspection) {
  return {
    detections: inspection.detections.map((found) => found.verdict ?? null),
    missed: inspection.missed.map(({ box, label }) => ({ box, label })),
    by: recall("by") || null,
    seen: inspection.verdict_time ?? null,
  };
}

/** What a verdict says, as text to compare. The server keeps boxes with 32 bits. */
function said({ detections, missed }) {
  return JSON.stringify([detections, missed.map(({ box, label }) => [label, ...box.map(Math.fround)])]);
}

/** Whether asking again cannot help: the request itself is refused. Signing in helps, and so does time. */
function isFinal({ status }) {
  return status >= 400 && status < 500 && ![401, 408, 429].includes(status);
}

/**
 * Saves verdicts in the order they were given: one request a board at a time, and the newest state when that
 * one is answered. What fails for the network's sake is tried until it works. Tells `change`, and of errors
 * `failed` where it tries again and `refused` where it gives up.
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
      const { inspection } = work;
      try {
        const stored = await send(inspection);
        inspection.verdict_time = stored.verdict_time;
        inspection.verdict_by = stored.verdict_by;
        work.error = null;
      } catch (error) {
        const detail = { error, inspection };
        if (isFinal(error)) {
          this.#open.delete(inspection.id);
          this.dispatchEvent(new CustomEvent("refused", { detail }));
          this.#changed();
          return;
        }
        if (!work.error) this.dispatchEvent(new CustomEvent("failed", { detail }));
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

/** Stores a verdict, and gives the board as the server has it. */
async function send(inspection) {
  const verdict = verdictOf(inspection);
  try {
    return await api.sendVerdict(inspection.id, verdict);
  } catch (error) {
    if (error.status !== 409) throw error;
    // An earlier try may have been stored although its answer was lost.
    const stored = await api.inspection(inspection.id);
    if (said(verdictOf(stored)) !== said(verdict)) throw error;
    return stored;
  }
}

/** After a while, or as soon as the browser knows of a network again. */
function whenItMayWork() {
  return new Promise((resolve) => {
    setTimeout(resolve, RETRY);
    addEventListener("online", resolve, { once: true });
  });
}
