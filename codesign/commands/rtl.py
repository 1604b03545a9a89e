"""``codesign rtl``: a compute unit as Verilog, with vectors and a bench that checks it against the twin."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from codesign.commands.output import print_json
from codesign.errors import CodesignError
from codesign.files import write_atomic
from codesign.formats import FormatPair
from codesign.hardware import MacUnit
from codesign.hardware.rtl import build
from codesign.hardware.rtl.bench import Check, write_checks
from codesign.hardware.rtl.simulate import simulate
from codesign.hardware.rtl.vectors import verification

_READ_ME = """\
unit.v        the compute unit {name}: {pairs}, {accumulator}, dot-{lanes}
checks.v      compares it with vectors_*.hex every clock; one checker a mode
bench.v       clock for a Verilog simulator:  iverilog -g2005 -o bench.vvp bench.v checks.v unit.v && vvp -n bench.vvp
main.cpp      clock for Verilator:  verilator --cc --exe --build -Wno-fatal --top-module checks main.cpp checks.v unit.v
Each checker prints `CHECK mode steps N steps M wrong`; M is 0 where the unit computes what was scored.
"""


class BenchFailed(CodesignError):
    """The unit differs from its model (exit code 1)."""

    exit_code = 1


def run(arguments: argparse.Namespace) -> int:
    pairs = tuple(FormatPair.parse(text) for text in arguments.pairs)
    unit = MacUnit(pairs, arguments.accumulator, arguments.dot, clock_ghz=arguments.clock).rtl
    built = build(unit, "unit")
    checks = [
        Check(built, "unit", verification(unit, mode, pairs=arguments.vectors)) for mode in range(len(unit.modes))
    ]
    folder: Path = arguments.out
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "unit.v", built.text)
    write_checks(checks, folder)
    shown = ", ".join(map(str, unit.pairs))
    write_atomic(
        folder / "README.txt",
        _READ_ME.format(name=unit.name, pairs=shown, accumulator=unit.accumulator, lanes=unit.lanes),
    )
    wrong = 0
    result: dict[str, Any] = {
        "unit": unit.name,
        "folder": str(folder),
        "modes": [str(pair) for pair in unit.pairs],
        "products_per_cycle": [mode.products for mode in unit.modes],
        "latency": list(built.latency),
        "interleave": unit.interleave,
        "steps": [check.vectors.steps for check in checks],
    }
    if arguments.check:
        verdicts = simulate(arguments.check, checks, {"unit.v": built.text}, folder)
        wrong = sum(verdict.wrong for verdict in verdicts)
        result |= {"simulator": arguments.check, "wrong": [verdict.wrong for verdict in verdicts]}
    if arguments.json:
        print_json(result)
    else:
        print("\n".join(f"{key}: {value}" for key, value in result.items()))
    if wrong:
        raise BenchFailed(f"{unit.name} differs from its model in {arguments.check}; see {folder}")
    return 0
