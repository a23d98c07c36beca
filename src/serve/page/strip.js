// The row of boards in hand, with how far they are.

import { pictureUrl } from "./api.js";
import { byId, element, icon } from "./dom.js";
import { count, number } from "./format.js";

export class Strip {
  #boards;
  #detecting;
  #shownIndex = -1;
  /** Cards stay as long as what they say, so that pictures do not flicker and the focus stays. */
  #cards = new WeakMap();

  constructor(boards, detecting) {
    this.#boards = boards;
    this.#detecting = detecting;
    boards.addEventListener("change", () => this.render());
  }

  render() {
    const { entries, index } = this.#boards;
    const cards = entries.map((entry, place) => this.#card(entry, place === index));
    const shown = byId("strip").children;
    if (cards.length !== shown.length || cards.some((card, place) => card !== shown[place])) {
      byId("strip").replaceChildren(...cards);
    }
    const finished = entries.filter((entry) => entry.state === "done" || entry.state === "failed").length;
    const working = finished < entries.length;
    byId("progress").hidden = !working;
    byId("progress-bar").max = entries.length || 1;
    byId("progress-bar").value = finished;
    byId("progress-text").textContent = working
      ? `${finished} of ${count(entries.length, "board")} done`
      : "";
    byId("boards-count").textContent = entries.length ? number(entries.length) : "";
    if (index !== this.#shownIndex) {
      this.#shownIndex = index;
      byId("strip").children[index]?.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
  }

  #card(entry, current) {
    const { id, name, state, sentence, defects, judged } = entry;
    const says = JSON.stringify([id, name, state, sentence, defects, judged]);
    let card = this.#cards.get(entry);
    if (card?.says !== says) {
      card = { says, node: state === "failed" ? this.#failed(entry) : this.#board(entry) };
      this.#cards.set(entry, card);
    }
    card.node.classList.toggle("current", current);
    if (current) card.node.querySelector("button").setAttribute("aria-current", "true");
    else card.node.querySelector("button").removeAttribute("aria-current");
    return card.node;
  }

  #board(entry) {
    const about = entry.state === "done" ? count(entry.defects, "defect") : entry.sentence || "Waits";
    const picture = entry.id
      ? element("img", { src: pictureUrl(entry.id, "thumbnail"), alt: "", loading: "lazy" })
      : element("span", { class: "spinner", "aria-hidden": "true" });
    return element(
      "li",
      { class: entry.state },
      element(
        "button",
        {
          type: "button",
          disabled: entry.state !== "done",
          onclick: () => this.#boards.open(this.#boards.entries.indexOf(entry)),
        },
        element("span", { class: "thumbnail" }, picture),
        element(
          "span",
          { class: "about" },
          element("span", { class: "name", title: entry.name }, entry.name),
          element(
            "span",
            { class: "detail" },
            about,
            entry.judged ? element("span", { class: "judged" }, icon("real"), "judged") : null,
          ),
        ),
      ),
    );
  }

  #failed(entry) {
    return element(
      "li",
      { class: "failed" },
      element("p", { class: "name", title: entry.name }, entry.name),
      element("p", { class: "sentence", role: "alert" }, entry.sentence),
      element(
        "p",
        { class: "acts" },
        element("button", { type: "button", onclick: () => this.#detecting.again(entry) }, "Try again"),
        element("button", { type: "button", onclick: () => this.#boards.remove(entry) }, "Remove"),
      ),
    );
  }
}
