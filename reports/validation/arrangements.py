"""Generated units beside other arrangements of the same function, in one synthesis and simulation.

    python reports/validation/arrangements.py FOLDER CELLS.lib.gz...

Units of several formats beside all others that do the same modes: units of one format each side by side, which share
operand registers and whose idle operands are held at 0, and plain Verilog in the orders that publications describe.
Units of one format beside plain Verilog. Each arrangement is first compared with the unit's twin in Icarus Verilog.
Area: yosys at a relaxed clock. Energy: of a cycle on layers of the bundled networks, glitches and clock included.
FOLDER keeps every row that is done, so that an interrupted run goes on. Writes arrangements.json and .md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from arrangements_verilog import bit_fusion, bricks_by_group, plain_float, plain_integer, side_by_side

from codesign.formats import FormatPair
from codesign.hardware.calibration.liberty.library import read_liberty
from codesign.hardware.calibration.liberty.merged import write_merged
from codesign.hardware.calibration.synthesis.batch import Job, job_key
from codesign.hardware.calibration.synthesis.energy import Simulator
from codesign.hardware.calibration.synthesis.netlist import read_netlist
from codesign.hardware.calibration.synthesis.yosys import synthesize
from codesign.hardware.rtl.emit.unit import Unit, build
from codesign.hardware.rtl.verify.bench import Check
from codesign.hardware.rtl.verify.simulate import simulate
from codesign.hardware.rtl.verify.vectors import Vectors, verification
from codesign.hardware.units.activities import NETWORKS

HERE = Path(__file__).parent
CLOCK_PS = 1900.0
LIMIT_S = 600.0
PAIRS = 400  # of codes in the comparison with the twin, besides corners and long sums
MOST = 1.1  # a figure of a generated unit over that of the best other arrangement
GENERATED, BOUND = "generated", "one mode only"
SIDE = "side by side, idle operands isolated"
PLAIN = {
    bit_fusion: "plain: every brick shifted (Bit Fusion's order)",
    bricks_by_group: "plain: groups shifted (BitBlade's order)",
}


@dataclass(frozen=True)
class Row:
    """One arrangement."""

    function: str
    arrangement: str
    area_um2: float
    delay_ps: float  # longest path, mapped for speed
    energy_fj: list[float]  # of a cycle by mode, mean over the networks
    glitch_fj: list[float]  # of it, of glitches
    wrong: int | None  # steps that differ from the twin; None: of the generator, which other reports check


def unit(pairs: Sequence[str], rates: Sequence[int], lanes: int) -> Unit:
    return Unit(tuple(map(FormatPair.parse, pairs)), "auto", lanes, rates=tuple(rates))


def checked(made: Unit) -> list[Vectors]:
    """What an arrangement of a unit's function is compared with, by mode."""
    return [verification(made, mode, pairs=PAIRS) for mode in range(len(made.modes))]


class Bench:
    """Synthesises and simulates designs with one library; `folder` keeps what is done."""

    def __init__(self, liberty: Sequence[Path], folder: Path) -> None:
        self.simulator = Simulator(read_liberty(*liberty))
        folder.mkdir(parents=True, exist_ok=True)
        self.merged, self.folder, self.log = folder / "cells.lib", folder, folder / "rows.jsonl"
        write_merged(liberty, self.merged)
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        self.known = {row["key"]: row["row"] for row in map(json.loads, lines)}

    def measured(
        self, function: str, arrangement: str, made: Unit, text: str | None = None, vectors: Sequence[Vectors] = ()
    ) -> Row:
        """A unit, or another arrangement with its ports, which is compared with the twin on `vectors`, or `checked`."""
        key = job_key(Job(arrangement, text or build(made).text, "unit", self.merged, CLOCK_PS), self.merged.name)
        if key not in self.known:
            self.known[key] = asdict(self._measured(function, arrangement, made, text, vectors))
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "row": self.known[key]}) + "\n")
        row = Row(**(self.known[key] | {"function": function, "arrangement": arrangement}))
        print(row, flush=True)
        return row

    def _measured(
        self, function: str, arrangement: str, made: Unit, text: str | None, vectors: Sequence[Vectors]
    ) -> Row:
        wrong = None
        if text is not None:
            checks = [Check(build(made), "unit", each) for each in vectors or checked(made)]
            verdicts = simulate("iverilog", checks, {"unit.v": text}, self.folder / "bench")
            wrong = sum(verdict.wrong for verdict in verdicts)
        made_text = text or build(made).text
        done = synthesize(made_text, "unit", self.merged, CLOCK_PS, LIMIT_S, self.folder / "synthesis")
        netlist = read_netlist(done.netlist_json, "unit", self.simulator.library)
        found = self.simulator.energies(made, netlist, NETWORKS)
        by_mode = [[row for row in found if row.mode == mode] for mode in range(len(made.modes))]
        energy = [round(float(np.mean([row.dynamic_fj for row in rows])), 1) for rows in by_mode]
        glitch = [round(float(np.mean([row.glitch_fj for row in rows])), 1) for rows in by_mode]
        return Row(function, arrangement, round(done.area_um2, 1), round(done.delay_ps or 0.0), energy, glitch, wrong)

    def shared(self, pairs: Sequence[str], rates: Sequence[int], lanes: int, *plain: Callable[[int], str]) -> list[Row]:
        """A unit of several formats, all other arrangements, and units of one of its modes."""
        made = unit(pairs, rates, lanes)
        name = " and ".join(f"{mode.pair} ({mode.products})" for mode in made.modes)
        own = [unit([str(mode.pair)], [1], mode.products) for mode in made.modes]
        rows = [
            self.measured(name, GENERATED, made),
            self.measured(name, SIDE, made, side_by_side(made, own)),
            *(self.measured(name, PLAIN[text], made, text(lanes)) for text in plain),
        ]
        return rows + [self.measured(name, f"{BOUND}: {one.pairs[0]}", one) for one in own]


def rows_of(bench: Bench) -> list[Row]:
    rows = bench.shared(["int8", "int4"], [1, 4], 4, bit_fusion, bricks_by_group)
    rows += bench.shared(["int8", "int4:int8", "int4"], [1, 2, 4], 4)
    rows += bench.shared(["int8", "fp8_e4m3"], [1, 1], 4)
    rows += bench.shared(["fp16", "fp8_e4m3"], [1, 2], 4)
    rows += bench.shared(["fp8_e4m3", "fp4_e2m1"], [1, 2], 4)
    for pair in ("fp8_e4m3", "fp8_e5m2"):
        made = unit([pair], [1], 8)
        rows.append(bench.measured(f"{pair} (8)", GENERATED, made))
        plain = plain_float(made.modes[0].weight.element, 8)
        rows.append(bench.measured(f"{pair} (8)", "plain unit with an FP32 sum", made, plain))
    made = unit(["int8"], [1], 16)
    rows.append(bench.measured("int8 (16)", GENERATED, made))
    rows.append(bench.measured("int8 (16)", "plain sum of products", made, plain_integer(8, 16)))
    return rows + bench.shared(["int8", "int4"], [1, 4], 16, bit_fusion, bricks_by_group)


def best(rows: Sequence[Row]) -> list[str]:
    """Lines of a table: the generated units over the best other arrangement of the same modes, for each figure."""
    lines = []
    for own in (row for row in rows if row.arrangement == GENERATED):
        others = [
            row
            for row in rows
            if row.function == own.function and row is not own and not row.arrangement.startswith(BOUND)
        ]
        area = own.area_um2 / min(row.area_um2 for row in others)
        energy = [own.energy_fj[m] / min(row.energy_fj[m] for row in others) for m in range(len(own.energy_fj))]
        both = [
            own.area_um2 * own.energy_fj[m] / min(row.area_um2 * row.energy_fj[m] for row in others)
            for m in range(len(own.energy_fj))
        ]
        cells = [figure(area), ", ".join(map(figure, energy)), ", ".join(f"{x:.2f}" for x in both)]
        lines.append(f"| {own.function} | {' | '.join(cells)} |")
    return lines


def scatter(rows: Sequence[Row]) -> list[str]:
    """A paragraph: the energy of a mode alone against the same unit beside idle ones, which should take as much."""
    ratios = []
    for row in rows:
        modes = row.function.split(" and ")
        if row.arrangement != SIDE:
            continue
        for mode, fj in zip(modes, row.energy_fj, strict=True):
            alone = next(each for each in rows if each.function == row.function and _only(each, mode))
            if max(alone.glitch_fj) > 0.5 * max(alone.energy_fj):
                ratios.append(fj / alone.energy_fj[0])
    return [
        f"Of the {len(ratios)} float modes, whose energy is mostly glitches, the same unit takes {min(ratios):.2f} to "
        f"{max(ratios):.2f} times as much",
        "side by side as alone, though idle units only add to it: that is the scatter of synthesis, and ratios of",
        "these modes mean no more than it.",
        "",
    ]


def figure(ratio: float) -> str:
    return f"**{ratio:.2f}**" if ratio > MOST else f"{ratio:.2f}"


def page(rows: Sequence[Row], library: str) -> str:
    base = {row.function: row for row in rows if row.arrangement == GENERATED}
    lines = [
        "# Generated units beside other arrangements",
        "",
        "Written by `python reports/validation/arrangements.py FOLDER CELLS.lib.gz...`.",
        "",
        f"{library}, {CLOCK_PS:g} ps, not pipelined, cells before placement; in brackets products a cycle. Energy:",
        "of a cycle on layers of the bundled networks (their mean), by mode, clock and glitches included, by timed",
        "simulation of the netlist. Side by side: a unit of one format for each mode, with common operand registers,",
        "whose idle operands are held at 0; only their accumulators' clock goes on. Plain: Verilog with `*`, `+` and",
        "`?:` in the order that a publication describes. Every arrangement gave the results of the unit's twin.",
        "",
        f"## Over the best other arrangement (bold: above {MOST:g})",
        "",
        "Each figure over the smallest of all arrangements that do the same modes; the best in area and the best in",
        "energy are rarely the same one. Area x energy: the same for their product in one arrangement.",
        "",
        "| function | area | energy by mode | area x energy by mode |",
        "|---|---|---|---|",
        *best(rows),
        "",
        "What costs a mode energy: a shared multiplier is longer than one of its own, summands that are 0 in a mode",
        "lengthen its tree, and gates glitch more (the column below); side by side takes that energy less, for up to",
        "twice the area. FP4 beside FP8 has multipliers and a fixed-point sum of its own; only operand registers and",
        "the accumulator are common.",
        "",
        *scatter(rows),
        "## All figures",
        "",
        "Over: the generated unit's figure over this one's; below 1, the generated unit is smaller or takes less. A",
        "unit with one mode only is no alternative, but the least that this mode can take.",
        "",
        "| function | arrangement | um2 | over | ps | fJ by mode | of it glitches | over |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        own = base[row.function]
        modes = [mode for mode, pair in enumerate(row.function.split(" and ")) if _does(row, pair)]
        ratios = ", ".join(f"{own.energy_fj[m] / fj:.2f}" for m, fj in zip(modes, row.energy_fj, strict=True))
        energy, glitch = (", ".join(f"{x:.0f}" for x in found) for found in (row.energy_fj, row.glitch_fj))
        cells = f"{row.area_um2:.0f} | {own.area_um2 / row.area_um2:.2f} | {row.delay_ps:.0f} | {energy} | {glitch}"
        lines.append(f"| {row.function} | {row.arrangement} | {cells} | {ratios} |")
    return "\n".join(lines) + "\n"


def _only(row: Row, mode: str) -> bool:
    """Whether a unit has just one mode, such as "int8:int8 (4)"."""
    return row.arrangement == f"{BOUND}: {mode.split()[0]}"


def _does(row: Row, mode: str) -> bool:
    return not row.arrangement.startswith(BOUND) or _only(row, mode)


def main() -> None:
    folder, *liberty = [Path(name) for name in sys.argv[1:]]
    rows = rows_of(Bench(liberty, folder))
    wrong = [row for row in rows if row.wrong]
    assert not wrong, wrong
    (HERE / "arrangements.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    (HERE / "arrangements.md").write_text(page(rows, liberty[0].name.split("_")[0]))


if __name__ == "__main__":
    main()
