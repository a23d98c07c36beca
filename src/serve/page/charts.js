// Charts in SVG, drawn in the width that they have. Colours come from the style.

import { element, svg } from "./dom.js";
import { number } from "./format.js";

const SPACE = { left: 48, right: 8, top: 12, bottom: 30 };
/** Room for a second axis. */
const SECOND = 46;

/**
 * A figure whose chart is drawn anew when its width changes, with its numbers in a table: `columns` are the
 * table's head and `rows` its lines. `meanings` are the colours' names, `[name, style]`.
 */
export function figure(place, title, draw, columns, rows, meanings = []) {
  const holder = element("div", { class: "chart" });
  const head = element(
    "tr",
    {},
    columns.map((name) => element("th", { scope: "col" }, name)),
  );
  const line = ([first, ...others]) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, String(first)),
      others.map((value) => element("td", {}, String(value))),
    );
  const table = element("table", {}, element("thead", {}, head), element("tbody", {}, rows.map(line)));
  const scroll = element(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": `${title}: numbers` },
    table,
  );
  place.replaceChildren(
    element("figcaption", {}, title),
    rows.length ? holder : element("p", { class: "nothing" }, "Nothing to show yet."),
    rows.length && meanings.length ? legend(meanings) : "",
    rows.length ? element("details", {}, element("summary", {}, "Numbers"), scroll) : "",
  );
  if (!rows.length) return;
  let width = 0;
  const observer = new ResizeObserver(() => {
    if (!holder.isConnected) return observer.disconnect();
    if (!holder.clientWidth || holder.clientWidth === width) return undefined;
    width = holder.clientWidth;
    holder.replaceChildren(draw(width, title));
    return undefined;
  });
  observer.observe(holder);
}

/** The drawing area with its grid: `{ node, x(share), y(value), bottom, width }`. */
function area(width, title, axis, right = SPACE.right) {
  const height = Math.round(Math.min(Math.max(width * 0.42, 220), 360));
  const node = svg("svg", {
    viewBox: `0 0 ${width} ${height}`,
    height,
    role: "img",
    "aria-label": title,
  });
  const bottom = height - SPACE.bottom;
  const inner = width - SPACE.left - right;
  const y = (value) => bottom - (value / axis.top) * (bottom - SPACE.top);
  for (const mark of axis.marks) {
    node.append(
      svg("line", { class: "grid", x1: SPACE.left, x2: SPACE.left + inner, y1: y(mark), y2: y(mark) }),
      svg(
        "text",
        { class: "axis", x: SPACE.left - 6, y: y(mark) + 4, "text-anchor": "end" },
        `${number(mark)}${axis.unit ?? ""}`,
      ),
    );
  }
  return { node, y, bottom, inner, x: (share) => SPACE.left + share * inner };
}

/** Whole, round marks from 0 to at least `highest`. */
function niceAxis(highest) {
  const rough = Math.max(highest, 4) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(
    1,
    [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough),
  );
  const marks = [];
  for (let mark = 0; mark < highest + step; mark += step) marks.push(mark);
  return { top: marks.at(-1), marks };
}

/** The right axis in per cent. */
function percentAxis(to) {
  for (const mark of [0, 25, 50, 75, 100]) {
    const y = to.bottom - (mark / 100) * (to.bottom - SPACE.top);
    to.node.append(svg("text", { class: "axis", x: to.x(1) + 6, y: y + 4 }, `${mark} %`));
  }
  return (share) => to.bottom - share * (to.bottom - SPACE.top);
}

/** Names below columns: as many as there is room for, shortened to theirs. */
function names(to, labels) {
  const room = to.inner / labels.length;
  const every = Math.max(1, Math.ceil(34 / room));
  const letters = Math.max(3, Math.floor((room * every) / 7));
  for (const [index, label] of labels.entries()) {
    if (index % every) continue;
    const text = label.length > letters ? `${label.slice(0, letters - 1)}…` : label;
    to.node.append(
      svg(
        "text",
        { class: "axis", x: to.x((index + 0.5) / labels.length), y: to.bottom + 18, "text-anchor": "middle" },
        text,
        svg("title", {}, label),
      ),
    );
  }
}

/** Columns of stacked parts: `{ label, parts: [{ value, style, title }] }`. */
function stack(to, columns) {
  const room = to.inner / columns.length;
  const width = Math.max(1, Math.min(room * 0.72, 64));
  for (const [index, { parts }] of columns.entries()) {
    let below = 0;
    for (const { value, style, title } of parts) {
      const [top, base] = [to.y(below + value), to.y(below)];
      below += value;
      if (value <= 0) continue;
      const x = to.x((index + 0.5) / columns.length) - width / 2;
      to.node.append(
        svg(
          "rect",
          { class: `bar ${style}`, x, y: top, width, height: Math.max(0.5, base - top) },
          svg("title", {}, title),
        ),
      );
    }
  }
}

const total = ({ parts }) => parts.reduce((sum, { value }) => sum + value, 0);
const highest = (columns) => Math.max(0, ...columns.map(total));

export function stackedColumns(columns) {
  return (width, title) => {
    const to = area(width, title, niceAxis(highest(columns)));
    stack(to, columns);
    names(
      to,
      columns.map(({ label }) => label),
    );
    return to.node;
  };
}

/** Columns from the largest, with the share of all up to each of them as a line. */
export function pareto(columns) {
  return (width, title) => {
    const to = area(width, title, niceAxis(highest(columns)), SECOND);
    stack(to, columns);
    names(
      to,
      columns.map(({ label }) => label),
    );
    const percentY = percentAxis(to);
    const all = columns.reduce((sum, column) => sum + total(column), 0);
    let sum = 0;
    const points = columns.map((column, index) => {
      sum += total(column);
      return {
        x: to.x((index + 0.5) / columns.length),
        y: percentY(sum / all),
        title: `${((100 * sum) / all).toFixed(1)} %`,
      };
    });
    line(to, points, "cumulative");
    return to.node;
  };
}

/** Lines in per cent over the same labels: `{ name, style, points: [{ index, share }] }`. */
export function percentLines(labels, lines) {
  return (width, title) => {
    const to = area(width, title, { top: 100, marks: [0, 25, 50, 75, 100], unit: " %" });
    for (const { name, style, points } of lines) {
      line(
        to,
        points.map(({ index, share }) => ({
          x: to.x((index + 0.5) / labels.length),
          y: to.y(100 * share),
          title: `${name}, ${labels[index]}: ${(100 * share).toFixed(1)} %`,
        })),
        style,
      );
    }
    names(to, labels);
    return to.node;
  };
}

function line(to, points, style) {
  const path = points
    .map(({ x, y }, index) => `${index ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`)
    .join("");
  to.node.append(svg("path", { class: `line ${style}`, d: path }));
  for (const { x, y, title } of points) {
    to.node.append(svg("circle", { class: `dot ${style}`, cx: x, cy: y, r: 4 }, svg("title", {}, title)));
  }
}

/** What the colours of a chart mean. */
function legend(entries) {
  const entry = ([name, style]) => element("li", {}, element("span", { class: `swatch ${style}` }), name);
  return element("ul", { class: "legend" }, entries.map(entry));
}

/** A table whose cells are the darker the larger their number. */
export function heatTable(columns, rows, cell) {
  const values = rows.flatMap((row) => columns.map((column) => cell(row, column)));
  const most = Math.max(1, ...values);
  const shade = (value) => `heat-${value ? Math.max(1, Math.ceil((5 * value) / most)) : 0}`;
  const line = (row) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, row.name),
      columns.map((column) => element("td", { class: shade(cell(row, column)) }, number(cell(row, column)))),
    );
  const head = element(
    "tr",
    {},
    element("td", {}),
    columns.map((column) => element("th", { scope: "col" }, column)),
  );
  return element(
    "table",
    { class: "heat" },
    element("thead", {}, head),
    element("tbody", {}, rows.map(line)),
  );
}
