// The keys of the board's view. While a missed defect is drawn, arrows belong to its box.

import { addKeys } from "./keys.js";

const ARROWS = [
  ["ArrowLeft", -1, 0],
  ["ArrowRight", 1, 0],
  ["ArrowUp", 0, -1],
  ["ArrowDown", 0, 1],
];

export function addInspectKeys(inspect) {
  const { missed, viewport, scene } = inspect;
  const open = (run) => () => (inspect.inspection ? run() : false);
  const arrows = (run) => (event) => {
    const [, x, y] = ARROWS.find(([key]) => key === event.key);
    return run(x, y);
  };
  const plain = ARROWS.map(([key]) => key);
  const shifted = plain.map((key) => `Shift+${key}`);
  const drawing = () => missed.active;
  addKeys("inspect", [
    {
      keys: ["r"],
      shown: "R",
      text: "The defect is real; goes to the next",
      run: open(() => inspect.judgeChosen("real")),
    },
    {
      keys: ["f"],
      shown: "F",
      text: "It is a false call; goes to the next",
      run: open(() => inspect.judgeChosen("false_call")),
    },
    { keys: ["u"], shown: "U", text: "Takes the last decision back", run: open(() => inspect.takeBack()) },
    {
      keys: ["g"],
      shown: "G",
      text: "Good board: all that is left is a false call",
      run: open(() => inspect.goodBoard()),
    },
    {
      keys: ["Shift+r"],
      shown: "Shift R",
      text: "All shown defects that are left are real",
      run: open(() => inspect.judgeRest("real")),
    },
    { keys: ["m"], shown: "M", text: "Draws a missed defect", run: open(() => inspect.drawMissed()) },
    {
      keys: plain,
      when: drawing,
      shown: "M, then arrows",
      text: "Moves the box that is drawn",
      run: arrows((x, y) => missed.nudge(x, y, false)),
    },
    {
      keys: shifted,
      when: drawing,
      shown: "M, then Shift arrows",
      text: "Makes it larger or smaller",
      run: arrows((x, y) => missed.nudge(x, y, true)),
    },
    {
      keys: ["Enter"],
      when: drawing,
      shown: "M, then Enter",
      text: "Takes the box and asks for its class, by number",
      run: () => inspect.askClass(),
    },
    {
      keys: ["Escape"],
      when: drawing,
      shown: "M, then Escape",
      text: "Leaves without a box",
      run: () => missed.stop(),
    },
    {
      keys: ["Delete", "Backspace"],
      shown: "Delete",
      text: "Removes the chosen missed defect",
      run: open(() => inspect.removeChosen()),
    },
    { keys: ["ArrowDown", "j"], shown: "↓ or J", text: "Next defect", run: open(() => scene.step(1)) },
    { keys: ["ArrowUp", "k"], shown: "↑ or K", text: "Defect before", run: open(() => scene.step(-1)) },
    { keys: ["n", "ArrowRight"], shown: "N or →", text: "Next board", run: () => inspect.step(1) },
    { keys: ["p", "ArrowLeft"], shown: "P or ←", text: "Board before", run: () => inspect.step(-1) },
    { keys: ["+", "=", "Shift++"], shown: "+", text: "Zooms in", run: open(() => viewport.zoom(1.5)) },
    { keys: ["-"], shown: "−", text: "Zooms out", run: open(() => viewport.zoom(1 / 1.5)) },
    { keys: ["0"], shown: "0", text: "Shows the whole board", run: open(() => viewport.fit()) },
    { keys: ["z"], shown: "Z", text: "Zooms to the chosen defect", run: open(() => inspect.zoomToDefect()) },
    {
      keys: shifted,
      shown: "Shift arrows",
      text: "Moves the board",
      run: arrows((x, y) => inspect.pan(-x, -y)),
    },
    {
      keys: ["b"],
      shown: "B",
      text: "Hides the boxes, or shows them",
      run: open(() => inspect.toggleBoxes()),
    },
    {
      keys: ["c"],
      shown: "C",
      text: "Shows the reference beside the board, or not",
      run: open(() => inspect.compare(!inspect.comparing)),
    },
    {
      keys: ["["],
      shown: "[",
      text: "Lowers the least score",
      run: open(() => inspect.panel.moveThreshold(-0.05)),
    },
    {
      keys: ["]"],
      shown: "]",
      text: "Raises the least score",
      run: open(() => inspect.panel.moveThreshold(0.05)),
    },
    { keys: ["a"], shown: "A", text: "Adds boards", run: () => inspect.showIntake(true) },
  ]);
}
