// Keys that act at once, and the dialog that tells them. A key belongs to one view or, with null, to all.

import { byId, element } from "./dom.js";
import { recall, remember } from "./memory.js";

const commands = [];
let view = null;

/**
 * Adds commands of a view: `{ keys: ["r"], shown: "R", text: "what it does", run }`. A name such as
 * `Shift+ArrowUp` wants the shift key. The first that fits runs; `when()` tells whether it does, and a `run`
 * that gives false leaves the key to the browser.
 */
export function addKeys(of, list) {
  for (const command of list) commands.push({ view: of, ...command });
}

export function showKeysOf(name) {
  view = name;
}

/** Starts listening. */
export function listen() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    if (document.querySelector("dialog[open]") || !allowed(event)) return;
    const key = nameOf(event);
    const fits = (one) => (one.view ?? view) === view && one.keys.includes(key) && (one.when?.() ?? true);
    const command = commands.find(fits);
    if (!command || command.run(event) === false) return;
    event.preventDefault();
  });
  const single = byId("single-keys");
  single.checked = recall("single-keys") !== "off";
  single.addEventListener("change", () => remember("single-keys", single.checked ? "on" : "off"));
  byId("open-help").addEventListener("click", openHelp);
  addKeys(null, [{ keys: ["?", "Shift+?"], shown: "?", text: "Shows these keys", run: openHelp }]);
}

function nameOf(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  return event.shiftKey ? `Shift+${key}` : key;
}

/** Fields keep the keys they need themselves; who speaks to the computer can turn single letters off. */
function allowed(event) {
  const { target } = event;
  if (event.key.length === 1 && event.key !== "?" && recall("single-keys") === "off") return false;
  if (target.matches?.("input[type=range]")) return !event.key.startsWith("Arrow");
  if (target.matches?.("input[type=checkbox], input[type=file]")) return true;
  return !target.matches?.("input, select, textarea");
}

function openHelp() {
  const rows = commands
    .filter((one) => (one.view ?? view) === view)
    .map((one) =>
      element("div", {}, element("dt", {}, element("kbd", {}, one.shown)), element("dd", {}, one.text)),
    );
  byId("help-keys").replaceChildren(...rows);
  byId("help").showModal();
}
