// The page: its views by address, and what they share.

import * as api from "./api.js";
import { Boards } from "./boards.js";
import { Detecting } from "./detecting.js";
import { byId } from "./dom.js";
import { boardName } from "./format.js";
import { History } from "./history.js";
import { Inspect } from "./inspect.js";
import { Intake } from "./intake.js";
import { addInspectKeys } from "./inspect_keys.js";
import { addKeys, listen, showKeysOf } from "./keys.js";
import { complain, complainOf, hush } from "./notices.js";
import { Overview } from "./overview.js";
import { listenForSignIn, mayRead } from "./sign_in.js";
import { Strip } from "./strip.js";
import { Saver } from "./verdicts.js";

const VIEWS = { inspect: "Inspect", history: "History", overview: "Overview" };

let model = null;
const boards = new Boards();
const detecting = new Detecting(boards);
const saver = new Saver();
const intake = new Intake(detecting, () => model);
const inspect = new Inspect(boards, saver, intake, () => model);
const past = new History(boards);
const overview = new Overview(() => inspect.threshold);

/** `#/history?line=A` as the view and its parameters; what is not known is the first view. */
function address() {
  const [path, parameters] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, id] = path.split("/");
  if (name === "board" && id) return { view: "inspect", id };
  return { view: name in VIEWS ? name : "inspect", parameters: new URLSearchParams(parameters) };
}

async function route() {
  if (location.hash && !location.hash.startsWith("#/")) return;
  const { view, id, parameters } = address();
  hush();
  for (const name of Object.keys(VIEWS)) {
    byId(name).hidden = name !== view;
    const link = byId(`to-${name}`);
    if (name === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${VIEWS[view]} · Faster R-CNN`;
  showKeysOf(view);
  if (view === "history") await past.show(parameters);
  else if (view === "overview") await overview.show(parameters);
  else if (id) await openBoard(id);
  else inspect.showIntake(!boards.current || intake.waits);
}

async function openBoard(id) {
  if (boards.current?.id === id && inspect.inspection?.id === id) return;
  try {
    const known = boards.entries.findIndex((entry) => entry.id === id);
    if (known >= 0) boards.open(known);
    else boards.openStored(await api.inspection(id));
  } catch (error) {
    complainOf(error);
    inspect.showIntake(true);
  }
}

async function start() {
  try {
    if (!(await mayRead())) return;
    model = await api.model();
    const name = model.name ? `${model.name} ${model.version ?? ""}`.trim() : "model from a file";
    byId("model").textContent = model.alias ? `${name} @${model.alias}` : name;
    byId("model").title = `SHA-256 ${model.sha256}, ${model.device}, program ${model.program}`;
    intake.show();
    await route();
  } catch (error) {
    complainOf(error);
    if (error.status !== 401) complain("The page could not be set up.", { text: "Try again", run: start });
  }
}

new Strip(boards, detecting);
listenForSignIn(start);
addInspectKeys(inspect);
const go = (hash) => () => void (location.hash = hash);
addKeys(null, [
  { keys: ["i"], shown: "I", text: "Goes to the boards in hand", run: () => byId("to-inspect").click() },
  { keys: ["h"], shown: "H", text: "Goes to the history", run: go("#/history") },
  { keys: ["o"], shown: "O", text: "Goes to the overview", run: go("#/overview") },
]);
listen();
// Back to the board that was open, not to an empty view.
byId("to-inspect").addEventListener("click", (event) => {
  if (!boards.current) return;
  event.preventDefault();
  location.hash = `#/board/${boards.current.id}`;
});
saver.addEventListener("failed", ({ detail }) => {
  const { error, inspection } = detail;
  if (error.status !== 401)
    complain(`${boardName(inspection)}: the verdict is not saved yet. ${error.message}`);
});
saver.addEventListener("refused", ({ detail }) => {
  const { error, inspection } = detail;
  complain(`${boardName(inspection)}: your last verdict is not stored. ${error.message}`);
  inspect.reload(inspection.id);
});
addEventListener("hashchange", route);
addEventListener("beforeunload", (event) => {
  if (saver.pending || boards.entries.some(({ state }) => state === "waiting" || state === "working"))
    event.preventDefault();
});
start();
