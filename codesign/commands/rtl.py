"""``codesign rtl``: a design's array or one compute unit as Verilog, with a bench that checks it bit for bit."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from codesign.commands.mac import unit_of
from codesign.commands.output import own_folder, print_json
from codesign.errors import CodesignError, InputError
from codesign.files import write_atomic
from codesign.formats import FormatPair
from codesign.hardware import MacUnit
from codesign.hardware.rtl import build
from codesign.hardware.rtl.analyse.parts import PARTS
from codesign.hardware.rtl.emit.requantize import build_requantizer, whole_requantizer
from codesign.hardware.rtl.emit.stream import header, stream
from codesign.hardware.rtl.readme import Price, WrittenRequantizer, unit_readme
from codesign.hardware.rtl.verify.bench import Check, write_checks
from codesign.hardware.rtl.verify.requantize import requantize_checks
from codesign.hardware.rtl.verify.simulate import simulate
from codesign.hardware.rtl.verify.stream_bench import StreamCheck
from codesign.hardware.rtl.verify.vectors import verification
from codesign.hardware.units.requantizers import pipelined, requantizer_cost

if TYPE_CHECKING:  # importing it loads networks, which a unit of format pairs does not need
    from codesign.export.rtl import WrittenArray

# options of a unit of format pairs, with their defaults
_OF_A_UNIT: dict[str, object] = {
    "accumulator": "auto",
    "dot": 1,
    "clock": 1.0,
    "node": 7,
    "model": None,
    "name": None,
    "requantize": None,
    "vectors": None,
    "fast_floats": False,
}
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# words of Verilog (IEEE 1364-2005, Annex B), names of the bench, and words of SystemVerilog that Verilator keeps
_WORDS = """
always and assign automatic begin buf bufif0 bufif1 case casex casez cell cmos config deassign default defparam design
disable edge else end endcase endconfig endfunction endgenerate endmodule endprimitive endspecify endtable endtask
event for force forever fork function generate genvar highz0 highz1 if ifnone incdir include initial inout input
instance integer join large liblist library localparam macromodule medium module nand negedge nmos nor noshowcancelled
not notif0 notif1 or output parameter pmos posedge primitive pull0 pull1 pulldown pullup pulsestyle_ondetect
pulsestyle_onevent rcmos real realtime reg release repeat rnmos rpmos rtran rtranif0 rtranif1 scalared showcancelled
signed small specify specparam strong0 strong1 supply0 supply1 table task time tran tranif0 tranif1 tri tri0 tri1
triand trior trireg unsigned use uwire vectored wait wand weak0 weak1 while wire wor xnor xor bench checks bit byte
int shortint longint logic shortreal string void class enum struct union typedef package interface program do return
break continue const import export extends final unique priority static this super new null type var
"""
_RESERVED = frozenset(_WORDS.split())


class BenchFailed(CodesignError):
    """The hardware differs from its model (exit code 1)."""

    exit_code = 1


def run(arguments: argparse.Namespace) -> int:
    if arguments.design is not None:
        return _array(arguments)
    folders = [text for text in arguments.pairs if Path(text).is_dir() and not _is_pair(text)]
    if folders:
        raise InputError(f"{folders[0]} is a folder: of a study, name a design of its front.json with --design ID")
    if arguments.dataflow is not None:
        raise InputError("--dataflow goes with a study and --design ID: format pairs make one unit without an array")
    return _unit(arguments)


def rtl_text(facts: WrittenArray) -> str:
    """An exported array in one line, and a line for each layer that its bench multiplies."""
    lines = [f"{facts['rows']} x {facts['columns']} units {facts['unit']}, {facts['dataflow']}-stationary"]
    for index, layer in enumerate(facts["layers"]):
        wrong = f", {facts['wrong'][index]} wrong in {facts['simulator']}" if "wrong" in facts else ""
        lines.append(f"  {layer['pair']}: {layer['task']} {layer['layer']}, {layer['compared']} rows of results{wrong}")
    if "wrong" in facts:
        wrong_streams = sum(facts["wrong"][len(facts["layers"]) :])
        lines.append(f"  streams on random tiles: {wrong_streams} wrong in {facts['simulator']}")
    return "\n".join(lines)


def _shown(value: object) -> str:
    """A result for people: an interval as a value with its bounds, a list with commas."""
    if isinstance(value, Mapping):
        return f"{value['value']:.4g} ({value['low']:.4g} to {value['high']:.4g})"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _module_name(written: str | None) -> str:
    """The name of a unit's module; raises InputError if Verilog cannot take it."""
    if written is None:
        return "unit"
    if not _IDENTIFIER.fullmatch(written) or written in _RESERVED or written.startswith("check_"):
        raise InputError(f"--name {written}: no name for a module beside the bench (letters, digits and _)")
    return written


def _is_pair(text: str) -> bool:
    try:
        FormatPair.parse(text).checked()
    except InputError:
        return False
    return True


def _array(arguments: argparse.Namespace) -> int:
    """Write the array of one design of a study."""
    from codesign.export import export_rtl  # loads networks, which a unit of format pairs does not need

    study = Path(arguments.pairs[0])
    if len(arguments.pairs) > 1:
        raise InputError(f"--design takes one study folder, not {len(arguments.pairs)} arguments")
    if not study.is_dir():
        raise InputError(f"--design takes a study folder, and {study} is none")
    if not (study / "front.json").is_file():
        raise InputError(f"{study} is no study folder: it has no front.json")
    given = [
        f"--{name.replace('_', '-')}" for name, default in _OF_A_UNIT.items() if getattr(arguments, name) != default
    ]
    if given:
        raise InputError(f"{given[0]} goes with format pairs: a design has its own unit")
    with own_folder(arguments.out, "rtl"):
        facts = export_rtl(study, arguments.design, arguments.out, arguments.dataflow or "output", arguments.check)
    facts["folder"] = str(arguments.out)
    if arguments.json:
        print_json(facts)
    else:
        print(f"{arguments.out}: {rtl_text(facts)}")
    if sum(facts.get("wrong", ())):
        raise BenchFailed(
            f"the array of {facts['design']} differs from its model in {arguments.check}; see {arguments.out}"
        )
    return 0


def _unit(arguments: argparse.Namespace) -> int:
    """Write one compute unit for some format pairs, and run its bench if asked."""
    with own_folder(arguments.out, "rtl"):
        result, wrong = _written(arguments)
    if arguments.json:
        print_json(result)
    else:
        print("\n".join(f"{key}: {_shown(value)}" for key, value in result.items()))
    if wrong:
        raise BenchFailed(f"{result['unit']} differs from its model in {arguments.check}; see {arguments.out}")
    return 0


def _written(arguments: argparse.Namespace) -> tuple[dict[str, object], int]:
    """Write the files of one unit; returns what is told of it, and the number of wrong results in the simulator."""
    pairs = tuple(FormatPair.parse(text) for text in arguments.pairs)
    name = _module_name(arguments.name)
    priced = unit_of(arguments, pairs)
    unit = priced.rtl
    built = build(unit, name, enable=True)
    modes = range(len(unit.modes))
    checks = [Check(built, name, verification(unit, mode, pairs=arguments.vectors)) for mode in modes]
    streams = [StreamCheck.of(built, f"{name}_stream", mode) for mode in modes]
    after = _requantizer(arguments.requantize, priced, f"{name}_requantize")
    converted = [] if after is None else requantize_checks(after.built)
    folder: Path = arguments.out
    folder.mkdir(parents=True, exist_ok=True)
    sources = {
        f"{name}.v": built.text,
        f"{name}_stream.v": stream(built, name),
        f"{name}_params.vh": header(built, name),
    } | ({} if after is None else {f"{name}_requantize.v": after.built.text})
    for file, text in sources.items():
        write_atomic(folder / file, text)
    write_checks([*checks, *streams, *converted], folder)
    write_atomic(folder / "README.txt", unit_readme(built, name, _price(priced), after))
    wrong = 0
    result: dict[str, object] = {
        "unit": unit.name,
        "folder": str(folder),
        "modes": [str(pair) for pair in unit.pairs],
        "products_per_cycle": [mode.products for mode in unit.modes],
        "area_um2": priced.area_um2.to_dict(),
        "delay_ns": priced.delay_ns.to_dict(),
        "reached_ghz": priced.reached_ghz,
        "latency": list(built.latency),
        "interleave": unit.interleave,
        "steps": [check.vectors.steps for check in checks],
        "stream_results": [int(check.last.sum()) for check in streams],
    }
    if after is not None:
        result |= {
            "requantize": after.built.unit.format,
            "requantize_latency": after.built.latency["code"],
            "requantize_um2": after.area_um2,
            "requantize_steps": [len(check.numbers) for check in converted],
        }
    if arguments.check:
        verdicts = simulate(arguments.check, [*checks, *streams, *converted], sources, folder)
        found = [verdict.wrong for verdict in verdicts]
        wrong, count = sum(found), len(checks)
        result |= {"simulator": arguments.check, "wrong": found[:count], "stream_wrong": found[count : 2 * count]}
        if after is not None:
            result["requantize_wrong"] = found[2 * count :]
    return result, wrong


def _requantizer(name: str | None, unit: MacUnit, module: str) -> WrittenRequantizer | None:
    """The requantizer to a format, for the clock of the unit; raises InputError for a format that has none."""
    if name is None:
        return None
    whole = whole_requantizer(name)
    built = build_requantizer(pipelined(whole, unit), module)
    cost = requantizer_cost(name, unit)
    assert cost is not None
    return WrittenRequantizer(built, cost.area_um2.value * whole.lanes, cost.energy_pj.value)


def _price(unit: MacUnit) -> Price:
    """What the README says of the unit's price."""
    scale = unit.scale("logic_area").value
    register, select = (scale * float(unit.model.area_um2[PARTS.index(part)]) for part in ("register", "select"))
    return Price(
        unit.model.name, unit.node_nm, unit.clock_ghz, unit.area_um2.value, unit.delay_ns.value, register, select
    )
