"use strict";
const D = JSON.parse(document.getElementById("data").textContent);
const F = D.front, T = D.details, byId = new Map(F.designs.map(d => [d.id, d]));
const PALETTE = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#7f7f7f", "#8c510a", "#5e3c99", "#1b7837", "#b2182b"];
const $ = id => document.getElementById(id);
const MEASURED = F.designs.some(d => Object.keys(d.quality).length); // else the formats are given, and networks are only priced

function el(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "circle", "rect", "line", "text", "path", "title"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [k, v] of Object.entries(attributes)) k.startsWith("on") ? node.addEventListener(k.slice(2), v) : node.setAttribute(k, v);
  node.append(...children.filter(c => c !== null && c !== undefined));
  return node;
}
function human(v, unit = "") {
  if (v === null || v === undefined) return "";
  if (v === 0) return "0";
  if (["s", "J", "B", "bit2"].includes(unit)) {
    for (const [f, p] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""], [1e-3, "m"], [1e-6, "u"], [1e-9, "n"], [1e-12, "p"]])
      if (Math.abs(v) >= f * 0.9995) return `${+(v / f).toPrecision(3)} ${p}${unit}`;
  }
  const a = Math.abs(v), n = a >= 1e6 || a < 1e-3 ? v.toExponential(2) : +v.toPrecision(4);
  return `${n}${unit ? " " + unit : ""}`;
}
// Viridis: the order is visible by lightness alone, for every kind of colour vision.
const VIRIDIS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
function viridis(t) {
  const at = Math.min(Math.max(t, 0), 1) * (VIRIDIS.length - 1), i = Math.min(Math.floor(at), VIRIDIS.length - 2);
  return `rgb(${VIRIDIS[i].map((v, k) => Math.round(v + (VIRIDIS[i + 1][k] - v) * (at - i)))})`;
}
const formatsOf = f => [f.weight || f.key, f.activation];
const pairOf = f => formatsOf(f).join(":") + (f.method ? `+${f.method}` : ""); // as FormatPair prints it

const CHIP = F.hardware_given ?? true; // else formats alone were searched, and costs that depend on a chip are of a nominal one
const alike = d => d.told_apart === false; // as good as a cheaper one within noise

// The quantities that an axis can show: objectives first, then every number of the cost and of the chip.
const FIELDS = new Map();
for (const o of F.objectives) FIELDS.set(o.name, { unit: o.unit, get: d => d.objectives[o.name] });
const UNITS = { area_mm2: "mm2", energy_j: "J", dram_bytes: "B", dram_capacity_bytes: "B", weight_bytes: "B", bitops: "bit2", latency_s: "s", sram_bytes: "B" };
const OF_FORMATS = new Set(["parameters", "macs", "weight_bytes", "bitops"]), shows = k => CHIP || OF_FORMATS.has(k);
for (const [k, v] of Object.entries(F.designs[0]?.cost ?? {})) if (typeof v === "number" && !FIELDS.has(k) && shows(k)) FIELDS.set(k, { unit: UNITS[k] ?? "", get: d => d.cost[k] });
for (const task of Object.keys(F.designs[0]?.cost.tasks ?? {})) {
  const c = F.designs[0].cost.tasks[task];
  for (const [k, v] of Object.entries(c)) if (typeof v === "number" && !FIELDS.has(`${task}.${k}`) && shows(k)) FIELDS.set(`${task}.${k}`, { unit: UNITS[k] ?? "", get: d => d.cost.tasks[task][k] });
  if (CHIP) for (const phase of Object.keys(c.latency_per_pass_s)) FIELDS.set(`${task}.latency of one ${phase} pass`, { unit: "s", get: d => d.cost.tasks[task].latency_per_pass_s[phase] });
}
if (CHIP) for (const k of ["rows", "columns", "sram_bytes", "dram_channels", "vector_lanes"]) if (k in (F.designs[0]?.accelerator ?? {})) FIELDS.set(k, { unit: UNITS[k] ?? "", get: d => d.accelerator[k] });

let picked = byId.has(T.chosen) ? T.chosen : F.designs[0]?.id;

function scale(values, from, to) {
  const low = Math.min(...values), high = Math.max(...values);
  const log = low > 0 && high / low > 20, f = log ? Math.log10 : x => x;
  const a = f(low), span = f(high) - a || 1;
  const map = v => from + (f(v) - a) / span * (to - from);
  const ticks = [0, 0.25, 0.5, 0.75, 1].map(t => { const w = a + t * span; return log ? 10 ** w : w; });
  return { map, ticks };
}
function frame(svg, w, h, m, x, y, unitX, unitY, labelX, labelY) {
  svg.setAttribute("viewBox", `0 0 ${w} ${h}`);
  svg.replaceChildren();
  const [tickX, tickY] = [unitX, unitY].map(u => u.length > 4 ? "" : u); // a long unit stands with the name instead
  const named = (label, unit, tick) => unit && !tick ? `${label} (${unit})` : label;
  for (const t of x.ticks) svg.append(el("line", { x1: x.map(t), x2: x.map(t), y1: m.t, y2: h - m.b, class: "axis" }), el("text", { x: x.map(t), y: h - m.b + 16, "text-anchor": "middle", class: "tick" }, human(t, tickX)));
  for (const t of y.ticks) svg.append(el("line", { x1: m.l, x2: w - m.r, y1: y.map(t), y2: y.map(t), class: "axis" }), el("text", { x: m.l - 6, y: y.map(t) + 4, "text-anchor": "end", class: "tick" }, human(t, tickY)));
  svg.append(el("text", { x: (m.l + w - m.r) / 2, y: h - 4, "text-anchor": "middle" }, named(labelX, unitX, tickX)), el("text", { x: 4, y: 12 }, named(labelY, unitY, tickY)));
}
function drawScatter() {
  const [kx, ky, kc] = ["x", "y", "c"].map(a => $("axis-" + a).value);
  const [fx, fy, fc] = [kx, ky, kc].map(k => FIELDS.get(k));
  const svg = $("scatter"), every = [...F.designs, ...T.baselines], w = Math.max(300, svg.clientWidth || 1100), h = w < 600 ? 340 : 460, m = { l: 84, r: 20, t: 24, b: 42 };
  const x = scale(every.map(fx.get), m.l + 12, w - m.r - 12), y = scale(every.map(fy.get), h - m.b - 10, m.t + 10), c = scale(every.map(fc.get), 0, 1);
  frame(svg, w, h, m, x, y, fx.unit, fy.unit, kx, ky);
  const colour = v => viridis(c.map(v));
  $("scale").replaceChildren(`colour: ${human(c.ticks[0], fc.unit)} `, el("i", { style: `background:linear-gradient(90deg, ${VIRIDIS.map(s => `rgb(${s})`).join(", ")})` }), ` ${human(c.ticks.at(-1), fc.unit)}`);
  for (const b of T.baselines) svg.append(el("rect", { x: x.map(fx.get(b)) - 5, y: y.map(fy.get(b)) - 5, width: 10, height: 10, fill: "none", stroke: colour(fc.get(b)), "stroke-width": 2 }, el("title", {}, `${b.label}\n${kx}: ${human(fx.get(b), fx.unit)}\n${ky}: ${human(fy.get(b), fy.unit)}`)));
  for (const d of F.designs) svg.append(el("circle", { cx: x.map(fx.get(d)), cy: y.map(fy.get(d)), r: d.id === picked ? 8 : 6, fill: colour(fc.get(d)), class: "dot" + (alike(d) ? " alike" : "") + (d.id === picked ? " picked" : ""), onclick: () => pick(d.id) }, el("title", {}, `${d.id}${CHIP ? `: ${d.accelerator.pairs.join(", ")}` : ""}${alike(d) ? "\nas good as a cheaper one, within noise" : ""}\n${kx}: ${human(fx.get(d), fx.unit)}\n${ky}: ${human(fy.get(d), fy.unit)}\n${kc}: ${human(fc.get(d), fc.unit)}`)));
}
function table(columns, rows, { onpick = null, ids = null } = {}) {
  const body = el("tbody");
  const fill = list => body.replaceChildren(...list.map(([row, id]) => el("tr", id ? { class: "pickable" + (id === picked ? " picked" : ""), onclick: () => onpick(id) } : {}, ...row.map(c => el("td", Array.isArray(c) ? { class: "text" } : {}, Array.isArray(c) ? c[0] : String(c.show ?? c))))));
  let list = rows.map((r, i) => [r, ids ? ids[i] : null]), order = 1;
  const key = c => (Array.isArray(c) ? c[0] : c.sort ?? c);
  const head = el("tr", {}, ...columns.map((name, i) => el("th", { class: Array.isArray(rows[0]?.[i]) ? "text" : "", onclick: () => { order = -order; list = [...list].sort((a, b) => (key(a[0][i]) > key(b[0][i]) ? 1 : -1) * order); fill(list); } }, name)));
  fill(list);
  return el("table", {}, el("thead", {}, head), body);
}
function colours(names) { return new Map([...new Set(names)].sort().map((n, i) => [n, PALETTE[i % PALETTE.length]])); }
// One colour per format on the whole page, so that designs can be compared.
const HUES = colours(F.designs.flatMap(d => Object.values(d.assignments).flatMap(a => Object.values(a).flatMap(formatsOf))));
function legend(map) { return el("div", { class: "legend" }, ...[...map].map(([n, c]) => el("span", {}, el("i", { style: `background:${c}` }), n))); }
function bar(parts, unit) {
  const total = parts.reduce((s, p) => s + p[1], 0) || 1, map = new Map(parts.map((p, i) => [`${p[0]} ${human(p[1], unit)}`, PALETTE[i % PALETTE.length]]));
  return el("div", {}, el("div", { class: "bar" }, ...parts.map((p, i) => el("span", { style: `width:${100 * p[1] / total}%;background:${PALETTE[i % PALETTE.length]}`, title: `${p[0]}: ${human(p[1], unit)}` }))), legend(map));
}
function strip(design, task) {
  const layers = T.tasks[task].layers, formats = design.assignments[task], costs = new Map(design.cost.tasks[task].layers.map(l => [l.name, l]));
  const used = new Set(layers.flatMap(l => formatsOf(formats[l.name]))), map = new Map([...HUES].filter(([name]) => used.has(name))), most = Math.max(...layers.map(l => l.macs));
  const cells = layers.map(l => {
    const [w, a] = formatsOf(formats[l.name]), method = formats[l.name].method, c = costs.get(l.name), s = T.sensitivities?.[task]?.[l.name]?.[pairOf(formats[l.name])];
    const tip = `${l.name} (${l.kind})\n${w} : ${a}${method ? ` (weight by ${method})` : ""}\n${human(l.macs)} MACs` + (CHIP ? `, ${human(c?.latency_s, "s")}, bound by ${c?.bound}` : "") + (s === undefined ? "" : `\npredicted loss ${human(s)}`);
    const tall = 10 + 64 * Math.sqrt(l.macs / most);
    return el("div", { title: tip }, el("i", { style: `height:${tall / 2}px;background:${map.get(w)}` }), el("i", { style: `height:${tall / 2}px;background:${map.get(a)};opacity:.62` }));
  });
  return el("div", {}, el("div", { class: "strip" }, ...cells), el("p", { class: "hint" }, "One column a layer, in order: weights above, activations (paler) below; height grows with MACs."), legend(map));
}
function metricTable(metrics) {
  return table(["metric", "value", "95 %", "unit", "n", "against float (paired)"], metrics.map(m => [m.metric, human(m.value), `${human(m.low)} to ${human(m.high)}`, m.unit, m.n, m.delta === null || m.delta === undefined ? "" : `${human(m.delta)} (${human(m.delta_low)} to ${human(m.delta_high)})`]));
}
function drawDesign() {
  const d = byId.get(picked);
  if (!d) return;
  const a = d.accelerator, box = $("design");
  $("design-title").textContent = `Design ${d.id}` + (d.id === T.chosen ? " (balanced)" : d.id === T.worst ? " (lowest quality)" : "") + (alike(d) ? ", as good as a cheaper one within noise" : "");
  const chip = () => [
    el("p", {}, `${a.rows} x ${a.columns} units of dot-${a.dot} for ${a.pairs.join(", ")}; accumulator ${a.accumulator}; SRAM ${a.sram_bytes / 1024} KiB; ${a.dram_channels} x ${a.dram}${a.dram_gib ? ` (${a.dram_gib} GiB)` : ""}; ${a.flash ? `flash ${a.flash}; ` : ""}${a.codec ? `weights in ${a.codec}; ` : ""}${Object.entries(a.others ?? {}).map(([axis, value]) => `${axis} ${value}; `).join("")}${a.vector_lanes ? `${a.vector_lanes} vector lanes; ` : ""}${a.clock_hz / 1e6} MHz, ${a.node_nm} nm.`),
    Object.keys(d.accumulator).length ? el("p", { class: "hint" }, "Accumulator, the worst layer's sums over their error: " + Object.entries(d.accumulator).map(([task, w]) => w.sqnr_db == null ? `${task} every sum exact` : `${task} ${w.sqnr_db.toFixed(0)} dB in ${w.layer} (${w.accumulator})`).join("; ") + ".") : ""];
  const parts = () => [
    el("div", { class: "columns" },
      el("div", {}, el("h3", {}, `Area ${human(d.cost.area_mm2, "mm2")} (${human(d.cost.area_low_mm2)} to ${human(d.cost.area_high_mm2)})`), bar(d.cost.components.map(c => [c.name, c.area_mm2]), "mm2")),
      el("div", {}, el("h3", {}, `Energy ${human(d.cost.energy_j, "J")}`), bar(d.cost.components.filter(c => c.energy_j > 0).map(c => [c.name, c.energy_j]), "J")))];
  box.replaceChildren(...(CHIP ? chip() : []),
    el("div", { class: "wide" }, table(F.objectives.map(o => o.name), [F.objectives.map(o => human(d.objectives[o.name], o.unit))])),
    ...(CHIP ? parts() : []), ...Object.keys(d.assignments).flatMap(task => {
      const c = d.cost.tasks[task], bound = {};
      for (const l of c.layers) bound[l.bound] = (bound[l.bound] ?? 0) + l.latency_s;
      return [el("h3", {}, `${task}: formats along the network`), strip(d, task),
        CHIP && el("div", { class: "columns" }, el("div", {}, el("h3", {}, `Latency ${human(c.latency_s, "s")}, by what bounds it`), bar(Object.entries(bound), "s"))),
        ...(d.metrics[task] ? [el("h3", {}, `${task}: quality`), el("div", { class: "wide" }, metricTable(d.metrics[task]))] : [])].filter(Boolean);
    }));
}
function drawExamples() {
  const box = $("examples"), name = k => k === T.chosen ? `${k} (balanced)` : k === T.worst ? `${k} (lowest quality)` : k;
  const order = { input: 0, float: 1, truth: 9 };
  for (const [task, shown] of Object.entries(D.examples)) {
    const keys = Object.keys(shown).sort((a, b) => (order[a] ?? 5) - (order[b] ?? 5)), first = shown[keys[0]] ?? [];
    box.append(el("h3", {}, task));
    if (first[0] && "png" in first[0]) first.forEach((item, i) => box.append(el("p", { class: "hint" }, item.label), el("div", { class: "pictures" }, ...keys.filter(k => shown[k][i]).map(k => el("figure", {}, el("img", { src: "data:image/png;base64," + shown[k][i].png, alt: `${k} ${item.label}` }), name(k))))));
    else if (first[0]) box.append(el("div", { class: "wide" }, table(["source", "right answer", ...keys.map(name)], first.map((item, i) => [[item.source], [item.target], ...keys.map(k => [shown[k][i]?.text ?? ""])]))));
  }
  if (!box.children.length) box.append("These tasks show no examples.");
}
function drawTables() {
  const os = F.objectives, marked = F.designs.some(alike);
  $("baselines").replaceChildren(table(["design", ...os.map(o => o.name), "dominated by", "designs on its own front"], T.baselines.map(b => [b.label, ...os.map(o => ({ show: human(b.objectives[o.name], o.unit), sort: b.objectives[o.name] })), b.dominated_by ?? "", [b.note]])));
  $("designs").replaceChildren(table(["design", ...os.map(o => o.name), ...(CHIP ? ["pairs", "array", "SRAM KiB"] : []), ...(marked ? ["within noise"] : [])], F.designs.map(d => [d.id, ...os.map(o => ({ show: human(d.objectives[o.name], o.unit), sort: d.objectives[o.name] })), ...(CHIP ? [[d.accelerator.pairs.join(", ")], `${d.accelerator.rows} x ${d.accelerator.columns}`, d.accelerator.sram_bytes / 1024] : []), ...(marked ? [[alike(d) ? "as good as a cheaper one" : ""]] : [])]), { onpick: pick, ids: F.designs.map(d => d.id) }));
  const names = [...FIELDS.keys()], quote = v => `"${String(v).replaceAll('"', '""')}"`;
  const csv = [["id", "pairs", "told_apart", ...names].map(quote).join(","), ...F.designs.map(d => [d.id, CHIP ? d.accelerator.pairs.join("+") : "", +!alike(d), ...names.map(n => FIELDS.get(n).get(d))].map(quote).join(","))].join("\n");
  $("csv").href = "data:text/csv;charset=utf-8," + encodeURIComponent(csv);
}
function drawHistory() {
  if (!T.history.length) return;
  const w = Math.max(300, $("history").clientWidth || 1100), h = 220, m = { l: 84, r: 20, t: 24, b: 42 };
  const x = scale(T.history.map(p => p.evaluations), m.l, w - m.r), y = scale(T.history.map(p => p.hypervolume), h - m.b, m.t);
  frame($("history"), w, h, m, x, y, "", "", "measured candidates", "hypervolume");
  $("history").append(el("path", { d: T.history.map((p, i) => `${i ? "L" : "M"}${x.map(p.evaluations)} ${y.map(p.hypervolume)}`).join(""), fill: "none", stroke: PALETTE[0], "stroke-width": 2 }));
}
function pick(id) { picked = id; drawScatter(); drawDesign(); drawTables(); }

const work = MEASURED ? `${F.evaluations} evaluations` : `${T.designs_priced} designs priced`;
$("facts").textContent = `${work}, ${CHIP ? `${T.hardware_count} accelerators` : "formats alone"}, ${F.front_size} designs on the front, hypervolume ${human(F.hypervolume)}; seed ${F.seed}, space ${F.space_hash}, code ${F.code_version}, ${F.created}`;
$("summary").querySelector("ul").append(...D.summary.map(s => el("li", {}, s)));
$("assumptions").append(...D.assumptions.map(s => el("li", {}, s)));
const defaults = F.objectives.map(o => o.name), costs = defaults.filter(n => !n.endsWith(".quality")), qualities = defaults.filter(n => n.endsWith(".quality"));
const start = MEASURED ? { x: costs.at(-1) ?? defaults[0], y: qualities[0] ?? defaults[1], c: costs[0] ?? defaults.at(-1) } : { x: costs.at(-1), y: costs[0], c: costs[1] };
for (const axis of ["x", "y", "c"]) {
  $("axis-" + axis).append(...[...FIELDS.keys()].map(k => el("option", k === start[axis] ? { selected: "" } : {}, k)));
  $("axis-" + axis).addEventListener("change", drawScatter);
}
if (F.designs.some(alike)) $("dots").textContent += " Dashed ones are as good as a cheaper one, within the noise of their comparison.";
if (!MEASURED) {
  $("dots").textContent = "Every dot is a design; click one to see it below. Squares are the balanced designs of one choice of formats.";
  $("compared").textContent = "Formats compared";
  for (const id of ["examples", "history", ...(T.baselines.length ? [] : ["baselines"])]) $(id).closest("section").hidden = true;
}
drawScatter(); drawDesign(); drawExamples(); drawTables(); drawHistory();
addEventListener("resize", () => { drawScatter(); drawHistory(); });
