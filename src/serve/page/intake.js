// Giving boards to the detector: images that are chosen or dropped, their reference, and their fields.

import * as api from "./api.js";
import { byId } from "./dom.js";
import { count } from "./format.js";
import { remembered } from "./memory.js";
import { complain, complainOf, say } from "./notices.js";

export class Intake {
  #detecting;
  #model;
  /** Images that wait for a reference. */
  #images = [];
  /** `{ name, blob }` for all boards without one of their own. */
  #reference = null;

  /** `model()` gives the server's model, or null before it is known. */
  constructor(detecting, model) {
    this.#detecting = detecting;
    this.#model = model;
    remembered(byId("field-line"), "line");
    remembered(byId("field-product"), "product");
    byId("images").addEventListener("change", (event) => this.#chosen(event, (files) => this.give(files)));
    byId("reference").addEventListener("change", (event) =>
      this.#chosen(event, ([file]) => this.setReference(file.name, file)),
    );
    byId("clear-reference").addEventListener("click", () => this.setReference("", null));
    byId("intake").addEventListener("submit", (event) => event.preventDefault());
    this.#listenForDrops();
  }

  get takesReference() {
    return (this.#model()?.reference ?? "none") !== "none";
  }

  /** Whether images wait for a reference. */
  get waits() {
    return this.#images.length > 0;
  }

  show() {
    const { takesReference } = this;
    byId("reference-part").hidden = !takesReference;
    byId("detect-from").placeholder = String(this.#model()?.score_threshold ?? "");
    const name = this.#reference?.name;
    byId("reference-name").textContent = name ? `Reference: ${name}` : "No reference is chosen.";
    byId("clear-reference").hidden = !name;
    byId("intake-note").textContent = this.#images.length
      ? `${count(this.#images.length, "board")} chosen. Now choose the reference: the image of a good board.`
      : "";
  }

  setReference(name, blob) {
    this.#reference = blob ? { name, blob } : null;
    this.show();
    if (blob && this.#images.length) this.give(this.#images.splice(0));
    else if (blob) say(`${name} is the reference of the next boards.`);
  }

  /** Detects on files. Where the model takes references, NAME_temp belongs to NAME_test or NAME. */
  give(files) {
    const images = files.filter(
      (file) => file.type.startsWith("image/") || /\.(bmp|jpe?g|png|tiff?|webp)$/i.test(file.name),
    );
    const others = files.length - images.length;
    if (others) complain(`${count(others, "file is", "files are")} left out: only images can be inspected.`);
    const { boards, templates } = this.takesReference
      ? paired(images)
      : { boards: images, templates: new Map() };
    const missing = this.takesReference && !this.#reference && boards.some((file) => !templates.has(file));
    if (missing) {
      this.#images.push(...images);
      this.show();
      byId("intake").hidden = false;
      byId("reference").focus();
      return;
    }
    if (boards.length)
      this.#detecting.add(boards.map((file) => this.#job(file.name, file, templates.get(file))));
    this.show();
  }

  /** Detects once more on a stored board. */
  async again(inspection) {
    try {
      const name = inspection.image.name || inspection.id;
      const image = await api.picture(inspection.id, "image");
      const template =
        this.takesReference && inspection.reference
          ? {
              name: inspection.reference.name || "reference",
              blob: await api.picture(inspection.id, "reference"),
            }
          : null;
      if (this.takesReference && !template && !this.#reference) {
        complain("The model compares with a reference, and this board has none. Choose one first.");
        return;
      }
      this.#detecting.add([{ ...this.#job(name, image, template), fields: inspection.fields ?? {} }]);
    } catch (error) {
      complainOf(error);
    }
  }

  #job(name, image, template = null) {
    const own = template instanceof File ? { name: template.name, blob: template } : template;
    const reference = this.takesReference ? (own ?? this.#reference) : null;
    const value = (id) => byId(id).value.trim();
    return {
      name,
      image,
      reference: reference?.blob ?? null,
      referenceName: reference?.name ?? null,
      fields: { line: value("field-line"), product: value("field-product"), board: value("field-board") },
      scoreThreshold: value("detect-from"),
    };
  }

  #chosen(event, take) {
    const files = [...event.target.files];
    // The same file can be chosen again.
    event.target.value = "";
    if (files.length) take(files);
  }

  #listenForDrops() {
    const veil = byId("drop-veil");
    const files = (event) => event.dataTransfer?.types.includes("Files");
    let inside = 0;
    addEventListener("dragenter", (event) => {
      if (files(event) && !document.querySelector("dialog[open]")) veil.hidden = (inside += 1) === 0;
    });
    addEventListener("dragleave", (event) => {
      if (files(event)) veil.hidden = (inside = Math.max(0, inside - 1)) === 0;
    });
    addEventListener("dragover", (event) => files(event) && event.preventDefault());
    addEventListener("drop", (event) => {
      if (!files(event)) return;
      event.preventDefault();
      veil.hidden = true;
      inside = 0;
      const dropped = [...event.dataTransfer.files];
      if (byId("reference-part").contains(event.target)) this.setReference(dropped[0].name, dropped[0]);
      else this.give(dropped);
      if (!location.hash.startsWith("#/board/")) location.hash = "#/";
    });
  }
}

/** Boards and, by board, the template that lies beside it. */
function paired(images) {
  const stem = (file) => file.name.replace(/\.[^.]*$/, "");
  const template = (file) => stem(file).endsWith("_temp");
  const byStem = new Map(images.filter(template).map((file) => [stem(file).slice(0, -"_temp".length), file]));
  const boards = images.filter((file) => !template(file));
  if (!boards.length) return { boards: images, templates: new Map() };
  const own = (file) => byStem.get(stem(file).replace(/_test$/, ""));
  return { boards, templates: new Map(boards.filter(own).map((file) => [file, own(file)])) };
}
