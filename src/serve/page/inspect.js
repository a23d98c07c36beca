// The view of one board: its canvases, its panel, and the verdicts on it.

import * as api from "./api.js";
import { Board } from "./board.js";
import { byId } from "./dom.js";
import * as download from "./download.js";
import { boardName, className, clock, count, milliseconds, time } from "./format.js";
import { recall, remember, remembered } from "./memory.js";
import { Missed } from "./missed.js";
import { announce, complainOf, say } from "./notices.js";
import { Panel } from "./panel.js";
import { boardPicture, referencePicture } from "./pictures.js";
import { Scene } from "./scene.js";
import { Viewport } from "./viewport.js";

export class Inspect {
  viewport = new Viewport();
  scene = new Scene();
  /** The board before each decision, for taking them back. */
  #past = [];
  #loading = new Map();
  #opening = 0;
  #image = null;

  constructor(boards, saver, intake, model) {
    Object.assign(this, { boards, saver, intake, model });
    this.missed = new Missed(this.scene, this.viewport, (box, label) => this.#addMissed(box, label));
    this.panel = new Panel(this.scene, {
      judge: (item, verdict) => this.judge(item, verdict),
      remove: (item) => this.removeMissed(item),
    });
    const acts = {
      select: (key) => this.scene.select(key),
      hover: (key) => this.scene.hover(key),
      drafted: () => this.#repaint(),
      drawn: () => this.askClass(),
    };
    const canvas = (id, tags) => new Board(byId(id), this.viewport, this.scene, acts, tags);
    this.canvases = [canvas("board", true), canvas("reference-board", false)];
    for (const happened of ["change", "hover"]) this.scene.addEventListener(happened, () => this.#repaint());
    this.scene.addEventListener("change", () => this.#describe());
    this.scene.addEventListener("select", () => this.viewport.reveal(this.scene.chosen.box));
    boards.addEventListener("open", () => this.#open());
    boards.addEventListener("change", () => this.#steps());
    saver.addEventListener("change", () => this.#saved());
    remembered(byId("by"), "by");
    this.#buttons();
    this.compare(recall("compare") !== "off");
  }

  get inspection() {
    return this.scene.inspection;
  }

  /** The least score that is shown, where it is known: the slider's, else the one shipped with the model. */
  get threshold() {
    return this.scene.threshold ?? this.model()?.thresholds?.shipped ?? null;
  }

  #buttons() {
    const clicks = {
      "zoom-in": () => this.viewport.zoom(1.5),
      "zoom-out": () => this.viewport.zoom(1 / 1.5),
      "zoom-fit": () => this.viewport.fit(),
      "zoom-defect": () => this.zoomToDefect(),
      "toggle-boxes": () => this.toggleBoxes(),
      "toggle-compare": () => this.compare(!this.comparing),
      "draw-missed": () => this.drawMissed(),
      "judge-real": () => this.judgeChosen("real"),
      "judge-false": () => this.judgeChosen("false_call"),
      "judge-good": () => this.goodBoard(),
      "next-board": () => this.step(1),
      "previous-board": () => this.step(-1),
      "save-png": () => this.#download(() => download.png(this.inspection, this.#image, this.scene)),
      "save-json": () => this.#download(() => download.json(this.inspection, this.scene)),
      "save-csv": () => this.#download(() => download.csv(this.inspection, this.scene)),
      "detect-again": () => this.inspection && this.intake.again(this.inspection),
      "use-as-reference": () => this.#useAsReference(),
      "add-boards": () => this.showIntake(byId("intake").hidden),
    };
    for (const [id, run] of Object.entries(clicks)) byId(id).addEventListener("click", run);
    const menu = byId("downloads");
    document.addEventListener("click", (event) => {
      if (!event.target.closest("#downloads > summary")) menu.open = false;
    });
    menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      menu.open = false;
      menu.querySelector("summary").focus();
    });
  }

  showIntake(shown) {
    byId("intake").hidden = !shown;
    byId("add-boards").setAttribute("aria-expanded", String(shown));
    if (shown) this.intake.show();
  }

  /** Opens the board whose turn it is. What was asked for last wins. */
  async #open() {
    const opening = (this.#opening += 1);
    const entry = this.boards.current;
    byId("stage").classList.add("loading");
    try {
      const { inspection, image, reference } = await this.#load(entry);
      if (opening !== this.#opening) return;
      this.#show(inspection, image, reference);
      // A board that was detected while another view is looked at waits there.
      if (!byId("inspect").hidden) history.replaceState(null, "", `#/board/${inspection.id}`);
      this.#preload();
    } catch (error) {
      if (opening === this.#opening) complainOf(error, entry.name);
    } finally {
      if (opening === this.#opening) byId("stage").classList.remove("loading");
    }
  }

  /** Shows what the server has of a board, if that board is open. */
  reload(id) {
    this.#loading.delete(id);
    if (this.boards.current?.id === id) this.#open();
  }

  #load(entry) {
    const ready = this.#loading.get(entry.id);
    this.#loading.clear();
    return ready ?? this.#fetch(entry);
  }

  async #fetch(entry) {
    // What is not saved yet is newer than what the server has.
    const inspection = this.saver.unsaved(entry.id) ?? (await api.inspection(entry.id));
    const reference = inspection.reference ? referencePicture(inspection).catch(() => null) : null;
    return { inspection, image: await boardPicture(inspection), reference: await reference };
  }

  /** The next board is there when the operator wants it. */
  #preload() {
    const next = this.boards.entries[this.boards.neighbour(1)];
    if (!next || this.#loading.has(next.id)) return;
    const loading = this.#fetch(next);
    // A failure is told when the board is opened, by asking again.
    loading.catch(() => this.#loading.delete(next.id));
    this.#loading.set(next.id, loading);
  }

  #show(inspection, image, reference) {
    this.#image = image;
    this.#past = [];
    this.viewport.setImage(inspection.image.width, inspection.image.height);
    this.canvases[0].setImage(image);
    this.canvases[1].setImage(reference);
    this.hasReference = Boolean(reference);
    this.compare(this.comparing);
    this.scene.threshold = this.threshold ?? inspection.score_threshold;
    this.scene.open(inspection);
    this.panel.opened(inspection, this.model()?.classes ?? []);
    byId("inspect").classList.add("has-board");
    this.showIntake(false);
    const { fields, model, milliseconds: parts } = inspection;
    byId("board-name").textContent = boardName(inspection);
    byId("board-about").textContent = [
      time(inspection.time),
      fields?.line && `line ${fields.line}`,
      fields?.product && `product ${fields.product}`,
      fields?.board && `board ${fields.board}`,
      `${inspection.image.width} × ${inspection.image.height}`,
      model.name && `${model.name} ${model.version ?? ""}`.trim(),
      parts?.total !== undefined && milliseconds(parts.total),
    ]
      .filter(Boolean)
      .join(" · ");
    this.#saved();
    announce(`${boardName(inspection)}: ${count(this.scene.items.length, "defect")} shown.`);
  }

  step(by) {
    const to = this.boards.neighbour(by);
    if (to >= 0) this.boards.open(to);
    else say(by > 0 ? "This is the last board." : "This is the first board.");
  }

  /** Gives the chosen defect a verdict and goes to the next one without. */
  judgeChosen(verdict) {
    const { chosen } = this.scene;
    if (!chosen) say("Choose a defect first.");
    else if (chosen.missed) say("A missed defect is real. Remove it with Delete if it is not there.");
    else this.judge(chosen, verdict);
  }

  judge(item, verdict) {
    this.#keepPast();
    this.inspection.detections[item.index].verdict = verdict;
    this.scene.selected = item.key;
    this.#decided();
    const next = this.scene.nextUndecided();
    if (verdict === null) this.scene.select(item.key);
    else if (next) this.scene.select(next.key);
    else say("All shown defects are judged. N goes to the next board.");
  }

  /** Every defect without a verdict gets this one. A good board needs none. */
  judgeRest(verdict) {
    if (!this.inspection) return;
    this.#keepPast();
    for (const item of this.scene.undecided()) this.inspection.detections[item.index].verdict = verdict;
    this.#decided();
  }

  goodBoard() {
    if (!this.inspection) return;
    this.#keepPast();
    // Also of defects that the filters hide: the board as a whole is good.
    for (const found of this.inspection.detections) found.verdict ??= "false_call";
    this.#decided();
    say("The board is judged: what was left is a false call, and nothing else is missed.");
  }

  #keepPast() {
    const { detections, missed } = this.inspection;
    const verdicts = detections.map(({ verdict }) => verdict);
    this.#past.push({ verdicts, missed: [...missed], selected: this.scene.selected });
  }

  /** Takes the last decision on this board back. */
  takeBack() {
    const before = this.#past.pop();
    if (!before) {
      say("There is nothing to take back on this board.");
      return;
    }
    for (const [index, found] of this.inspection.detections.entries()) found.verdict = before.verdicts[index];
    this.inspection.missed = before.missed;
    this.#decided();
    this.panel.counts(this.inspection);
    this.scene.select(this.scene.find(before.selected) ? before.selected : null);
    say("The last decision was taken back.");
  }

  drawMissed() {
    if (!this.inspection) return;
    if (this.missed.active) this.missed.stop();
    else this.missed.start();
    byId("board-frame").focus();
  }

  askClass() {
    this.missed.ask(this.model().classes);
  }

  #addMissed(box, label) {
    const name = this.model().classes[label - 1];
    this.#keepPast();
    this.inspection.missed.push({ box, label, name });
    this.missed.stop();
    this.#decided();
    this.panel.counts(this.inspection);
    this.scene.select(`missed-${this.inspection.missed.length - 1}`);
    say(`A missed defect was added: ${name}.`);
  }

  removeMissed(item) {
    this.#keepPast();
    this.inspection.missed.splice(item.index, 1);
    this.scene.select(null);
    this.#decided();
    this.panel.counts(this.inspection);
    say(`The missed defect was removed: ${className(item)}.`);
  }

  removeChosen() {
    const { chosen } = this.scene;
    if (!chosen?.missed) return false;
    this.removeMissed(chosen);
    return true;
  }

  #decided() {
    this.saver.save(this.inspection);
    const entry = this.boards.entries.find((one) => one.id === this.inspection.id);
    if (entry) entry.judged = true;
    this.boards.changed();
    this.scene.update();
  }

  zoomToDefect() {
    if (this.scene.chosen) this.viewport.show(this.scene.chosen.box);
  }

  toggleBoxes() {
    this.scene.boxes = !this.scene.boxes;
    byId("toggle-boxes").setAttribute("aria-pressed", String(this.scene.boxes));
    this.scene.update();
  }

  /** Shows the reference beside the board, or not. */
  compare(wanted) {
    this.comparing = wanted;
    remember("compare", wanted ? "on" : "off");
    const shown = wanted && Boolean(this.hasReference);
    byId("reference-frame").hidden = !shown;
    byId("stage").classList.toggle("comparing", shown);
    byId("toggle-compare").hidden = !this.hasReference;
    byId("toggle-compare").setAttribute("aria-pressed", String(wanted));
  }

  pan(x, y) {
    this.viewport.pan(x * 60, y * 60);
  }

  async #useAsReference() {
    if (!this.inspection) return;
    try {
      const blob = await api.picture(this.inspection.id, "image");
      this.intake.setReference(boardName(this.inspection), blob);
      this.showIntake(true);
    } catch (error) {
      complainOf(error);
    }
  }

  async #download(run) {
    if (!this.inspection) return;
    try {
      await run();
    } catch (error) {
      complainOf(error);
    }
  }

  #repaint() {
    for (const canvas of this.canvases) canvas.repaint();
  }

  #describe() {
    const { chosen, items } = this.scene;
    const sees = this.inspection
      ? `${boardName(this.inspection)}, ${count(items.length, "defect")} shown`
      : "No board";
    byId("board").setAttribute("aria-label", chosen ? `${sees}, chosen: ${chosen.text}` : sees);
    const judgeable = Boolean(chosen && !chosen.missed);
    for (const [id, verdict] of [
      ["judge-real", "real"],
      ["judge-false", "false_call"],
    ]) {
      byId(id).setAttribute("aria-pressed", String(judgeable && chosen.verdict === verdict));
    }
    const left = this.scene.undecided().length;
    // What is to be done next has the strong colour.
    const judged =
      Boolean(this.inspection?.verdict_time) || this.saver.stateOf(this.inspection?.id) !== "saved";
    byId("next-board").classList.toggle("primary", left === 0 && judged);
    byId("judge-good").classList.toggle("primary", left === 0 && Boolean(this.inspection) && !judged);
    byId("left").textContent = left ? `${left} to judge` : judged ? "All judged" : "Not judged";
  }

  #steps() {
    byId("next-board").disabled = this.boards.neighbour(1) < 0;
    byId("previous-board").disabled = this.boards.neighbour(-1) < 0;
  }

  #saved() {
    if (!this.inspection) return;
    const state = this.saver.stateOf(this.inspection.id);
    const { verdict_time: when, verdict_by: by } = this.inspection;
    const saved = when ? `Saved ${clock(when)}${by ? ` by ${by}` : ""}` : "No verdict yet";
    byId("saved").textContent = { saving: "Saving …", failed: "Not saved yet: trying again", saved }[state];
    byId("saved").className = state;
  }
}
