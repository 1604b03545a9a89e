"""What the README says of the public networks: a picture of the front, and a table, from the study in reports/public.

    python -m docs.generate.results    # writes docs/figures/front.svg and the tables of README.md and README.zh-CN.md

`reports/public/summary.py` calls it, so that README and study say the same; a test compares them.
"""

from __future__ import annotations

import re
from pathlib import Path

from codesign.designs import Design, Study, load_study

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "reports" / "public"
PICTURE = ROOT / "docs" / "figures" / "front.svg"
READMES = ("README.md", "README.zh-CN.md")
BEGIN, END = "<!-- results: python -m docs.generate.results -->", "<!-- /results -->"
TOKEN, IMAGE, AREA = "assistant.latency_per_token_s", "upscale.latency_s", "area_mm2"
BOUNDS = (0.05, 0.15)  # nats per token: the fastest mixed design within each is in the table
PSNR_DB = 40  # which its pictures must reach
ROOM = 1.1  # on a chip of at most so many times the largest one for one format
HEADERS = {
    "README.md": ("formats", "text: KL to float, nats/token", "pictures: PSNR to float, dB", "chip, mm²", "ms/token"),
    "README.zh-CN.md": ("格式", "文本：与浮点的 KL，nat/token", "图像：与浮点的 PSNR，dB", "芯片，mm²", "ms/token"),
}
MIXED_WORDS = {"README.md": "mixed: ", "README.zh-CN.md": "混合："}
ROUNDED = {  # what is said of the methods that the study's pairs name
    "README.md": ("All weights are rounded to the nearest.", "Weights are rounded by {}."),
    "README.zh-CN.md": ("全部权重按就近舍入。", "权重舍入方法：{}。"),
}


def kl(design: Design) -> float:
    """KL divergence of the language model to the float network, nats per token."""
    return float(10 ** design.quality["assistant"].value)


def short(pair: str) -> str:
    """int8 for int8:int8, without the method of rounding."""
    weight, _, activation = pair.partition("+")[0].partition(":")
    return weight if weight == activation else pair.partition("+")[0]


def uniform_designs(study: Study) -> dict[str, Design]:
    """The balanced chip of each format, best text first; baselines are shown as designs are."""
    found = {short(each.label.removeprefix("uniform ")): each for each in study.record.baselines}
    return dict(sorted(found.items(), key=lambda item: kl(item[1])))


def mixed_designs(study: Study) -> list[Design]:
    """The fastest mixed design within each bound of the text's loss whose pictures and chip are good enough."""
    largest = ROOM * max(each.objectives[AREA] for each in study.record.baselines)
    fits = [d for d in study.front if d.is_mixed and d.objectives[AREA] <= largest]
    good = [d for d in fits if -10 * d.quality["upscale"].value >= PSNR_DB]
    within = ([d for d in good if kl(d) <= bound] for bound in BOUNDS)
    chosen = {d.id: d for designs in within if designs for d in [min(designs, key=lambda d: d.objectives[TOKEN])]}
    return list(chosen.values())


def table(study: Study, readme: str) -> str:
    """The table of a README, between its two marks."""
    rows = [(f"`{name}`", design) for name, design in uniform_designs(study).items()]
    for design in mixed_designs(study):
        names = ", ".join(f"`{short(str(pair))}`" for pair in design.accelerator.pairs)
        rows.append((f"{MIXED_WORDS[readme]}{names}", design))
    head = "| " + " | ".join(HEADERS[readme]) + " |\n|---|--:|--:|--:|--:|"
    return "\n".join([head, *(_row(name, design) for name, design in rows), "", _rounded(rows, readme)])


def _rounded(rows: list[tuple[str, Design]], readme: str) -> str:
    """How the weights of these designs were rounded: the reference study may be older than the default methods."""
    choices = {choice for _, design in rows for task in design.assignments for choice in design.pairs(task)}
    methods = sorted({choice.partition("+")[2] for choice in choices} - {""})
    nearest, by = ROUNDED[readme]
    return by.format(", ".join((*methods, "nearest"))) if methods else nearest


def _row(name: str, design: Design) -> str:
    text, pictures = design.quality["assistant"], design.quality["upscale"]
    return (
        f"| {name} | {kl(design):.2g} ({10**text.low:.2g} to {10**text.high:.2g}) "
        f"| {-10 * pictures.value:.1f} ({-10 * pictures.high:.1f} to {-10 * pictures.low:.1f}) "
        f"| {design.objectives[AREA]:.2f} | {1e3 * design.objectives[TOKEN]:.2f} |"
    )


def with_table(text: str, study: Study, readme: str) -> str:
    """The text of a README with its table replaced."""
    block = f"{BEGIN}\n{table(study, readme)}\n{END}"
    return re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: block, text, flags=re.DOTALL)


def caption(study: Study) -> str:
    """What the picture is of; a test finds it in the file."""
    return f"{study.front.study}, hypervolume {study.front.hypervolume:.6g}, {len(study.front)} designs"


def draw(study: Study, path: Path) -> None:
    """Text quality against time per token: uniform formats by name, mixed designs, the line that nobody beats."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "codesign", "font.size": 9}
    from matplotlib import pyplot

    uniform, mixed = uniform_designs(study), [d for d in study.front if d.is_mixed]
    points = [(1e3 * d.objectives[TOKEN], kl(d)) for d in (*uniform.values(), *mixed)]
    best = sorted(p for p in points if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points))
    figure, axes = pyplot.subplots(figsize=(7.2, 3.6), layout="constrained")
    axes.step(*zip(*best, strict=True), where="post", color="0.6", linewidth=1, zorder=1)
    axes.scatter(*zip(*points[len(uniform) :], strict=True), s=22, color="#0072b2", label="mixed formats", zorder=2)
    axes.scatter(*zip(*points[: len(uniform)], strict=True), s=30, color="#d55e00", marker="s", label="one format")
    for i, (name, point) in enumerate(zip(uniform, points, strict=False)):
        left = point[0] > 5.5
        axes.annotate(
            name,
            point,
            (-6 if left else 6, (-9, 4)[i % 2]),
            textcoords="offset points",
            fontsize=8,
            ha="right" if left else "left",
        )
    axes.set(
        xlabel="time per token, ms (SmolLM2-135M, its own accelerator for each point)",
        ylabel="KL to float, nats per token",
        yscale="log",
        xlim=(2.5, 6.3),
    )
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None, "Description": caption(study)})
    text = path.read_text(encoding="utf-8")
    path.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n", encoding="utf-8")


def main() -> None:
    study = load_study(STUDY)
    draw(study, PICTURE)
    for name in READMES:
        path = ROOT / name
        path.write_text(with_table(path.read_text(encoding="utf-8"), study, name), encoding="utf-8")
    print(*HEADERS["README.md"], table(study, "README.md"), sep="\n")


if __name__ == "__main__":
    main()
