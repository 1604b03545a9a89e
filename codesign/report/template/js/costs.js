// Uniform formats at equal size; where area, energy and time go; the roofline.

const FAMILIAR = [
  /^int8:int8/,
  /^fp8_e4m3:fp8_e4m3/,
  /^mxfp8_e4m3:mxfp8_e4m3/,
  /^fp4_e2m1/,
  /^nvfp4:nvfp4/,
  /^mxfp4:mxfp4/,
]; // INT8, FP8 and FP4, plain and in blocks
function equalRows() {
  const all = T.equal_size ?? [],
    few = all.filter(e => FAMILIAR.some(p => p.test(e.pair)));
  return $("formats-all")?.checked || few.length < 2 ? all : few;
}
const equalQuality = task => READ[`${task}.quality`] ?? D.qualities[task];
function formatsOption() {
  const rows = [...equalRows()].reverse(),
    names = rows.map(e => pairText(e.pair.split("+")[0])),
    panels = [
      ["area of the compute units, mm2", e => e.array_mm2, "mm2"],
      ["area of the chip, mm2", e => e.area_mm2, "mm2", e => [e.area_low_mm2, e.area_high_mm2]],
      ["energy of all results, mJ", e => 1e3 * Object.values(e.energy_j).reduce((s, v) => s + v, 0), "mJ"],
      ...Object.keys(rows[0].quality).map(t => {
        const r = equalQuality(t),
          f = shown[r.kind];
        return [
          `${r.label}, ${r.unit || "loss"} (${r.better} is better)`,
          e => f(e.quality[t].value),
          r.unit,
          e => [f(e.quality[t].low), f(e.quality[t].high)],
        ];
      }),
    ];
  const across = narrow() ? 1 : 2,
    high = 30 + 24 * rows.length,
    grid = [],
    xAxis = [],
    yAxis = [],
    series = [];
  $("formats-plot").style.height = `${Math.ceil(panels.length / across) * (high + 70)}px`;
  panels.forEach(([name, get, unit, interval], i) => {
    const values = rows.map(get),
      log = unit !== "dB" && Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) > 30;
    grid.push({
      left: i % across ? "64%" : narrow() ? 118 : 150,
      right: i % across || narrow() ? 62 : "55%",
      top: 30 + Math.floor(i / across) * (high + 70),
      height: high,
    });
    xAxis.push({
      gridIndex: i,
      type: log ? "log" : "value",
      scale: unit === "dB",
      name,
      nameLocation: "start",
      nameGap: 0,
      nameTextStyle: {
        align: "left",
        verticalAlign: "bottom",
        padding: [0, 0, high + 10, narrow() ? -110 : 0],
        fontWeight: 600,
      },
      splitNumber: 3,
      axisLabel: { formatter: v => human(v) },
    });
    // the names stand left of the bars, the values right of them, where no interval crosses them
    yAxis.push(
      { gridIndex: i, type: "category", data: names },
      {
        gridIndex: i,
        type: "category",
        position: "right",
        data: values.map(v => +v.toPrecision(4)).map(String),
        axisLine: { show: false },
        axisTick: { show: false },
      },
    );
    series.push({
      type: "bar",
      name,
      xAxisIndex: i,
      yAxisIndex: 2 * i,
      data: values,
      barWidth: "62%",
      color: PALETTE[i % PALETTE.length],
    });
    if (interval)
      series.push({
        type: "custom",
        xAxisIndex: i,
        yAxisIndex: 2 * i,
        silent: true,
        z: 5,
        data: rows.map((e, k) => [...interval(e), k]),
        encode: { x: [0, 1], y: 2 },
        renderItem: (_, api) => {
          const [a, b] = [0, 1].map(k => api.coord([api.value(k), api.value(2)])),
            line = (x1, y1, x2, y2) => ({
              type: "line",
              shape: { x1, y1, x2, y2 },
              style: { stroke: css("--fg"), lineWidth: 1.4 },
            });
          return {
            type: "group",
            children: [line(a[0], a[1], b[0], b[1]), ...[a, b].map(p => line(p[0], p[1] - 4, p[0], p[1] + 4))],
          };
        },
      });
  });
  return {
    grid,
    xAxis,
    yAxis,
    series,
    tooltip: { formatter: p => p.seriesType === "bar" && tip(equalLines(rows[p.dataIndex])) },
  };
}
function equalLines(e) {
  return [
    `${e.pair} in every layer, unit for ${e.pairs.map(pairText).join(", ")}`,
    `compute units: ${human(e.array_mm2, "mm2")}, ${human(e.array_j, "J")}`,
    `chip: ${human(e.area_mm2, "mm2")} (${human(e.area_low_mm2)} to ${human(e.area_high_mm2)})`,
    ...Object.keys(e.quality).map(t => {
      const r = equalQuality(t),
        f = shown[r.kind],
        q = e.quality[t];
      return `${r.label}: ${human(f(q.value), r.unit)} (${[f(q.low), f(q.high)]
        .sort((a, b) => a - b)
        .map(v => human(v))
        .join(" to ")}); ${human(e.latency_s[t], "s")}, ${human(e.energy_j[t], "J")}`;
    }),
  ];
}
function drawFormats() {
  if (!(T.equal_size ?? []).length) return ($("formats").hidden = true);
  $("formats-said").replaceChildren(...D.equal_size.map(s => el("li", {}, s)));
  draw(
    "formats-plot",
    `Uniform formats on one chip, that of the balanced design but for its compute units: area, energy and quality. ${D.equal_size.join(" ")}`,
    formatsOption,
  ).resize();
}
function formatsControls() {
  if (!(T.equal_size ?? []).length) return;
  $("formats-controls").append(
    el(
      "label",
      {},
      el("input", { type: "checkbox", id: "formats-all", onchange: drawFormats }),
      " every uniform format that was measured",
    ),
  );
  const tasks = Object.keys(T.equal_size[0].quality);
  more(
    "formats-more",
    "formats",
    () => [
      "formats",
      "unit for",
      "compute units, mm2",
      "chip, mm2",
      "chip low, mm2",
      "chip high, mm2",
      "energy of the units, J",
      ...tasks.flatMap(t => [
        `${t} ${equalQuality(t).label} ${equalQuality(t).unit}`,
        `${t} low`,
        `${t} high`,
        `${t} latency, s`,
        `${t} energy, J`,
      ]),
    ],
    () =>
      T.equal_size.map(e => [
        e.pair,
        e.pairs.join("+"),
        e.array_mm2,
        e.area_mm2,
        e.area_low_mm2,
        e.area_high_mm2,
        e.array_j,
        ...tasks.flatMap(t => {
          const f = shown[equalQuality(t).kind],
            q = e.quality[t];
          return [f(q.value), ...[f(q.low), f(q.high)].sort((a, b) => a - b), e.latency_s[t], e.energy_j[t]];
        }),
      ]),
    "All uniform formats that were measured, on the balanced design's chip with units of their own.",
  );
}

// ---- breakdown

function costParts(d) {
  const time = {};
  for (const [task, c] of Object.entries(d.cost.tasks))
    for (const l of c.layers) time[`${task}: ${l.bound}`] = (time[`${task}: ${l.bound}`] ?? 0) + l.latency_s;
  return {
    area: Object.fromEntries(d.cost.components.map(c => [c.name, c.area_mm2])),
    energy: Object.fromEntries(d.cost.components.map(c => [c.name, c.energy_j])),
    time,
  };
}
const KINDS = [
  ["area", "area, mm2", "mm2"],
  ["energy", "energy of one result of each network", "J"],
  ["time", "time by what bounds it", "s"],
];
function costsOption() {
  const designs = [...pinned()].reverse(),
    names = designs.map(d => letter(d.id)),
    parts = designs.map(costParts),
    grid = [],
    xAxis = [],
    yAxis = [],
    series = [],
    rows = 26 * designs.length + 14;
  $("costs-plot").style.height = `${3 * (rows + 62) + 84}px`;
  KINDS.forEach(([kind, label, unit], i) => {
    grid.push({ left: 34, right: 20, top: 74 + i * (rows + 62), height: rows });
    xAxis.push({
      gridIndex: i,
      type: "value",
      name: label,
      nameLocation: "start",
      nameGap: 0,
      nameTextStyle: { align: "left", verticalAlign: "bottom", padding: [0, 0, rows + 6, 0], fontWeight: 600 },
      axisLabel: { formatter: v => human(v, unit) },
    });
    yAxis.push({ gridIndex: i, type: "category", data: names });
    for (const part of new Set(parts.flatMap(p => Object.keys(p[kind]))))
      series.push({
        type: "bar",
        name: part,
        stack: kind,
        xAxisIndex: i,
        yAxisIndex: i,
        barWidth: "70%",
        data: parts.map(p => p[kind][part] ?? 0),
        itemStyle: { borderColor: css("--card"), borderWidth: 1 },
      });
  });
  return {
    grid,
    xAxis,
    yAxis,
    series,
    legend: { top: 0, type: narrow() ? "scroll" : "plain" },
    tooltip: {
      formatter: p => {
        const [kind, label, unit] = KINDS[p.componentIndex === undefined ? 0 : kindOf(p.seriesIndex, series)],
          d = designs[p.dataIndex],
          c = d.cost.components.find(x => x.name === p.seriesName),
          total = Object.values(costParts(d)[kind]).reduce((s, v) => s + v, 0);
        return tip([
          `${letter(d.id)}: ${nameOf(d)}`,
          `${p.seriesName}: ${human(p.value, unit)}, ${((100 * p.value) / total).toFixed(0)} % of ${label}`,
          kind === "area" && c?.area_low_mm2 !== undefined
            ? `interval ${human(c.area_low_mm2)} to ${human(c.area_high_mm2)} mm2`
            : "",
        ]);
      },
    },
  };
}
const kindOf = (index, series) => series[index].xAxisIndex;
function drawCosts() {
  $("costs").hidden = !CHIP || !pinned().length;
  if ($("costs").hidden) return;
  draw(
    "costs-plot",
    `Area, energy and time of the pinned designs by component. ${pinned()
      .map(d => `${letter(d.id)}: ${human(d.cost.area_mm2, "mm2")}, ${human(d.cost.energy_j, "J")}`)
      .join("; ")}.`,
    costsOption,
  ).resize();
  drawRoofline();
}
function costsMore() {
  more(
    "costs-more",
    "costs",
    () => ["design", "kind", "part", "value", "unit"],
    () =>
      pinned().flatMap(d =>
        KINDS.flatMap(([kind, , unit]) =>
          Object.entries(costParts(d)[kind]).map(([part, v]) => [d.id, kind, part, v, unit]),
        ),
      ),
    "Components of the pinned designs.",
  );
  more(
    "roofline-more",
    "roofline",
    () => ["design", "network", "layer", "MACs per byte of DRAM", "MACs per second", "bound by", "utilisation"],
    () =>
      pinned().flatMap(d =>
        d.cost.tasks[state.task].layers
          .filter(l => l.dram_bytes > 0)
          .map(l => [d.id, state.task, l.name, l.macs / l.dram_bytes, l.macs / l.latency_s, l.bound, l.utilisation]),
      ),
    "One row a layer.",
  );
}

// ---- roofline

function rooflineOption() {
  const designs = pinned().filter(d => D.roofs[d.id]),
    series = [];
  const points = d => d.cost.tasks[state.task].layers.filter(l => l.dram_bytes > 0 && l.latency_s > 0 && l.macs > 0);
  const xs = designs.flatMap(d => points(d).map(l => l.macs / l.dram_bytes)),
    low = 10 ** Math.floor(Math.log10(Math.min(...xs, 1))),
    high = 10 ** Math.ceil(Math.log10(Math.max(...xs, 10)));
  designs.forEach((d, n) => {
    const at = state.pins.indexOf(d.id),
      { peak, bytes } = D.roofs[d.id],
      knee = Math.min(Math.max(peak / bytes, low), high),
      colour = PALETTE[at];
    series.push({
      type: "line",
      name: `${letter(d.id)}: roof`,
      symbol: "none",
      silent: true,
      color: colour,
      lineStyle: { width: 2, type: ["solid", "dashed", "dotted"][n] },
      data: [
        [low, low * bytes],
        [knee, Math.min(peak, knee * bytes)],
        [high, Math.min(peak, high * bytes)],
      ],
    });
    series.push({
      type: "scatter",
      name: `${letter(d.id)}: layers`,
      symbol: PIN_SYMBOLS[at],
      symbolSize: 9,
      color: colour,
      itemStyle: { opacity: 0.75 },
      data: points(d).map(l => ({ value: [l.macs / l.dram_bytes, l.macs / l.latency_s], layer: l })),
    });
  });
  const axis = (name, gap) => ({
    type: "log",
    name,
    nameLocation: "middle",
    nameGap: gap,
    axisLabel: { formatter: v => human(v, "count") },
  });
  return {
    grid: { left: narrow() ? 66 : 86, right: 20, top: 46, bottom: 56 },
    legend: { top: 0 },
    xAxis: axis("MACs per byte from DRAM", 32),
    yAxis: axis("MACs per second", narrow() ? 50 : 66),
    series,
    tooltip: {
      formatter: p =>
        p.data.layer &&
        tip([
          p.seriesName.replace(": layers", ""),
          p.data.layer.name,
          `${pairText(p.data.layer.pair)}, ${p.data.layer.kind}`,
          `bound by ${p.data.layer.bound}, ${(100 * p.data.layer.utilisation).toFixed(0)} % of the peak of its pair`,
        ]),
    },
  };
}
function drawRoofline() {
  const some = pinned().some(d => D.roofs[d.id]);
  for (const id of ["roofline-plot", "roofline-more", "roofline-controls"]) $(id).hidden = !some;
  if (!some || !CHIP) return;
  $("roofline-controls").replaceChildren(
    el(
      "span",
      { class: "hint" },
      `Layers of ${state.task} (the network is chosen above); the roof is one product a lane and cycle, and the sustained bandwidth of the DRAM. A pair of few bits may go above it on units with several products a lane.`,
    ),
  );
  draw("roofline-plot", `Roofline of the layers of ${state.task} on the chips of the pinned designs.`, rooflineOption);
}
