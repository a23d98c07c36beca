// Filters of stored boards: a form, and its state in the page's address so that Back and a reload keep it.

import * as api from "./api.js";
import { element } from "./dom.js";

/** Ties the form to the address `#/view?...`; `changed` is called with every new state. */
export class FilterForm {
  #form;
  #view;

  constructor(form, view) {
    this.#form = form;
    this.#view = view;
    form.addEventListener("change", () => this.#moved());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#moved();
    });
    form.addEventListener("click", (event) => {
      const days = event.target.closest("[data-days]")?.dataset.days;
      if (days !== undefined) this.#lastDays(days);
    });
  }

  /** Takes the state of the address, and the choices that the server knows. */
  async read(parameters) {
    this.#fill(await api.fields(), parameters);
    for (const field of this.#form.elements) if (field.name) field.value = parameters.get(field.name) ?? "";
    const from = parameters.get("from") ?? "";
    for (const button of this.#form.querySelectorAll("[data-days]")) {
      const pressed = !parameters.get("to") && from === firstDay(button.dataset.days);
      button.setAttribute("aria-pressed", String(pressed));
    }
  }

  /** The filter as the server takes it: days become moments of the reader's zone. */
  get filter() {
    const values = this.#values();
    if (values.from) values.from = moment(values.from, 0);
    if (values.to) values.to = moment(values.to, 1);
    return values;
  }

  #values() {
    return Object.fromEntries([...new FormData(this.#form)].filter(([, value]) => value !== ""));
  }

  #moved() {
    location.hash = `#/${this.#view}${api.query(this.#values())}`;
  }

  #lastDays(days) {
    this.#form.elements.from.value = firstDay(days);
    this.#form.elements.to.value = "";
    this.#moved();
  }

  #fill(known, parameters) {
    for (const [name, choices] of [
      ["line", known.line],
      ["product", known.product],
      ["class", known.classes],
    ]) {
      const select = this.#form.elements[name];
      if (!select) continue;
      const wanted = parameters.get(name);
      const all = wanted && !choices.includes(wanted) ? [...choices, wanted] : choices;
      const option = (choice) => element("option", { value: choice }, choice);
      select.replaceChildren(element("option", { value: "" }, "all"), ...all.map(option));
    }
  }
}

/** The first of the last `days` days, today among them, as a date field has it; no days are all of them. */
function firstDay(days) {
  if (!days) return "";
  const day = new Date();
  day.setDate(day.getDate() - Number(days) + 1);
  const two = (value) => String(value).padStart(2, "0");
  return `${day.getFullYear()}-${two(day.getMonth() + 1)}-${two(day.getDate())}`;
}

function moment(day, later) {
  const [year, month, date] = day.split("-").map(Number);
  return new Date(year, month - 1, date + later).toISOString();
}
