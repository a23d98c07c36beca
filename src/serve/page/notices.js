// Sentences to the user: what went wrong stays until it is closed, what went well goes by itself.

import { byId, element, icon } from "./dom.js";

const SHOWN = 6000;
let going = null;

/** Says something in passing; screen readers wait for a pause to say it. */
export function say(sentence) {
  const place = byId("status");
  place.textContent = sentence;
  clearTimeout(going);
  going = setTimeout(() => (place.textContent = ""), SHOWN);
}

/** Says to screen readers what others see anyway. */
export function announce(sentence) {
  byId("announced").textContent = sentence;
}

/** Takes back what was said in passing. */
export function hush() {
  byId("status").textContent = "";
}

/** Shows what went wrong, once however often it happens. `action` is `{ text, run }`. */
export function complain(sentence, action = null) {
  const place = byId("alerts");
  for (const alert of place.children) if (alert.dataset.sentence === sentence) return;
  const close = element(
    "button",
    { type: "button", class: "quiet", "aria-label": "Close this message", onclick: () => alert.remove() },
    icon("close"),
  );
  const act =
    action &&
    element(
      "button",
      {
        type: "button",
        onclick: () => {
          alert.remove();
          action.run();
        },
      },
      action.text,
    );
  const alert = element("div", { class: "alert", role: "alert" }, element("p", {}, sentence), act, close);
  alert.dataset.sentence = sentence;
  place.append(alert);
}

/** Shows an error of the server; a missing sign-in has its own dialog. */
export function complainOf(error, what = "") {
  if (error.name === "AbortError" || error.status === 401) return;
  if (!error.message || error.status === undefined) console.error(error);
  complain(what ? `${what}: ${error.message}` : error.message);
}
