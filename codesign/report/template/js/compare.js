// Designs side by side, and the tables of all designs and of uniform formats.

function drawPinned() {
  const designs = pinned(),
    box = $("pinned-box");
  if (!designs.length) return box.replaceChildren(el("p", {}, "No design is pinned."));
  const head = ["", ...designs.map(d => `${letter(d.id)}: ${nameOf(d)}`)];
  const best = f => {
    const values = designs.map(f.get);
    return designs.length < 2 ? NaN : f.better === "lower" ? Math.min(...values) : Math.max(...values);
  };
  const row = f => [
    f.label,
    ...designs.map(d => ({
      show: valueText(f, d),
      best: f.get(d) === best(f) && designs.some(o => f.get(o) !== f.get(d)),
    })),
  ];
  const rows = F.objectives.map(o => row(FIELDS.get(o.name)));
  if (CHIP) {
    rows.push([
      "area, interval",
      ...designs.map(d => `${human(d.cost.area_low_mm2)} to ${human(d.cost.area_high_mm2)} mm2`),
    ]);
    for (const key of [...FIELDS.keys()].filter(
      k =>
        /^energy_j$|\.energy_j$|\.tokens$|\.(prefill|decode|denoise)$|^dram_bytes$/.test(k) &&
        !F.objectives.some(o => o.name === k),
    ))
      rows.push(row(FIELDS.get(key)));
    for (const [label, text] of [
      ["unit for", unitOf],
      ["array", d => `${d.accelerator.rows} x ${d.accelerator.columns} of dot-${d.accelerator.dot}`],
      ["MACs per cycle", d => (d.accelerator.rows * d.accelerator.columns * d.accelerator.dot).toLocaleString("en")],
      ["SRAM", d => human(d.accelerator.sram_bytes / 1024, "KiB")],
      ["DRAM", d => `${d.accelerator.dram_channels} x ${d.accelerator.dram}`],
      [
        "accumulator",
        d =>
          Object.entries(d.accumulator ?? {})
            .map(([t, w]) => `${t}: ${w.sqnr_db === undefined ? "exact" : `${w.sqnr_db.toFixed(0)} dB, ${w.layer}`}`)
            .join("; "),
      ],
    ])
      if (designs.some(text)) rows.push([label, ...designs.map(text)]);
  }
  for (const task of Object.keys(T.tasks)) {
    rows.push([`${task}: weights`, ...designs.map(d => human(d.cost.tasks[task].weight_bytes, "B"))]);
    rows.push([`${task}: layers in`, ...designs.map(d => mixture(d, task))]);
    const names = [...new Set(designs.flatMap(d => (D.words[d.id]?.[task] ?? []).map(m => m.label)))];
    for (const label of names)
      rows.push([
        `${task}: ${label}`,
        ...designs.map(d => {
          const m = (D.words[d.id]?.[task] ?? []).find(x => x.label === label);
          return m ? `${m.value} (${m.interval})${m.change ? `; against float ${m.change}` : ""}` : "";
        }),
      ]);
  }
  const texts = designs.map((_, i) => i + 1);
  box.replaceChildren(
    el(
      "div",
      { class: "controls" },
      designs.map(d => el("button", { "data-unpin": d.id, onclick: () => pin(d.id) }, `Unpin ${letter(d.id)}`)),
      el("button", { onclick: () => saveCompared(head, rows) }, "CSV"),
    ),
    el(
      "div",
      { class: "wide" },
      table(head, rows, { texts, caption: "A tick marks the best of those that are pinned." }),
    ),
  );
}
function saveCompared(head, rows) {
  save(
    "compared.csv",
    csvText(
      head,
      rows.map(r => r.map(c => c?.show ?? c)),
    ),
    "text/csv",
  );
}
function mixture(d, task) {
  const counts = {};
  for (const f of Object.values(d.assignments[task])) counts[pairOf(f)] = (counts[pairOf(f)] ?? 0) + 1;
  return Object.entries(counts)
    .sort((a, b) => b[1] - a[1])
    .map(([p, n]) => `${n} x ${p}`)
    .join(", ");
}
function pinButton(d) {
  return {
    node: el(
      "button",
      { class: "link", "aria-pressed": String(state.pins.includes(d.id)), onclick: () => pin(d.id) },
      `${letter(d.id) ? `${letter(d.id)}: ` : ""}${nameOf(d)}`,
    ),
    sort: d.id,
  };
}
function drawAll() {
  const fields = F.objectives.map(o => FIELDS.get(o.name)),
    rows = visible().filter(d => !state.brushed || state.brushed.has(d.id));
  const cells = d => [
    pinButton(d),
    ...fields.map(f => ({ show: valueText(f, d), sort: f.get(d) })),
    ...(CHIP
      ? [
          unitOf(d),
          {
            show: `${d.accelerator.rows} x ${d.accelerator.columns}`,
            sort: d.accelerator.rows * d.accelerator.columns,
          },
          { show: d.accelerator.sram_bytes / 1024, sort: d.accelerator.sram_bytes },
        ]
      : []),
    alike(d) ? "yes" : "",
  ];
  const heads = [
    "design",
    ...fields.map(measure),
    ...(CHIP ? ["unit for", "array", "SRAM, KiB"] : []),
    "as good as a cheaper one",
  ];
  const raw = () =>
    rows.map(d => [
      d.id,
      ...F.objectives.map(o => d.objectives[o.name]),
      CHIP ? d.accelerator.pairs.join("+") : "",
      d.accelerator.rows,
      d.accelerator.columns,
      d.accelerator.sram_bytes,
      alike(d) ? 0 : 1,
    ]);
  $("all-box").replaceChildren(
    el(
      "p",
      { class: "controls" },
      `${rows.length} of ${F.designs.length} designs`,
      el(
        "button",
        {
          class: "link",
          id: "csv",
          onclick: () =>
            save(
              "designs.csv",
              csvText(
                ["id", ...F.objectives.map(o => o.name), "pairs", "rows", "columns", "sram_bytes", "told_apart"],
                raw(),
              ),
              "text/csv",
            ),
        },
        "CSV",
      ),
      el(
        "button",
        {
          class: "link",
          onclick: () => save("study.json", JSON.stringify({ front: F, details: T }, null, 1), "application/json"),
        },
        "JSON of the whole study",
      ),
    ),
    el(
      "div",
      { class: "wide" },
      table(heads, rows.map(cells), { ids: rows.map(d => d.id), texts: CHIP ? [fields.length + 1] : [] }),
    ),
  );
}
function drawUniform() {
  if (!T.baselines.length) return ($("uniform").hidden = true);
  if (!MEASURED) $("uniform-h").textContent = "Choices of formats on their own best chips";
  const fields = F.objectives.map(o => FIELDS.get(o.name));
  const rows = T.baselines.map(b => [
    pinButton(b),
    ...fields.map(f => ({ show: valueText(f, b), sort: f.get(b) })),
    b.dominated_by ?? "",
    b.note,
  ]);
  $("uniform-box").replaceChildren(
    el(
      "div",
      { class: "wide" },
      table(["formats", ...fields.map(measure), "dominated by", "the best designs of this format"], rows, {
        ids: T.baselines.map(b => b.id),
        texts: [fields.length + 2],
      }),
    ),
  );
}
