// What this browser keeps for its station: line, product, who judges. Private windows may keep nothing.

const PREFIX = "faster-rcnn.";

export function recall(name) {
  try {
    return localStorage.getItem(PREFIX + name) ?? "";
  } catch {
    return "";
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(PREFIX + name, value);
  } catch {
    // The page works without it.
  }
}

/** Fills a field with what was remembered, and remembers what is typed. */
export function remembered(field, name) {
  field.value = recall(name);
  field.addEventListener("change", () => remember(name, field.value));
}
