"""Generated units beside straightforward arrangements of the same function, in one synthesis and simulation.

    python reports/validation/arrangements.py CELLS.lib.gz...

The arrangements are plain Verilog in the order that publications describe, with the ports of the generated unit; each
is first compared with the unit's twin in Icarus Verilog. Area: yosys at a relaxed clock. Energy: of a cycle on random
codes, glitches and clock included. Writes arrangements.json and .md.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from arrangements_verilog import bit_fusion, bricks_by_group, plain_float, plain_integer

from codesign.formats import FormatPair
from codesign.hardware.calibration.liberty.library import Library, read_liberty
from codesign.hardware.calibration.liberty.merged import write_merged
from codesign.hardware.calibration.synthesis.energy import Simulator
from codesign.hardware.calibration.synthesis.netlist import read_netlist
from codesign.hardware.calibration.synthesis.yosys import synthesize
from codesign.hardware.rtl.emit.unit import Unit, build
from codesign.hardware.rtl.verify.bench import Check
from codesign.hardware.rtl.verify.simulate import simulate
from codesign.hardware.rtl.verify.vectors import verification
from codesign.hardware.units.activities import NOISE

HERE = Path(__file__).parent
CLOCK_PS = 1900.0
STEPS = 400  # pairs of codes of the comparison with the twin


@dataclass(frozen=True)
class Row:
    """One arrangement."""

    function: str
    arrangement: str
    area_um2: float
    energy_fj: list[float]  # of a cycle, by mode; of units side by side, the one that works, the others without a clock
    wrong: int | None  # steps that differ from the twin; None: units of the generator, checked elsewhere


def unit(pairs: Sequence[str], rates: Sequence[int], lanes: int, accumulator: str = "auto") -> Unit:
    return Unit(tuple(map(FormatPair.parse, pairs)), accumulator, lanes, rates=tuple(rates))


class Bench:
    """Synthesises and simulates designs with one library."""

    def __init__(self, liberty: Sequence[Path], folder: Path) -> None:
        self.library: Library = read_liberty(*liberty)
        self.simulator = Simulator(self.library)
        self.merged, self.folder = folder / "cells.lib", folder
        write_merged(liberty, self.merged)

    def measured(self, function: str, arrangement: str, made: Unit, text: str | None = None) -> Row:
        """A unit, or another arrangement of the same ports."""
        wrong = None
        if text is not None:
            checks = [Check(build(made), "unit", verification(made, m, pairs=STEPS)) for m in range(len(made.modes))]
            verdicts = simulate("iverilog", checks, {"unit.v": text}, self.folder / "bench")
            wrong = sum(verdict.wrong for verdict in verdicts)
        done = synthesize(text or build(made).text, "unit", self.merged, CLOCK_PS, 300, self.folder / "synthesis")
        netlist = read_netlist(done.netlist_json, "unit", self.library)
        energies = [round(found.dynamic_fj, 1) for found in self.simulator.energies(made, netlist, (NOISE,))]
        row = Row(function, arrangement, round(done.area_um2, 1), energies, wrong)
        print(row, flush=True)
        return row

    def side_by_side(self, function: str, made: Unit) -> Row:
        """A unit of its own for every mode, with as many products."""
        rows = [
            self.measured(function, str(mode.pair), unit([str(mode.pair)], [1], mode.products, made.accumulator))
            for mode in made.modes
        ]
        area = sum(row.area_um2 for row in rows)
        return Row(function, "a unit of its own per mode", round(area, 1), [row.energy_fj[0] for row in rows], None)


def rows_of(bench: Bench) -> list[Row]:
    rows = []
    for lanes in (4, 16):
        made = unit(["int8", "int4"], [1, 4], lanes)
        name = f"INT8 ({lanes} products) and INT4 ({4 * lanes})"
        rows += [bench.measured(name, "generated", made), bench.side_by_side(name, made)]
        rows.append(bench.measured(name, "plain: every brick shifted (Bit Fusion's order)", made, bit_fusion(lanes)))
        rows.append(bench.measured(name, "plain: groups shifted (BitBlade's order)", made, bricks_by_group(lanes)))
    made = unit(["int8"], [1], 16)
    rows.append(bench.measured("INT8 (16)", "generated", made))
    rows.append(bench.measured("INT8 (16)", "plain sum of products", made, plain_integer(8, 16)))
    for pair, lanes in (("fp8_e4m3", 8), ("fp8_e5m2", 8)):
        made = unit([pair], [1], lanes)
        element = made.modes[0].weight.element
        name = f"{pair} ({lanes}), FP32 sum"
        rows.append(bench.measured(name, "generated", made))
        rows.append(bench.measured(name, "plain unit", made, plain_float(element, lanes)))
    for pairs, rates in ((("fp16", "fp8_e4m3"), (1, 2)), (("fp8_e4m3", "fp4_e2m1"), (1, 2))):
        made = unit(pairs, rates, 4)
        name = " and ".join(f"{mode.pair.weight} ({mode.products})" for mode in made.modes)
        rows += [bench.measured(name, "generated", made), bench.side_by_side(name, made)]
    return rows


def page(rows: Sequence[Row], library: str) -> str:
    lines = [
        "# Generated units beside straightforward arrangements",
        "",
        "Written by `python reports/validation/arrangements.py`.",
        "",
        f"{library}, {CLOCK_PS:g} ps, not pipelined; energy of a cycle on random codes in fJ, by mode. Over: the",
        "generated unit's figure over this one's; below 1, the generated unit is smaller or takes less. Of units side",
        "by side, the one that does not work is taken to stand still for nothing. Every plain arrangement gave the",
        "twin's results.",
        "",
        "| function | arrangement | um2 | over | fJ by mode | over |",
        "|---|---|---|---|---|---|",
    ]
    own = {row.function: row for row in rows if row.arrangement == "generated"}
    for row in rows:
        base = own[row.function]
        energy = ", ".join(f"{x:.0f}" for x in row.energy_fj)
        ratios = ", ".join(f"{x / y:.2f}" for x, y in zip(base.energy_fj, row.energy_fj, strict=True))
        over = f"{base.area_um2 / row.area_um2:.2f}"
        lines.append(f"| {row.function} | {row.arrangement} | {row.area_um2:.0f} | {over} | {energy} | {ratios} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    liberty = [Path(name) for name in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(liberty, Path(name))
        rows = rows_of(bench)
    wrong = [row for row in rows if row.wrong]
    assert not wrong, wrong
    library = liberty[0].name.split("_")[0]
    (HERE / "arrangements.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    (HERE / "arrangements.md").write_text(page(rows, library))


if __name__ == "__main__":
    main()
