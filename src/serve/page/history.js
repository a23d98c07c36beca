// The boards that the server has, newest first, with filters.

import * as api from "./api.js";
import { byId, element, icon, swatch } from "./dom.js";
import { FilterForm } from "./filter_form.js";
import { boardName, className, count, time } from "./format.js";
import { complainOf } from "./notices.js";

const PAGE = 48;

export class History {
  #form = new FilterForm(byId("history-filter"), "history");
  #boards;
  #items = [];
  #next = null;
  #request = null;

  constructor(boards) {
    this.#boards = boards;
    byId("more").addEventListener("click", () => this.#load());
    byId("judge-pending").addEventListener("click", () => this.#judgePending());
  }

  async show(parameters) {
    try {
      await this.#form.read(parameters);
      this.#items = [];
      this.#next = null;
      byId("history-list").replaceChildren();
      await this.#load();
    } catch (error) {
      complainOf(error);
    }
  }

  async #load() {
    this.#request?.abort();
    this.#request = new AbortController();
    byId("history").setAttribute("aria-busy", "true");
    byId("history-count").textContent = "Loading …";
    try {
      const filter = { ...this.#form.filter, limit: PAGE, before: this.#next };
      const page = await api.inspections(filter, this.#request.signal);
      const first = this.#items.length;
      this.#items.push(...page.items);
      this.#next = page.next;
      byId("history-list").append(...page.items.map((item) => this.#card(item)));
      if (first) byId("history-list").children[first]?.querySelector("a").focus();
      this.#tell();
    } catch (error) {
      if (error.name !== "AbortError") byId("history-count").textContent = "";
      complainOf(error);
    } finally {
      byId("history").setAttribute("aria-busy", "false");
    }
  }

  #tell() {
    const many = this.#items.length;
    const more = this.#next ? " and more" : "";
    byId("history-count").textContent = many
      ? `${count(many, "board")}${more}`
      : "No board fits these filters.";
    byId("more").hidden = !this.#next;
    byId("judge-pending").disabled = !this.#items.some((item) => !item.verdict_time);
  }

  #card(inspection) {
    const { id, fields } = inspection;
    const where = [fields?.line && `line ${fields.line}`, fields?.product, fields?.board]
      .filter(Boolean)
      .join(" · ");
    const picture = element("img", {
      src: api.pictureUrl(id, "thumbnail"),
      alt: "",
      loading: "lazy",
      width: 256,
      height: 256,
    });
    const judged = inspection.verdict_time
      ? element("span", { class: "judged" }, icon("real"), "judged")
      : null;
    return element(
      "li",
      {},
      element(
        "a",
        { href: `#/board/${id}`, onclick: () => this.#boards.adopt(this.#items) },
        picture,
        element(
          "span",
          { class: "about" },
          element("span", { class: "name" }, boardName(inspection)),
          element("span", { class: "detail" }, time(inspection.time), judged),
          where ? element("span", { class: "detail" }, where) : null,
          this.#classes(inspection),
        ),
      ),
    );
  }

  #classes(inspection) {
    const found = [...inspection.detections, ...inspection.missed];
    const many = new Map();
    for (const one of found)
      many.set(className(one), { label: one.label, of: (many.get(className(one))?.of ?? 0) + 1 });
    const chip = ([name, { label, of }]) => element("span", { class: "tag" }, swatch(label), `${name} ${of}`);
    return element(
      "span",
      { class: "tags" },
      many.size ? [...many].map(chip) : element("span", { class: "tag good" }, icon("real"), "no defects"),
    );
  }

  /** Opens the boards of the list that have no verdict, one after the other. */
  #judgePending() {
    const pending = this.#items.filter((item) => !item.verdict_time);
    this.#boards.adopt(pending);
    location.hash = `#/board/${pending[0].id}`;
  }
}
