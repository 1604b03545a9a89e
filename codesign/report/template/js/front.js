// The front: axes, filters, a brush, the non-dominated line; the pointer or the arrow keys show a design, click or Enter pin it.

function nondominated(points, fx, fy) {
  // The staircase of the best points in the two axes shown.
  const sx = fx.better === "lower" ? 1 : -1,
    sy = fy.better === "lower" ? 1 : -1;
  const sorted = points
    .map(d => [fx.get(d), fy.get(d)])
    .filter(p => p.every(Number.isFinite))
    .sort((a, b) => sx * (a[0] - b[0]) || sy * (a[1] - b[1]));
  let best = Infinity;
  return sorted.filter(([, y]) => sy * y < best && ((best = sy * y), true));
}
function logarithmic(field, designs) {
  const values = designs.map(field.get).filter(Number.isFinite);
  return values.length > 0 && Math.min(...values) > 0;
}
function wanted(axis) {
  // whether an axis is logarithmic: as chosen, or by its span
  const field = FIELDS.get(state.axes[axis]),
    chosen = state.axes[`${axis}Log`],
    values = F.designs.map(field.get).filter(Number.isFinite);
  if (!logarithmic(field, [...F.designs, ...T.baselines])) return false;
  return chosen ?? Math.max(...values) / Math.min(...values) > 12;
}
function frontOption() {
  const [fx, fy, fc] = ["x", "y", "colour"].map(a => FIELDS.get(state.axes[a])),
    designs = visible();
  const all = F.designs.map(fc.get).filter(Number.isFinite),
    low = Math.min(...all),
    high = Math.max(...all),
    logC = low > 0 && high / low > 12;
  const at = v => (logC ? Math.log(v / low) / (Math.log(high / low) || 1) : (v - low) / (high - low || 1));
  const point = (d, extra = {}) => ({ value: [fx.get(d), fy.get(d)], id: d.id, ...extra });
  const series = Object.entries(FAMILIES)
    .map(([kind, [symbol, name]]) => ({
      type: "scatter",
      name,
      symbol,
      symbolSize: 13,
      emphasis: { scale: 1.4 },
      data: designs
        .filter(d => family(d) === kind)
        .map(d =>
          point(d, {
            itemStyle: {
              color: viridis(at(fc.get(d))),
              borderColor: css("--fg"),
              borderWidth: alike(d) ? 1 : 0.4,
              borderType: alike(d) ? "dashed" : "solid",
              opacity: state.brushed && !state.brushed.has(d.id) ? 0.15 : alike(d) ? 0.45 : 0.95,
            },
          }),
        ),
    }))
    .filter(s => s.data.length);
  const uniform = T.baselines.filter(b => state.filters.off.size === 0 || passes(b));
  series.push({
    type: "scatter",
    name: MEASURED ? "uniform formats" : "one choice of formats",
    symbol: "rect",
    symbolSize: 11,
    data: uniform.map(b =>
      point(b, {
        text: b.label
          .replace("uniform ", "")
          .split("+")[0]
          .split(":")
          .filter((t, i, l) => l.indexOf(t) === i)
          .join(":"),
      }),
    ),
    itemStyle: { color: "transparent", borderColor: css("--pick"), borderWidth: 2 },
    label: { show: !narrow(), position: "right", color: css("--soft"), fontSize: 11, formatter: p => p.data.text },
    labelLayout: { hideOverlap: true },
  });
  if (D.trials && trialColumn(fx) && trialColumn(fy))
    series.unshift({
      type: "scatter",
      name: "every measured candidate",
      symbol: "circle",
      symbolSize: 3,
      silent: true,
      large: true,
      z: 1,
      data: D.trials.values.map(row => [trialValue(fx, row), trialValue(fy, row)]),
      itemStyle: { color: css("--soft"), opacity: 0.5 },
    });
  series.push({
    type: "line",
    name: "best in these two axes",
    step: fx.better === "lower" ? "end" : "start",
    symbol: "none",
    silent: true,
    z: 1,
    data: nondominated(designs, fx, fy),
    lineStyle: { color: css("--fg"), width: 1.2, type: "dashed" },
  });
  series.push({
    type: "scatter",
    name: "pinned",
    symbol: "circle",
    symbolSize: 26,
    silent: true,
    z: 9,
    data: pinned().map(d => point(d)),
    itemStyle: { color: "transparent", borderColor: css("--pick"), borderWidth: 3 },
    label: {
      show: true,
      position: "top",
      fontSize: 15,
      fontWeight: 700,
      color: css("--pick"),
      formatter: p => letter(p.data.id),
    },
  });
  const axis = (f, k) => ({
    type: wanted(k) ? "log" : "value",
    scale: true,
    name: `${measure(f)} (${f.better} is better)`,
    nameLocation: "middle",
    axisLabel: { formatter: v => human(v, PREFIXED.has(f.unit) ? f.unit : "") },
  });
  return {
    grid: { left: narrow() ? 66 : 86, right: narrow() ? 12 : 40, top: 74, bottom: 56 },
    legend: { top: 0 },
    series,
    xAxis: { ...axis(fx, "x"), nameGap: 32 },
    yAxis: { ...axis(fy, "y"), nameGap: narrow() ? 50 : 66 },
    brush: {
      xAxisIndex: 0,
      yAxisIndex: 0,
      brushMode: "single",
      throttleType: "debounce",
      throttleDelay: 150,
      outOfBrush: { colorAlpha: 1 },
      brushStyle: { borderColor: css("--pick"), color: "rgba(200,120,40,.12)" },
    },
    toolbox: { show: false },
    tooltip: { formatter: p => p.data?.id && tip(hoverLines(BY_ID.get(p.data.id), fx, fy, fc)) },
  };
}
const trialColumn = f => D.trials.columns.includes(f.key);
const trialValue = (f, row) => shown[READ[f.key].kind](row[D.trials.columns.indexOf(f.key)]);
function hoverLines(d, ...fields) {
  const lines = F.objectives.map(o => FIELDS.get(o.name)),
    seen = [...new Set([...fields, ...lines])];
  return [
    nameOf(d),
    CHIP
      ? `unit for ${unitOf(d)}; ${d.accelerator.rows} x ${d.accelerator.columns}, ${d.accelerator.sram_bytes / 1024} KiB`
      : "",
    ...seen.map(f => `${f.label}: ${valueText(f, d)}`),
    alike(d) ? "as good as a cheaper one, within noise" : "",
    state.pins.includes(d.id) ? "click: unpin" : "click: pin for comparison",
  ];
}
function drawFront() {
  const designs = visible(),
    [fx, fy] = ["x", "y"].map(a => FIELDS.get(state.axes[a]));
  const said = `Front of ${designs.length} of ${F.designs.length} reported designs: ${fy.label} against ${fx.label}. Arrow keys go from design to design, Enter pins one. The numbers are in the table below.`;
  const chart = draw("front-plot", said, frontOption);
  $("front-plot").setAttribute("role", "application");
  chart.off("click");
  chart.on("click", p => p.data?.id && pin(p.data.id));
  chart.off("brushEnd");
  chart.on("brushEnd", p => brushed(p.areas));
  for (const each of tables) each();
  $("filter-count").textContent =
    designs.length === F.designs.length ? "" : `(${designs.length} of ${F.designs.length} designs pass)`;
}
function brushed(areas) {
  const [[x0, x1], [y0, y1]] = areas[0]?.coordRange ?? [[], []],
    [fx, fy] = ["x", "y"].map(a => FIELDS.get(state.axes[a]));
  const inside = (v, a, b) => v >= Math.min(a, b) && v <= Math.max(a, b);
  state.brushed = areas.length
    ? new Set(
        visible()
          .filter(d => inside(fx.get(d), x0, x1) && inside(fy.get(d), y0, y1))
          .map(d => d.id),
      )
    : null;
  brushing(false);
  say(
    state.brushed
      ? `${state.brushed.size} designs in the selected area; the table of all designs shows them alone.`
      : "No area is selected.",
  );
  drawFront();
  drawAll();
}
function brushing(on) {
  charts.get("front-plot").chart.dispatchAction({
    type: "takeGlobalCursor",
    key: "brush",
    brushOption: on ? { brushType: "rect", brushMode: "single" } : { brushType: false },
  });
  $("brush").setAttribute("aria-pressed", String(on));
}
const say = text => ($("front-said").textContent = text);

function frontControls() {
  const options = [...FIELDS].map(([k, f]) => [k, f.label]);
  const axis = (k, label) => {
    const log = el("input", { type: "checkbox", id: `log-${k}` });
    const tell = () => {
      const can = logarithmic(FIELDS.get(state.axes[k]), [...F.designs, ...T.baselines]);
      log.disabled = !can;
      log.checked = wanted(k);
    };
    log.addEventListener("change", () => {
      state.axes[`${k}Log`] = log.checked;
      drawFront();
    });
    const select = chooser(label, options, state.axes[k], v => {
      state.axes[k] = v;
      state.axes[`${k}Log`] = undefined;
      state.brushed = null;
      tell();
      drawFront();
      drawAll();
      frontMore();
    });
    select.querySelector("select").id = `axis-${k}`;
    if (k !== "colour") tell();
    return [select, k === "colour" ? el("span", { id: "scale" }) : el("label", {}, log, " log")];
  };
  $("axes").append(
    ...axis("x", "across"),
    ...axis("y", "up"),
    ...axis("colour", "colour"),
    el(
      "button",
      {
        id: "brush",
        "aria-pressed": "false",
        onclick: () => brushing($("brush").getAttribute("aria-pressed") !== "true"),
      },
      "Select an area",
    ),
    el(
      "button",
      {
        id: "clear",
        onclick: () => {
          charts.get("front-plot").chart.dispatchAction({ type: "brush", areas: [] });
          brushed([]);
        },
      },
      "Clear selection",
    ),
  );
  filterControls();
  $("front-plot").addEventListener("keydown", walk);
}
function walk(event) {
  // from design to design, in the order of the axis across
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key],
    fx = FIELDS.get(state.axes.x),
    fy = FIELDS.get(state.axes.y);
  const row = visible().sort((a, b) => fx.get(a) - fx.get(b)),
    at = row.findIndex(d => d.id === state.focused);
  if (event.key === "Enter" && at >= 0) pin(state.focused);
  else if (event.key === "Escape") state.focused = null;
  else if (step === undefined || !row.length) return;
  else state.focused = row[at < 0 ? 0 : Math.min(Math.max(at + step, 0), row.length - 1)].id;
  event.preventDefault();
  const d = BY_ID.get(state.focused),
    chart = charts.get("front-plot").chart;
  chart.dispatchAction({ type: "downplay" });
  if (!d) return chart.dispatchAction({ type: "hideTip" });
  const series = chart.getOption().series,
    s = series.findIndex(x => x.type === "scatter" && !x.silent && x.data.some(p => p.id === d.id)),
    i = s < 0 ? -1 : series[s].data.findIndex(p => p.id === d.id);
  if (i >= 0) for (const type of ["highlight", "showTip"]) chart.dispatchAction({ type, seriesIndex: s, dataIndex: i });
  say(
    `${hoverLines(d, fx, fy).slice(0, -1).filter(Boolean).join("; ")}${state.pins.includes(d.id) ? `; pinned as ${letter(d.id)}` : ""}`,
  );
}
function frontMore() {
  const names = () => [...FIELDS.keys()];
  more(
    "front-more",
    "front",
    () => [
      "id",
      "kind",
      "unit",
      "told_apart",
      ...names().map(n => `${FIELDS.get(n).label}${FIELDS.get(n).unit ? `, ${FIELDS.get(n).unit}` : ""}`),
    ],
    () =>
      [...visible(), ...T.baselines].map(d => [
        d.id,
        isUniform(d) ? d.label : "design",
        CHIP ? d.accelerator.pairs.join("+") : "",
        alike(d) ? 0 : 1,
        ...names().map(n => FIELDS.get(n).get(d)),
      ]),
    "Designs that pass the filters, and uniform formats, in every quantity that an axis can show.",
  );
}
function showScale() {
  const f = FIELDS.get(state.axes.colour),
    all = F.designs.map(f.get).filter(Number.isFinite);
  $("scale").replaceChildren(
    human(Math.min(...all), f.unit),
    el("i", {
      style: `display:inline-block;width:90px;height:11px;margin:0 6px;background:linear-gradient(90deg, ${VIRIDIS.map(s => `rgb(${s})`).join(", ")})`,
    }),
    human(Math.max(...all), f.unit),
  );
}
