// The network layer by layer: formats of the pinned designs, sensitivity, predicted loss and share of the cost, one axis.

const layersOf = task => T.tasks[task].layers;
function lossOf(task, layer, formats) {
  return T.sensitivities?.[task]?.[layer]?.[pairOf(formats)];
}
function worstLoss(task, layer) {
  const all = Object.values(T.sensitivities?.[task]?.[layer] ?? {});
  return all.length ? Math.max(...all) : undefined;
}
const least = values => 10 ** Math.floor(Math.log10(Math.min(...values.filter(v => v > 0)))); // a bar begins below all
const shortName = (name, most = 24) => {
  const text = name.replace(/^(model|module|transformer)\.(layers\.)?/, "");
  return text.length > most ? `…${text.slice(1 - most)}` : text;
};
function layersOption() {
  const task = state.task,
    layers = layersOf(task),
    designs = pinned(),
    names = layers.map(l => l.name);
  const costs = designs.map(d => new Map(d.cost.tasks[task].layers.map(l => [l.name, l])));
  const has = Object.keys(T.sensitivities?.[task] ?? {}).length > 0,
    strips = designs.length;
  const grids = [],
    xs = [],
    ys = [],
    series = [],
    left = 58,
    right = 14;
  let top = 58;
  const add = (height, name, y) => {
    const i = grids.length;
    grids.push({ left, right, top, height });
    xs.push({
      type: "category",
      data: names,
      gridIndex: i,
      axisLabel: { show: false },
      axisTick: { show: false },
      splitLine: { show: false },
    });
    ys.push({
      gridIndex: i,
      name,
      nameLocation: "end",
      nameGap: 12,
      nameTextStyle: { align: "left", padding: [0, 0, 0, -left + 4], fontWeight: 600 },
      splitNumber: 3,
      ...y,
    });
    top += height + 40;
    return i;
  };
  const used = [...HUES.keys()].filter(f =>
    designs.some(d => Object.values(d.assignments[task]).some(x => rolesOf(x).includes(f))),
  );
  designs.forEach((d, n) => {
    const grid = add(54, `${letter(d.id)}: formats, weights above activations`, {
      type: "value",
      max: 2,
      axisLabel: { show: false },
      splitLine: { show: false },
    });
    for (const [role, text] of [
      [1, "activation"],
      [0, "weight"],
    ])
      for (const f of used)
        series.push({
          type: "bar",
          name: f,
          stack: `formats${n}`,
          xAxisIndex: grid,
          yAxisIndex: grid,
          barWidth: "96%",
          color: HUES.get(f),
          itemStyle: {
            opacity: role ? 0.72 : 1,
            borderColor: css("--card"),
            borderWidth: layers.length < 90 ? 0.6 : 0,
          },
          data: names.map(l => (rolesOf(d.assignments[task][l])[role] === f ? 1 : 0)),
          id: `${n}${text}${f}`,
          label: {
            show: layers.length <= 26 && !narrow(),
            position: "inside",
            rotate: 90,
            fontSize: 9,
            color: "#fff",
            textBorderColor: "#000",
            textBorderWidth: 2,
            formatter: p => (p.value ? f.replace("_e", "\n") : ""),
          },
        });
  });
  if (has) {
    const losses = layers.map(l => worstLoss(task, l.name) ?? "-"),
      plain = { xAxisIndex: strips, yAxisIndex: strips };
    add(74, "sensitivity: predicted loss in the worst pair", {
      type: "log",
      startValue: least(losses),
      axisLabel: { formatter: v => v.toExponential(0) },
    });
    series.push({
      type: "bar",
      name: "sensitivity: loss in the worst pair allowed",
      ...plain,
      data: losses,
      color: css("--soft"),
      barWidth: "80%",
    });
    const grid = add(84, "error: predicted loss in the chosen pair", {
      type: "log",
      axisLabel: { formatter: v => v.toExponential(0) },
    });
    designs.forEach((d, n) =>
      series.push({
        type: "scatter",
        name: `loss of ${letter(d.id)}`,
        symbol: PIN_SYMBOLS[n],
        symbolSize: layers.length > 120 ? 5 : 9,
        color: PALETTE[n],
        xAxisIndex: grid,
        yAxisIndex: grid,
        data: names.map(l => {
          const v = lossOf(task, l, d.assignments[task][l]);
          return v > 0 ? v : "-";
        }),
      }),
    );
  }
  const share = (label, get) => {
    const grid = add(70, `share of ${label}, %`, { type: "value", min: 0 });
    designs.forEach((d, n) => {
      const total = layers.reduce((s, l) => s + (get(costs[n].get(l.name)) || 0), 0) || 1;
      series.push({
        type: "bar",
        name: `${label} of ${letter(d.id)}`,
        xAxisIndex: grid,
        yAxisIndex: grid,
        color: PALETTE[n],
        data: layers.map(l => (100 * (get(costs[n].get(l.name)) || 0)) / total),
      });
    });
  };
  if (CHIP) {
    share("time", c => c?.latency_s);
    share("energy", c => c?.energy_j);
  } else share("MACs", c => c?.macs);
  xs.at(-1).axisLabel = { show: true, rotate: 60, fontSize: 10, hideOverlap: true, formatter: name => shortName(name) };
  const to = Math.min(100, state.layersTo ?? 100);
  $("layers-plot").style.height = `${top + 150}px`;
  return {
    grid: grids,
    xAxis: xs,
    yAxis: ys,
    series,
    legend: { top: 0, data: used },
    axisPointer: { link: [{ xAxisIndex: "all" }] },
    dataZoom: [
      {
        type: "slider",
        xAxisIndex: xs.map((_, i) => i),
        bottom: 4,
        height: 22,
        start: state.layersFrom,
        end: to,
        labelFormatter: "",
      },
      { type: "inside", xAxisIndex: xs.map((_, i) => i), zoomOnMouseWheel: "ctrl", moveOnMouseWheel: false },
    ],
    tooltip: {
      trigger: "axis",
      axisPointer: { type: "shadow" },
      formatter: p => tip(layerLines(task, names[p[0].dataIndex])),
    },
  };
}
function layerLines(task, name) {
  const facts = layersOf(task).find(l => l.name === name),
    worst = worstLoss(task, name),
    lines = [
      `${name} (${facts.kind})`,
      `${human(facts.macs, "count")} MACs, ${human(facts.parameters, "count")} parameters`,
    ];
  if (worst !== undefined) lines.push(`predicted loss in its worst pair: ${human(worst)}`);
  for (const d of pinned()) {
    const f = d.assignments[task][name],
      c = d.cost.tasks[task].layers.find(l => l.name === name),
      loss = lossOf(task, name, f),
      [w, a] = rolesOf(f);
    lines.push(
      `${letter(d.id)}: ${w} : ${a}${f.method ? ` (weight by ${f.method})` : ""}${loss === undefined ? "" : `, predicted loss ${human(loss)}`}${CHIP && c ? `; ${human(c.latency_s, "s")}, bound by ${c.bound}, ${human(c.energy_j, "J")}` : ""}`,
    );
  }
  return lines;
}
function drawLayers() {
  if (!pinned().length) return ($("layers").hidden = true);
  $("layers").hidden = false;
  const task = state.task,
    n = layersOf(task).length;
  const chart = draw(
    "layers-plot",
    `${n} layers of ${task} in order. For each pinned design the formats of weights (above) and activations (below), then how sensitive each layer is, the predicted loss in the chosen formats, and the share of time and energy. The numbers are in the table below.`,
    layersOption,
  );
  chart.resize();
  chart.off("datazoom");
  chart.on("datazoom", () => {
    const z = chart.getOption().dataZoom[0];
    [state.layersFrom, state.layersTo] = [z.start, z.end];
  });
}
function zoomLayers(factor, shift) {
  const from = state.layersFrom,
    to = state.layersTo ?? 100,
    middle = (from + to) / 2 + shift * (to - from),
    half = Math.max((to - from) * factor, 200 / layersOf(state.task).length) / 2;
  state.layersFrom = Math.max(0, Math.min(middle - half, 100 - 2 * half));
  state.layersTo = Math.min(100, state.layersFrom + 2 * half);
  drawLayers();
}
function layersControls() {
  const tasks = Object.keys(T.tasks),
    button = (text, label, run) => el("button", { "aria-label": label, onclick: run }, text);
  const pick = chooser(
    "network",
    tasks.map(t => [t, t]),
    state.task,
    v => {
      state.task = v;
      state.layersFrom = 0;
      state.layersTo = 100;
      drawLayers();
      drawRoofline();
      for (const each of tables) each();
    },
  );
  pick.querySelector("select").id = "layers-task";
  $("layers-controls").append(
    pick,
    button("+", "zoom in", () => zoomLayers(0.5, 0)),
    button("−", "zoom out", () => zoomLayers(2, 0)),
    button("←", "earlier layers", () => zoomLayers(1, -0.5)),
    button("→", "later layers", () => zoomLayers(1, 0.5)),
    el("span", { class: "hint" }, "Keys + - and the arrows do the same in the figure."),
  );
  $("layers-plot").addEventListener("keydown", e => {
    const run = { "+": [0.5, 0], "-": [2, 0], ArrowLeft: [1, -0.25], ArrowRight: [1, 0.25] }[e.key];
    if (run) {
      zoomLayers(...run);
      e.preventDefault();
    }
  });
  more(
    "layers-more",
    "layers",
    () => [
      "network",
      "layer",
      "kind",
      "MACs",
      "parameters",
      "loss in the worst pair",
      ...pinned().flatMap(d =>
        ["formats", "predicted loss", "latency, s", "energy, J", "DRAM, B", "bound by"].map(
          k => `${letter(d.id)} ${k}`,
        ),
      ),
    ],
    () =>
      layersOf(state.task).map(l => [
        state.task,
        l.name,
        l.kind,
        l.macs,
        l.parameters,
        worstLoss(state.task, l.name),
        ...pinned().flatMap(d => {
          const c = d.cost.tasks[state.task].layers.find(x => x.name === l.name),
            f = d.assignments[state.task][l.name];
          return [pairOf(f), lossOf(state.task, l.name, f), c?.latency_s, c?.energy_j, c?.dram_bytes, c?.bound];
        }),
      ]),
    "One row a layer, in order; formats as weight:activation.",
  );
}
