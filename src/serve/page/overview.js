// What all boards of a time say together.

import * as api from "./api.js";
import { figure, heatTable, pareto, percentLines, stackedColumns } from "./charts.js";
import { byId, classColour, element } from "./dom.js";
import { FilterForm } from "./filter_form.js";
import { className, count, milliseconds, number, percent } from "./format.js";
import { complainOf } from "./notices.js";

export class Overview {
  #form = new FilterForm(byId("overview-filter"), "overview");
  #asked = 0;
  #threshold;

  /** `threshold()` gives the least score that counts, or null for all that are stored. */
  constructor(threshold) {
    this.#threshold = threshold;
  }

  async show(parameters) {
    const asked = (this.#asked += 1);
    const view = byId("overview");
    view.setAttribute("aria-busy", "true");
    try {
      await this.#form.read(parameters);
      const { filter } = this.#form;
      const threshold = this.#threshold();
      const statistics = await api.statistics({ ...filter, score_threshold: threshold });
      if (asked !== this.#asked) return;
      byId("overview-note").textContent =
        threshold === null
          ? "A defect is any detection that is stored."
          : `A defect is a detection with a score of ${threshold} or more, as on the boards.`;
      tiles(statistics);
      days(statistics.days);
      classes(statistics.classes);
      classesByLine(statistics.classes_by_line);
      scores(statistics.scores);
      verdicts(statistics.verdicts_by_class);
      this.#download(filter, statistics.verdicts.boards);
    } catch (error) {
      complainOf(error);
    } finally {
      if (asked === this.#asked) view.setAttribute("aria-busy", "false");
    }
  }

  #download(filter, boards) {
    const link = byId("save-verdicts");
    // A link without an address cannot be followed.
    if (boards) link.href = api.verdictsUrl(filter);
    else link.removeAttribute("href");
    link.setAttribute("aria-disabled", String(!boards));
    byId("save-verdicts-note").textContent = boards
      ? `${count(boards, "board")} with a verdict, as a COCO data set to train on.`
      : "No board of this choice has a verdict yet.";
  }
}

function tiles({ boards, boards_with_defects: bad, classes: found, verdicts: given, milliseconds: times }) {
  const defects = found.reduce((sum, one) => sum + one.defects, 0);
  const judged = given.real + given.false_call;
  const values = [
    ["Boards", number(boards), ""],
    ["Yield", percent(boards - bad, boards), `${number(bad)} with defects`],
    ["Defects", number(defects), boards ? `${(defects / boards).toFixed(2)} a board` : ""],
    [
      "False calls",
      percent(given.false_call, judged),
      `${number(given.false_call)} of ${number(judged)} judged`,
    ],
    ["Escapes", percent(given.missed, given.real + given.missed), `${number(given.missed)} missed`],
    ["Judged", percent(given.boards, boards), count(given.boards, "board")],
    ["Time, median", milliseconds(times?.median), "from request to answer"],
    ["Time, 95 %", milliseconds(times?.p95), "are faster than this"],
  ];
  byId("tiles").replaceChildren(
    ...values.map(([name, value, note]) =>
      element(
        "div",
        {},
        element("dt", {}, name),
        element("dd", {}, value),
        element("dd", { class: "note" }, note),
      ),
    ),
  );
}

function days(rows) {
  const labels = [...new Set(rows.map(({ day }) => day))].sort();
  const lines = [...new Set(rows.map(({ line }) => line ?? ""))].sort();
  const called = (line) => line || "no line";
  const of = (day, line) => rows.find((row) => row.day === day && (row.line ?? "") === line);
  const columns = labels.map((day) => {
    const own = rows.filter((row) => row.day === day);
    const sum = (key) => own.reduce((all, row) => all + row[key], 0);
    const [boards, bad] = [sum("boards"), sum("with_defects")];
    const parts = [
      { value: boards - bad, style: "good", title: `${day}: ${number(boards - bad)} without defects` },
      { value: bad, style: "bad", title: `${day}: ${number(bad)} with defects` },
    ];
    return { label: day.slice(5), parts };
  });
  const table = rows.map((row) => [
    row.day,
    called(row.line),
    number(row.boards),
    number(row.with_defects),
    percent(row.boards - row.with_defects, row.boards),
  ]);
  const head = ["Day", "Line", "Boards", "With defects", "Yield"];
  const meanings = [
    ["without defects", "good"],
    ["with defects", "bad"],
  ];
  figure(byId("chart-days"), "Boards by day", stackedColumns(columns), head, table, meanings);
  const drawn = lines.map((line, place) => ({
    name: called(line),
    style: classColour(place + 1),
    points: labels.flatMap((day, index) => {
      const row = of(day, line);
      return row?.boards ? [{ index, share: (row.boards - row.with_defects) / row.boards }] : [];
    }),
  }));
  const yields = percentLines(
    labels.map((day) => day.slice(5)),
    drawn,
  );
  const styles = drawn.map(({ name, style }) => [name, style]);
  figure(byId("chart-yield"), "Yield by day and line", yields, head, table, styles);
}

function classes(found) {
  const sorted = found.filter(({ defects }) => defects > 0).sort((a, b) => b.defects - a.defects);
  const columns = sorted.map((one) => ({
    label: className(one),
    parts: [
      {
        value: one.defects,
        style: classColour(one.label),
        title: `${className(one)}: ${number(one.defects)}`,
      },
    ],
  }));
  const all = sorted.reduce((sum, { defects }) => sum + defects, 0);
  const rows = sorted.map((one) => [className(one), number(one.defects), percent(one.defects, all)]);
  figure(byId("chart-classes"), "Defects by class", pareto(columns), ["Class", "Defects", "Share"], rows);
}

function classesByLine(found) {
  const place = byId("chart-class-line");
  const names = [...new Set(found.map(className))].sort();
  const lines = [...new Set(found.map(({ line }) => line ?? ""))].sort();
  const many = new Map(found.map((one) => [JSON.stringify([one.line ?? "", className(one)]), one.defects]));
  const rows = names.map((name) => ({ name }));
  const called = new Map(lines.map((line) => [line || "no line", line]));
  const cell = (row, column) => many.get(JSON.stringify([called.get(column), row.name])) ?? 0;
  const title = "Defects by class and line";
  const table = names.length
    ? element(
        "div",
        { class: "scroll", tabindex: "0", role: "region", "aria-label": title },
        heatTable([...called.keys()], rows, cell),
      )
    : element("p", { class: "nothing" }, "Nothing to show yet.");
  place.replaceChildren(element("figcaption", {}, title), table);
}

function scores(bins) {
  const columns = bins.map(({ from, to, defects }) => ({
    label: from.toFixed(2),
    parts: [
      {
        value: defects,
        style: "plain",
        title: `${from.toFixed(2)} to ${to.toFixed(2)}: ${count(defects, "detection")}`,
      },
    ],
  }));
  const some = bins.some(({ defects }) => defects > 0);
  const rows = some
    ? bins.map(({ from, to, defects }) => [`${from.toFixed(2)} to ${to.toFixed(2)}`, number(defects)])
    : [];
  const title = "Scores of all stored detections";
  figure(byId("chart-scores"), title, stackedColumns(columns), ["Score", "Detections"], rows);
}

function verdicts(found) {
  const some = found.filter((one) => one.real + one.false_call + one.missed > 0);
  const kinds = [
    ["real", "real"],
    ["false_call", "false call"],
    ["missed", "missed"],
  ];
  const columns = some.map((one) => ({
    label: className(one),
    parts: kinds.map(([key, text]) => ({
      value: one[key],
      style: key,
      title: `${className(one)}, ${text}: ${number(one[key])}`,
    })),
  }));
  const rows = some.map((one) => [
    className(one),
    number(one.real),
    number(one.false_call),
    number(one.missed),
    percent(one.false_call, one.real + one.false_call),
    percent(one.missed, one.real + one.missed),
  ]);
  const head = ["Class", "Real", "False calls", "Missed", "False-call rate", "Escape rate"];
  const meanings = kinds.map(([key, text]) => [text, key]);
  figure(
    byId("chart-verdicts"),
    "False calls and escapes by class",
    stackedColumns(columns),
    head,
    rows,
    meanings,
  );
}
