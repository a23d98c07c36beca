// Numbers, times and names as people read them.

const TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const CLOCK = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "short" });
const NUMBER = new Intl.NumberFormat();

/** A time of the server in the reader's zone. */
export function time(text) {
  return text ? TIME.format(new Date(text)) : "";
}

/** The same in less room. */
export function clock(text) {
  return CLOCK.format(new Date(text));
}

export function number(value) {
  return NUMBER.format(value);
}

/** `part` of `whole` in per cent, or a dash where there is nothing to divide. */
export function percent(part, whole) {
  return whole > 0 ? `${((100 * part) / whole).toFixed(1)} %` : "–";
}

export function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 10_000) return `${(value / 1000).toFixed(1)} s`;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}

/** `1 defect`, `2 defects`. */
export function count(many, one, several = `${one}s`) {
  return `${number(many)} ${many === 1 ? one : several}`;
}

/** How a class is called. */
export function className(found) {
  return found.name ?? `class ${found.label}`;
}

/** How a stored board is called. */
export function boardName(inspection) {
  return inspection.image.name || inspection.fields?.board || inspection.id;
}

/** What a verdict is called on the page. */
export function verdictName(verdict) {
  return { real: "real", false_call: "false call" }[verdict] ?? "not judged";
}
