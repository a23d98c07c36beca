// The boards in hand: those that were just given, or those of the history's list.

/**
 * An entry is `{ id, name, state, sentence, defects, judged }`; `state` is `waiting`, `working`, `done` or
 * `failed`, and only what is done has an `id`. Tells `change`, and `open` when another board is to be shown.
 */
export class Boards extends EventTarget {
  entries = [];
  index = -1;

  get current() {
    return this.entries[this.index] ?? null;
  }

  add(entries) {
    this.entries.push(...entries);
    this.changed();
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }

  /** Takes the place of all that is done by stored boards. What is being worked on stays. */
  adopt(inspections) {
    const unfinished = this.entries.filter((entry) => entry.state !== "done");
    this.entries = [...inspections.map(entryOf), ...unfinished];
    this.index = -1;
    this.changed();
  }

  /** Opens a stored board, which is added if it is not there. */
  openStored(inspection) {
    let index = this.entries.findIndex((entry) => entry.id === inspection.id);
    if (index < 0) {
      this.entries.push(entryOf(inspection));
      index = this.entries.length - 1;
    }
    this.open(index);
  }

  open(index) {
    if (this.entries[index]?.state !== "done") return;
    this.index = index;
    this.changed();
    this.dispatchEvent(new Event("open"));
  }

  /** The place of the next board that is done, or of the one before, or -1. */
  neighbour(by) {
    let index = this.index + by;
    while (this.entries[index] && this.entries[index].state !== "done") index += by;
    return this.entries[index] ? index : -1;
  }

  /** Takes an entry off the list; the server keeps what it stored. */
  remove(entry) {
    const index = this.entries.indexOf(entry);
    if (index < 0) return;
    this.entries.splice(index, 1);
    if (index < this.index) this.index -= 1;
    this.changed();
  }
}

function entryOf(inspection) {
  const name = inspection.image.name || inspection.id;
  const defects = inspection.detections.length;
  return {
    id: inspection.id,
    name,
    state: "done",
    sentence: "",
    defects,
    judged: Boolean(inspection.verdict_time),
  };
}
