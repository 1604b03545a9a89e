// The index over all nights: the trend with its intervals, and what each night gained and lost.

function trendOption() {
  const known = D.nights.filter(n => n.hypervolume !== null);
  const whisker = (_, api) => {
    const [a, b] = [1, 2].map(k => api.coord([api.value(0), api.value(k)]));
    const line = (x1, y1, x2, y2) => ({
      type: "line",
      shape: { x1, y1, x2, y2 },
      style: { stroke: css("--soft"), lineWidth: 2 },
    });
    return {
      type: "group",
      children: [line(a[0], a[1], b[0], b[1]), ...[a, b].map(p => line(p[0] - 5, p[1], p[0] + 5, p[1]))],
    };
  };
  return {
    grid: { left: narrow() ? 66 : 86, right: 24, top: 24, bottom: 56 },
    xAxis: {
      type: "category",
      data: known.map(n => n.created.slice(0, 16).replace("T", " ")),
      name: "night",
      nameLocation: "middle",
      nameGap: 32,
    },
    yAxis: hypervolumeAxis(),
    series: [
      {
        type: "line",
        name: "hypervolume",
        data: known.map(n => n.hypervolume),
        symbolSize: 9,
        lineStyle: { width: 2 },
      },
      {
        type: "custom",
        name: "95 % interval",
        silent: true,
        z: 1,
        data: known.map((n, i) => [i, n.low, n.high]),
        encode: { x: 0, y: [1, 2] },
        renderItem: whisker,
      },
    ],
    dataZoom: known.length > 20 ? [{ type: "slider", bottom: 2, height: 18 }] : [],
    tooltip: {
      trigger: "axis",
      formatter: p => {
        const n = known[p[0].dataIndex];
        return tip([
          n.created,
          `hypervolume ${human(n.hypervolume)} (${human(n.low)} to ${human(n.high)})`,
          n.verdict,
          n.gained.length + n.lost.length ? `${n.gained.length} gained, ${n.lost.length} lost` : "",
        ]);
      },
    },
  };
}
async function startNights() {
  D = await unpacked();
  T = { baselines: [] };
  const percent = v => `${v > 0 ? "+" : ""}${(100 * v).toFixed(2)} %`,
    link = (address, text) => (address ? { node: el("a", { href: address }, text), sort: text } : "");
  $("searched").textContent = `${D.nights.length} nights, the last of ${D.nights.at(-1).created.slice(0, 10)}.`;
  draw("trend-plot", `Hypervolume of ${D.nights.length} nights. The numbers are in the table below.`, trendOption);
  more(
    "trend-more",
    "trend",
    () => ["created", "evaluations", "hypervolume", "low", "high", "verdict", "gained", "lost"],
    () =>
      D.nights.map(n => [
        n.created,
        n.evaluations,
        n.hypervolume,
        n.low,
        n.high,
        n.verdict,
        n.gained.length,
        n.lost.length,
      ]),
    "One row a night.",
  );
  const rows = D.nights.map((n, i) => [
    n.created.slice(0, 16).replace("T", " "),
    n.evaluations,
    n.front_size.toLocaleString("en"),
    n.hypervolume === null ? "" : human(n.hypervolume),
    n.change ? `${percent(n.change[0])} (${percent(n.change[1])} to ${percent(n.change[2])})` : "",
    i ? n.verdict : "the first",
    n.gained.length || "",
    n.lost.length || "",
    link(n.diff, "diff"),
    link(n.report, "report"),
    n.code_version,
    n.why_not,
  ]);
  $("each-box").append(
    table(
      [
        "night",
        "evaluations",
        "front",
        "hypervolume",
        "change",
        "verdict",
        "gained",
        "lost",
        "diff",
        "report",
        "code",
        "does not compare",
      ],
      rows.reverse(),
      { texts: D.nights.some(n => n.why_not) ? [11] : [] },
    ),
  );
  let waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(redraw, 120);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  document.body.dataset.ready = "yes";
}
startNights().catch(error => {
  console.error(error);
  $("searched").textContent = `This page could not be drawn: ${error.message}.`;
});
