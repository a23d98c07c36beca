// Building elements. Text only ever becomes text: nothing here reads markup.

/** The element of the page with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * A new element: `element("button", { type: "button", class: "big" }, "Text", child)`.
 * A property that begins with `on` is a listener. `true` sets an empty attribute, `null` and `false` none.
 */
export function element(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** The same for SVG. */
export function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);
}

function fill(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** One of the icons in index.html. */
export function icon(name) {
  return svg("svg", { class: "icon", "aria-hidden": "true" }, svg("use", { href: `#icon-${name}` }));
}

/** A small square in the colour of a class. */
export function swatch(label) {
  return element("span", { class: `swatch ${classColour(label)}`, "aria-hidden": "true" });
}

/** The style class that gives `--colour` of a label, which counts from 1. */
export function classColour(label) {
  return `class-${(Math.max(1, label) - 1) % 8}`;
}
