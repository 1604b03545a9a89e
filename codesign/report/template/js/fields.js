// What an axis, a budget or a column can show, and which designs pass the filters.

const PREFIXED = new Set(["s", "J", "B", "count", "bit2"]); // units whose prefix depends on the value
const NAMED = {
  dram_bytes: "DRAM traffic",
  dram_capacity_bytes: "DRAM that is needed",
  weight_bytes: "weights",
  energy_j: "energy of one result",
  latency_s: "latency of one result",
  area_low_mm2: "area, low end",
  area_high_mm2: "area, high end",
  macs: "MACs",
};

function makeFields() {
  FIELDS = new Map();
  const units = {
    area_mm2: "mm2",
    area_low_mm2: "mm2",
    area_high_mm2: "mm2",
    energy_j: "J",
    dram_bytes: "B",
    dram_capacity_bytes: "B",
    weight_bytes: "B",
    bitops: "bit2",
    latency_s: "s",
    sram_bytes: "B",
    macs: "count",
    parameters: "count",
  };
  const words = k => NAMED[k] ?? k.replace(/_(mm2|s|j|bytes)$/, "").replaceAll("_", " "),
    ofFormats = new Set(["parameters", "macs", "weight_bytes", "bitops"]);
  const add = (key, label, unit, get, better = "lower") => {
    if (!FIELDS.has(key)) FIELDS.set(key, { key, label, unit, get, better });
  };
  for (const o of F.objectives)
    add(
      o.name,
      READ[o.name].label,
      READ[o.name].unit,
      d => shown[READ[o.name].kind](d.objectives[o.name]),
      READ[o.name].better,
    );
  const first = F.designs[0],
    shows = k => CHIP || ofFormats.has(k);
  for (const [k, v] of Object.entries(first.cost))
    if (typeof v === "number" && shows(k)) add(k, `all: ${words(k)}`, units[k] ?? "", d => d.cost[k]);
  for (const [task, c] of Object.entries(first.cost.tasks)) {
    for (const [k, v] of Object.entries(c))
      if (typeof v === "number" && shows(k))
        add(`${task}.${k}`, `${task}: ${words(k)}`, units[k] ?? "", d => d.cost.tasks[task][k]);
    if (!CHIP) continue;
    for (const phase of Object.keys(c.latency_per_pass_s))
      add(
        `${task}.${phase}`,
        `${task}: latency of a ${phase} pass`,
        "s",
        d => d.cost.tasks[task].latency_per_pass_s[phase],
      );
    if ("decode" in c.latency_per_pass_s)
      add(
        `${task}.tokens`,
        `${task}: tokens a second`,
        "1/s",
        d => 1 / d.cost.tasks[task].latency_per_pass_s.decode,
        "higher",
      );
    for (const m of first.metrics[task] ?? [])
      add(
        `${task}.${m.metric}`,
        `${task}: ${D.labels[m.metric]}`,
        m.unit,
        d => d.metrics[task]?.find(x => x.metric === m.metric)?.value,
        m.direction === "maximize" ? "higher" : "lower",
      );
  }
  if (CHIP)
    for (const k of ["rows", "columns", "sram_bytes", "dram_channels", "vector_lanes"])
      if (k in first.accelerator) add(k, `chip: ${words(k)}`, units[k] ?? "", d => d.accelerator[k]);
}
const valueText = (field, d) => human(field.get(d), field.unit);
const measure = f => `${f.label}${f.unit && !PREFIXED.has(f.unit) ? `, ${f.unit}` : ""}`;

function passes(d) {
  const { off, unit, budgets } = state.filters;
  if (d.accelerator.pairs.some(p => off.has(p)) || (!CHIP && [...formatsOf(d)].some(f => off.has(f)))) return false;
  if (unit && unitOf(d) !== unit) return false;
  return Object.entries(budgets).every(([key, limit]) => {
    const f = FIELDS.get(key),
      v = f.get(d);
    return f.better === "lower" ? v <= limit : v >= limit;
  });
}
const formatsOf = d => new Set(Object.values(d.assignments).flatMap(a => Object.values(a).flatMap(rolesOf)));
const visible = () => F.designs.filter(passes);
function family(d) {
  const kinds = new Set(
    d.accelerator.pairs.map(p => (/^(mx|nv)/.test(p) ? "blocks" : /^(fp|bf)/.test(p) ? "floats" : "integers")),
  );
  return kinds.size > 1 ? "several" : [...kinds][0];
}
const FAMILIES = {
  integers: ["circle", "integers"],
  floats: ["triangle", "floats"],
  blocks: ["diamond", "MX and other blocks"],
  several: ["roundRect", "units of several kinds"],
};

function filterControls() {
  const changed = () => {
    drawFront();
    drawAll();
  };
  const names = CHIP ? [...new Set(F.designs.flatMap(d => d.accelerator.pairs))].sort() : [...HUES.keys()];
  const boxes = names.map(p =>
    el(
      "label",
      {},
      el("input", {
        type: "checkbox",
        checked: true,
        value: p,
        onchange: e => {
          state.filters.off[e.target.checked ? "delete" : "add"](p);
          changed();
        },
      }),
      ` ${pairText(p)}`,
    ),
  );
  const units = [...new Set(F.designs.map(unitOf))].sort(),
    budgets = F.objectives.map(o => FIELDS.get(o.name));
  if (CHIP && !FIELDS.has("energy_j")) budgets.push(FIELDS.get("energy_j"));
  const limit = f =>
    el(
      "label",
      { class: "budget" },
      `${measure(f)} ${f.better === "lower" ? "at most" : "at least"}`,
      el("input", {
        type: "number",
        step: "any",
        "data-field": f.key,
        placeholder: String(
          +((f.scale ?? 1) * (f.better === "lower" ? Math.max : Math.min)(...F.designs.map(f.get))).toPrecision(4),
        ),
        oninput: e => {
          const typed = e.target.valueAsNumber;
          if (Number.isNaN(typed)) delete state.filters.budgets[f.key];
          else state.filters.budgets[f.key] = typed / (f.scale ?? 1);
          changed();
        },
      }),
      el("span", {}, f.scaled ?? ""),
    );
  for (const f of budgets)
    if (f && ["s", "J"].includes(f.unit)) [f.scale, f.scaled] = [1e3, f.unit === "s" ? "ms" : "mJ"];
  const box = [
    el("fieldset", {}, el("legend", {}, CHIP ? "units may have" : "layers may have"), boxes),
    el("fieldset", {}, el("legend", {}, "budgets"), budgets.filter(Boolean).map(limit)),
  ];
  if (CHIP)
    box.push(
      el(
        "fieldset",
        {},
        el("legend", {}, "the unit"),
        chooser("exactly", [["", "any"], ...units.map(u => [u, u])], "", v => {
          state.filters.unit = v;
          changed();
        }),
      ),
    );
  $("filter-box").append(
    ...box,
    el(
      "p",
      {},
      el(
        "button",
        {
          id: "no-filters",
          onclick: () => {
            state.filters.off.clear();
            state.filters.unit = "";
            state.filters.budgets = {};
            for (const i of $("filter-box").querySelectorAll("input"))
              i.type === "checkbox" ? (i.checked = true) : (i.value = "");
            for (const s of $("filter-box").querySelectorAll("select")) s.value = "";
            changed();
          },
        },
        "No filters",
      ),
    ),
  );
}
