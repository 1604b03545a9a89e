// The title row, growth and provenance, and the start of the page.

const metricList = metrics =>
  metrics.length
    ? el(
        "ul",
        {},
        metrics.map(([name, value]) => el("li", {}, el("b", {}, name), ` ${value}`)),
      )
    : null;
function drawFound() {
  const work = MEASURED
    ? `${F.evaluations.toLocaleString("en")} evaluations`
    : `${(T.designs_priced ?? 0).toLocaleString("en")} designs priced`;
  $("searched").textContent =
    `${Object.keys(T.tasks).join(" and ")}${CHIP ? ` on ${T.hardware_count.toLocaleString("en")} chips` : ", formats alone"}; ${work}; ${F.front_size.toLocaleString("en")} designs on the front; ${F.created.slice(0, 10)}.`;
  $("lead").textContent = D.lead;
  $("cards").append(
    ...D.cards.map(c =>
      el(
        "div",
        { class: "card" },
        el("h3", {}, c.title),
        el("p", { class: "big" }, c.value, " ", el("span", { class: "unit" }, c.unit)),
        c.lines.map(l => el("p", {}, l)),
        metricList(c.metrics.slice(0, 4)),
        c.metrics.length > 4
          ? el(
              "details",
              {},
              el("summary", { class: "hint" }, `${c.metrics.length - 4} more metrics`),
              metricList(c.metrics.slice(4)),
            )
          : null,
        c.rows.length
          ? el(
              "dl",
              {},
              c.rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]),
            )
          : null,
      ),
    ),
  );
  $("sentences").append(...D.summary.map(s => el("li", {}, s)));
  $("assumptions").append(...D.assumptions.map(s => el("li", {}, s)));
}
function contents() {
  $("contents").append(
    ...[...document.querySelectorAll("main > section")]
      .filter(s => !s.hidden)
      .map(s => el("a", { href: `#${s.id}` }, s.querySelector("h2").textContent.split("?")[0])),
  );
}
function growthOption() {
  return {
    grid: { left: narrow() ? 66 : 86, right: 20, top: 20, bottom: 52 },
    xAxis: { type: "value", min: 0, name: "measured candidates", nameLocation: "middle", nameGap: 30 },
    yAxis: hypervolumeAxis(),
    series: [
      {
        type: "line",
        name: "hypervolume",
        step: "end",
        data: T.history.map(p => [p.evaluations, p.hypervolume]),
        symbolSize: 6,
        lineStyle: { width: 2 },
      },
    ],
    tooltip: {
      trigger: "axis",
      formatter: p => tip([`${p[0].value[0]} evaluations`, `hypervolume ${human(p[0].value[1])}`]),
    },
  };
}
function drawGrowth() {
  if (!T.history.length) return ($("growth").hidden = true);
  draw(
    "growth-plot",
    `Hypervolume of the front against measured candidates: ${human(T.history[0].hypervolume)} after ${T.history[0].evaluations}, ${human(T.history.at(-1).hypervolume)} after ${T.history.at(-1).evaluations}.`,
    growthOption,
  );
  more(
    "growth-more",
    "growth",
    () => ["evaluations", "hypervolume"],
    () => T.history.map(p => [p.evaluations, p.hypervolume]),
    "The hypervolume that the front dominates, bounded by the reference point.",
  );
}
function drawOrigin() {
  const facts = [
    ["made", F.created],
    ["seed", F.seed],
    ["space", F.space_hash],
    ["code that measures", F.code_version],
    ["cost model", F.cost_version],
    ...Object.entries(F.made_with ?? {}),
    ["reference point", F.objectives.map((o, i) => `${o.name} ${human(F.reference_point[i])}`).join(", ")],
    ...Object.entries(T.measured).map(([t, n]) => [`evaluations of ${t}`, `${n} run, the others read from the cache`]),
    ...Object.entries(T.timings).map(([stage, s]) => [`time of ${stage}`, human(s, "s")]),
    ["peak memory", human(T.peak_memory_bytes, "B")],
    ...Object.entries(F.tasks).map(([t, x]) => [
      t,
      `${x.task}; ${x.metric}; data ${x.data}; ranges ${x.ranges}${x.prepared?.length ? `; prepared by ${x.prepared.join(", ")}` : ""}`,
    ]),
    ["failed", T.failures.length ? T.failures.join("; ") : "none"],
    ["to reproduce", D.reproduce],
  ];
  $("origin-box").append(
    el(
      "dl",
      { class: "facts" },
      facts
        .filter(([, v]) => v !== undefined && v !== "")
        .flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, String(v))]),
    ),
  );
}
function startingAxes() {
  const names = F.objectives.map(o => o.name),
    qualities = names.filter(n => n.endsWith(".quality")),
    costs = names.filter(n => !n.endsWith(".quality"));
  state.axes = MEASURED
    ? { x: costs[0] ?? names[0], y: qualities[0] ?? names[1] ?? names[0], colour: costs.at(-1) ?? names.at(-1) }
    : { x: costs.at(-1), y: costs[0], colour: costs[1] ?? costs[0] };
}
async function start() {
  D = await unpacked();
  [F, T, READ] = [D.front, D.details, D.readings];
  BY_ID = new Map([...T.baselines, ...F.designs].map(d => [d.id, d]));
  MEASURED = F.designs.some(d => Object.keys(d.quality).length);
  CHIP = F.hardware_given ?? true;
  HUES = new Map(
    [...new Set([...F.designs, ...T.baselines].flatMap(d => [...formatsOf(d)]))]
      .sort()
      .map((n, i) => [n, PALETTE[i % PALETTE.length]]),
  );
  state.task = Object.keys(T.tasks)[0];
  state.pins = [T.chosen];
  const int8 = T.baselines.find(b => b.label === "uniform int8:int8");
  if (int8 && int8.id !== T.chosen) state.pins.push(int8.id); // the choice that others are compared with
  makeFields();
  startingAxes();
  document.querySelector("main").hidden = false;
  $("waiting").remove();
  $("front-hint").textContent =
    `Every filled mark is a ${MEASURED ? "measured" : "priced"} design; hollow squares are ${MEASURED ? "uniform formats" : "the balanced designs of one choice of formats"}${F.designs.some(alike) ? "; pale dashed ones are as good as a cheaper one, within noise" : ""}.`;
  frontControls();
  formatsControls();
  layersControls();
  drawFound();
  showScale();
  watchers.push(drawFront, drawPinned, drawLayers, drawCosts, drawUniform, drawAll);
  drawFront();
  // the figures further down are drawn one by one, so that those above can be used at once
  for (const each of [
    drawPinned,
    drawFormats,
    drawLayers,
    drawCosts,
    drawExamples,
    drawUniform,
    drawAll,
    drawGrowth,
    drawOrigin,
  ]) {
    await new Promise(resolve => setTimeout(resolve));
    each();
  }
  contents();
  frontMore();
  costsMore();
  $("axis-colour").addEventListener("change", showScale);
  $("patterns").addEventListener("change", redraw);
  let waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(redraw, 120);
  });
  for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", redraw);
  document.body.dataset.ready = "yes";
}
start().catch(error => {
  console.error(error);
  ($("waiting") ?? $("searched")).textContent =
    `This page could not be drawn: ${error.message}. report.md beside it holds the same as text.`;
});
