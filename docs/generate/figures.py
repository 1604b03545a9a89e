"""The pictures of docs/concepts.md: ``python -m docs.generate.figures`` writes them into docs/figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import torch

matplotlib.use("svg")
from matplotlib import pyplot  # after the backend is chosen

from codesign.formats import get_format  # after the backend is chosen

FIGURES = Path(__file__).parents[1] / "figures"
SHOWN = ("int4", "fp4_e2m1", "fp6_e2m3", "fp8_e4m3", "int8")
LAYERS = (("conv_in", 0), ("down.0", 1), ("down.1", 1), ("attention", 2), ("up.0", 1), ("conv_out", 0))
PAIRS = (("int8:int8", "#0072b2"), ("int4_g32:int8", "#e69f00"), ("fp8_e4m3:fp8_e4m3", "#009e73"))


def values(name: str) -> list[float]:
    """The values of a format with one scale, in -1..1: the largest magnitude is 1."""
    fmt = get_format(name)
    grid = torch.linspace(-1, 1, 40_001) * fmt.element.max_value
    return sorted(set((fmt.fake_quantize(grid) / fmt.element.max_value).tolist()))


def formats(path: Path) -> None:
    """Number lines: where the values of some formats lie between 0 and the largest magnitude."""
    figure, axes = pyplot.subplots(figsize=(7.2, 2.4), layout="constrained")
    for row, name in enumerate(SHOWN):
        shown = [value for value in values(name) if 0 <= value <= 1]
        axes.vlines(shown, row - 0.3, row + 0.3, color=PAIRS[0 if name.startswith("int") else 2][1], linewidth=0.8)
    axes.set(xlim=(-0.01, 1.01), ylim=(len(SHOWN) - 0.5, -0.5), xlabel="value, as a share of the largest magnitude")
    axes.set_yticks(range(len(SHOWN)), SHOWN)
    axes.spines[["top", "right", "left"]].set_visible(False)
    _save(figure, path)


def assignment(path: Path) -> None:
    """A network, the pair of each layer, and the unit that supports the pairs."""
    figure, axes = pyplot.subplots(figsize=(7.2, 2.5), layout="constrained")
    axes.set(xlim=(0, 12), ylim=(0, 4.2))
    axes.axis("off")
    for i, (layer, pair) in enumerate(LAYERS):
        name, color = PAIRS[pair]
        _box(axes, 0.1 + 2 * i, 2.5, 1.7, 1.0, color, f"{layer}\n{name}", 6.5)
        if i:
            axes.annotate("", (0.1 + 2 * i, 3.0), (2 * i - 0.2, 3.0), arrowprops={"arrowstyle": "->", "color": "0.4"})
    axes.text(0.1, 3.75, "assignment: the pair of each layer", fontsize=9)
    axes.text(0.1, 1.65, "unit: the pairs that one dot product supports", fontsize=9)
    for i, (name, color) in enumerate(PAIRS):
        _box(axes, 0.1 + 2.6 * i, 0.5, 2.4, 0.8, color, name, 8)
    axes.text(8.1, 0.8, "x rows x columns, SRAM, DRAM\n= accelerator", fontsize=9, va="center")
    _save(figure, path)


def _box(axes: Any, x: float, y: float, width: float, height: float, color: str, text: str, size: float) -> None:
    axes.add_patch(pyplot.Rectangle((x, y), width, height, facecolor=color, alpha=0.25, edgecolor=color))
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=size)


def _save(figure: Any, path: Path) -> None:
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "codesign"}
    figure.savefig(path, metadata={"Date": None})
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    formats(FIGURES / "formats.svg")
    assignment(FIGURES / "assignment.svg")
