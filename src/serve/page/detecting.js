// Sends images to the detector, a few at a time, and asks again where it is busy.

import * as api from "./api.js";

/** One image is on its way while another is in the detector. */
const LANES = 2;
const TRIES = 20;

export class Detecting {
  #waiting = [];
  #lanes = 0;
  #boards;

  constructor(boards) {
    this.#boards = boards;
  }

  /** Jobs are `{ name, image, reference, referenceName, fields, scoreThreshold }`. */
  add(jobs) {
    const entries = jobs.map((job) => ({
      id: null,
      name: job.name,
      state: "waiting",
      sentence: "",
      defects: 0,
      judged: false,
      job,
    }));
    this.#waiting.push(...entries);
    this.#boards.add(entries);
    this.#start();
  }

  again(entry) {
    entry.state = "waiting";
    entry.sentence = "";
    this.#waiting.push(entry);
    this.#boards.changed();
    this.#start();
  }

  #start() {
    while (this.#lanes < LANES && this.#waiting.length) {
      this.#lanes += 1;
      this.#work(this.#waiting.shift()).finally(() => {
        this.#lanes -= 1;
        this.#start();
      });
    }
  }

  async #work(entry) {
    this.#tell(entry, "working", "Detecting …");
    try {
      const found = await this.#ask(entry);
      entry.id = found.id;
      entry.defects = found.detections.length;
      // The file itself is no longer needed: the server has it.
      entry.job = null;
      this.#tell(entry, "done", "");
      if (!this.#boards.current) this.#boards.open(this.#boards.entries.indexOf(entry));
    } catch (error) {
      this.#tell(entry, "failed", error.message);
    }
  }

  async #ask(entry) {
    const { job } = entry;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await api.detect({ ...job, imageName: job.name });
      } catch (error) {
        if (error.status !== 503 || attempt === TRIES) throw error;
        const seconds = Math.min(Math.max(error.retryAfter ?? 1, 0.2), 30);
        this.#tell(entry, "working", "The server is busy; this board waits for its turn.");
        await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
      }
    }
  }

  #tell(entry, state, sentence) {
    entry.state = state;
    entry.sentence = sentence;
    this.#boards.changed();
  }
}
