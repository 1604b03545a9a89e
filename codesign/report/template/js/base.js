"use strict";
// What every panel shares: the study, elements, numbers, charts that follow the page's theme, tables and downloads.
let D, F, T, BY_ID; // the data; front.json; details.json; id -> design or uniform design
let MEASURED, CHIP; // whether networks were run; whether the space has hardware
let READ; // objective -> how it is read, see codesign.report.words
let FIELDS; // name -> {label, unit, get(design), better}: what an axis, a budget or a column can show
let HUES; // format -> its colour on the whole page
const $ = id => document.getElementById(id);
const state = {
  pins: [],
  axes: {},
  brushed: null,
  filters: { off: new Set(), unit: "", budgets: {} },
  task: "",
  layersFrom: 0,
};
const watchers = []; // called after the pins change
const tables = []; // fill the tables of figures anew, where they are open
// Okabe and Ito's colours, which every kind of colour vision tells apart, and darker ones after them.
const PALETTE = [
  "#0072b2",
  "#e69f00",
  "#009e73",
  "#cc79a7",
  "#56b4e9",
  "#d55e00",
  "#b8a90a",
  "#7f7f7f",
  "#5e3c99",
  "#8c510a",
  "#1b7837",
  "#b2182b",
];
const PIN_SYMBOLS = ["circle", "triangle", "diamond"],
  LETTERS = ["A", "B", "C"];
const VIRIDIS = [
  [68, 1, 84],
  [59, 82, 139],
  [33, 145, 140],
  [94, 201, 98],
  [253, 231, 37],
]; // its order is seen by lightness alone

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes)) {
    if (k.startsWith("on")) node.addEventListener(k.slice(2), v);
    else if (typeof v === "boolean") node.toggleAttribute(k, v);
    else node.setAttribute(k, v);
  }
  node.append(...children.flat().filter(c => c !== null && c !== undefined));
  return node;
}
function viridis(t) {
  const at = Math.min(Math.max(t, 0), 1) * (VIRIDIS.length - 1),
    i = Math.min(Math.floor(at), VIRIDIS.length - 2);
  return `rgb(${VIRIDIS[i].map((v, k) => Math.round(v + (VIRIDIS[i + 1][k] - v) * (at - i)))})`;
}
function human(v, unit = "") {
  if (v === null || v === undefined || Number.isNaN(v)) return "";
  if (v === 0) return "0";
  if (["s", "J", "B", "bit2", "count"].includes(unit)) {
    for (const [f, p] of [
      [1e12, "T"],
      [1e9, "G"],
      [1e6, "M"],
      [1e3, "k"],
      [1, ""],
      [1e-3, "m"],
      [1e-6, "u"],
      [1e-9, "n"],
      [1e-12, "p"],
    ])
      if (Math.abs(v) >= f * 0.9995) return `${+(v / f).toPrecision(3)} ${p}${unit === "count" ? "" : unit}`.trim();
  }
  if (unit === "dB") return `${v.toFixed(2)} dB`;
  const a = Math.abs(v),
    n = a >= 1e6 || a < 1e-4 ? v.toExponential(2) : +v.toPrecision(4);
  return `${n} ${unit}`.trim();
}
const shown = { same: v => v, decibel: v => -10 * v, power: v => 10 ** Math.min(v, 300), negative: v => -v };
const pairText = p => {
  const [w, a] = p.split(":");
  return w === a ? w : p;
};
const rolesOf = f => [f.weight || f.key, f.activation];
const pairOf = f => rolesOf(f).join(":") + (f.method ? `+${f.method}` : ""); // as FormatPair prints it
const isUniform = d => "label" in d;
function nameOf(d) {
  // a uniform design may be on the front too
  const roles = [
    d.id === T.chosen ? "balanced" : "",
    d.id === T.worst ? "lowest quality" : "",
    T.baselines.find(b => b.id === d.id)?.label,
  ].filter(Boolean);
  return isUniform(d) ? d.label : d.id + (roles.length ? ` (${roles.join(", ")})` : "");
}
const unitOf = d => d.accelerator.pairs.map(pairText).join(", ");
const alike = d => d.told_apart === false; // as good as a cheaper one within noise

async function unpacked() {
  const bytes = Uint8Array.from(atob($("data").textContent), c => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

// ---- charts

const charts = new Map(); // element id -> {chart, option}
const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const narrow = () => document.documentElement.clientWidth < 700;
function draw(id, said, option) {
  const box = $(id);
  let found = charts.get(id);
  if (!found) charts.set(id, (found = { chart: echarts.init(box, null, { renderer: "canvas" }) }));
  found.option = option;
  found.said = said;
  const text = css("--fg"),
    line = css("--line"),
    full = option();
  const axis = a => ({
    ...a,
    axisLabel: { color: css("--soft"), hideOverlap: true, ...a.axisLabel },
    axisLine: { lineStyle: { color: css("--soft") } },
    splitLine: { lineStyle: { color: line }, ...a.splitLine },
    nameTextStyle: { color: text, ...a.nameTextStyle },
  });
  for (const k of ["xAxis", "yAxis"]) if (full[k]) full[k] = Array.isArray(full[k]) ? full[k].map(axis) : axis(full[k]);
  const legend = full.legend && { textStyle: { color: text }, type: "scroll", ...full.legend };
  found.chart.setOption(
    {
      animation: false,
      backgroundColor: "transparent",
      color: PALETTE,
      textStyle: { color: text, fontFamily: "system-ui, sans-serif" },
      ...full,
      ...(legend ? { legend } : {}),
      aria: { enabled: true, label: { description: said }, decal: { show: $("patterns")?.checked ?? false } },
      tooltip:
        full.tooltip === null
          ? undefined
          : {
              confine: true,
              className: "tip",
              backgroundColor: css("--card"),
              borderColor: css("--soft"),
              textStyle: { color: text, fontSize: 13 },
              ...full.tooltip,
            },
    },
    { notMerge: true },
  );
  box.setAttribute("role", "img");
  return found.chart;
}
function redraw() {
  for (const [id, { said, option, chart }] of charts) {
    chart.resize();
    draw(id, said, option);
  }
}
function tip(lines) {
  return el("div", { class: "tip" }, lines.filter(Boolean).join("\n"));
} // an element: names stay names

// ---- tables and downloads: the data of every figure

function csvText(columns, rows) {
  const quote = v =>
    v === null || v === undefined ? "" : typeof v === "number" ? String(v) : `"${String(v).replaceAll('"', '""')}"`;
  return [columns, ...rows].map(row => row.map(quote).join(",")).join("\n") + "\n";
}
function save(name, text, type) {
  const link = el("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
function more(box, name, columns, rows, caption) {
  // The figure's numbers: to download, and as a table for those who do not see the figure.
  const asJson = () =>
    JSON.stringify(
      rows().map(row => Object.fromEntries(columns().map((c, i) => [c, row[i]]))),
      null,
      1,
    );
  const holder = el("div", { class: "wide" }),
    details = el("details", {}, el("summary", {}, "As a table"), holder);
  const fill = () => {
    if (!details.open) return;
    const cells = rows()
      .slice(0, 600)
      .map(r => r.map(v => (typeof v === "number" ? human(v) : (v ?? ""))));
    holder.replaceChildren(table(columns(), cells, { caption }));
  };
  details.addEventListener("toggle", fill);
  tables.push(fill);
  $(box).replaceChildren(
    el(
      "div",
      { class: "more" },
      "Data of this figure:",
      el(
        "button",
        { class: "link", onclick: () => save(`${name}.csv`, csvText(columns(), rows()), "text/csv") },
        "CSV",
      ),
      el("button", { class: "link", onclick: () => save(`${name}.json`, asJson(), "application/json") }, "JSON"),
      el("button", { class: "link", onclick: () => picture(name) }, "PNG"),
      details,
    ),
  );
}
function picture(name) {
  const link = el("a", {
    href: charts.get(`${name}-plot`).chart.getDataURL({ pixelRatio: 2, backgroundColor: css("--card") }),
    download: `${name}.png`,
  });
  link.click();
}
function table(columns, rows, { ids = null, caption = "", onpick = null, texts = [] } = {}) {
  // A cell is a text, or {show, sort, best}. Columns sort by a button in their head.
  const body = el("tbody"),
    plain = c => c?.sort ?? c?.show ?? c;
  let list = rows.map((row, i) => [row, ids?.[i]]),
    order = 1,
    by = -1;
  const cell = (c, i) =>
    el(
      i ? "td" : "th",
      {
        ...(i ? {} : { scope: "row" }),
        class: [texts.includes(i) ? "text" : "", c?.best ? "best" : ""].join(" ").trim(),
      },
      c?.node ?? String(c?.show ?? c ?? ""),
    );
  const fill = () =>
    body.replaceChildren(
      ...list.map(([row, id]) => el("tr", { class: state.pins.includes(id) ? "on" : "" }, row.map(cell))),
    );
  const heads = columns.map((name, i) =>
    el(
      "th",
      { scope: "col", class: texts.includes(i) ? "text" : "" },
      !name
        ? ""
        : el(
            "button",
            {
              onclick: () => {
                order = by === i ? -order : 1;
                by = i;
                list = [...list].sort(
                  ([a], [b]) => (plain(a[i]) > plain(b[i]) ? 1 : plain(a[i]) < plain(b[i]) ? -1 : 0) * order,
                );
                heads.forEach((h, k) =>
                  k === i
                    ? h.setAttribute("aria-sort", order > 0 ? "ascending" : "descending")
                    : h.removeAttribute("aria-sort"),
                );
                fill();
              },
            },
            name,
          ),
    ),
  );
  fill();
  return el(
    "table",
    {},
    caption ? el("caption", { class: "hint" }, caption) : null,
    el("thead", {}, el("tr", {}, heads)),
    body,
  );
}
function chooser(label, options, value, onchange) {
  const select = el(
    "select",
    {},
    options.map(([v, text]) => el("option", { value: v, selected: v === value }, text)),
  );
  select.addEventListener("change", () => onchange(select.value));
  return el("label", {}, `${label} `, select);
}

// ---- pins: up to three designs that every panel compares

function pin(id) {
  const at = state.pins.indexOf(id);
  if (at >= 0) state.pins.splice(at, 1);
  else state.pins = [...state.pins, id].slice(-3);
  for (const each of [...watchers, ...tables]) each();
}
const pinned = () => state.pins.map(id => BY_ID.get(id));
const letter = id => LETTERS[state.pins.indexOf(id)];
function hypervolumeAxis() {
  return {
    type: "value",
    scale: true,
    name: "hypervolume",
    nameLocation: "middle",
    nameGap: narrow() ? 50 : 66,
    axisLabel: { formatter: v => human(v) },
  };
}
