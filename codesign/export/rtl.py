"""A design as Verilog: its systolic array, its compute unit, and a bench that multiplies matrices of its layers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NotRequired, TypedDict

from codesign.errors import EnvironmentProblem, InputError
from codesign.export.study import ChosenDesign, read_design
from codesign.files import write_atomic
from codesign.formats import FormatPair
from codesign.hardware.chip.accelerator import Accelerator
from codesign.hardware.rtl.emit.array import Array, array
from codesign.hardware.rtl.emit.array_stream import array_stream
from codesign.hardware.rtl.emit.unit import Unit
from codesign.hardware.rtl.verify.array_bench import ArrayCheck, Matrices
from codesign.hardware.rtl.verify.array_stream_bench import ArrayStreamCheck
from codesign.hardware.rtl.verify.bench import Checked, write_checks
from codesign.hardware.rtl.verify.simulate import Verdict, simulate
from codesign.models import Task
from codesign.quality import LayerOperands, sample_operands

READ_ME = """\
Design {design} of the study {study}: {rows} x {columns} units, {dataflow}-stationary.

array.v       the array; parameters ROWS and COLUMNS are the design's; modules array, array_cell, array_delay
array_stream.v  the array with streams, valid/ready and a synchronous reset; parameters ROWS and COLUMNS as above
unit.v        its dot-product unit {unit}
layer.json    the layers that the bench multiplies, one for each format pair (mode) that the design's networks use
checks.v      compares a corner of {corner} cells with vectors_*.hex every clock; one checker per layer, in that order,
              then one per mode for array_stream.v, on random tiles with pauses of all streams
bench.v       clock for a Verilog simulator:
              iverilog -g2005 -o bench.vvp bench.v checks.v array.v array_stream.v unit.v && vvp -n bench.vvp
main.cpp      clock for Verilator:
              verilator --cc --exe --build -Wno-fatal --top-module checks \\
                main.cpp checks.v array.v array_stream.v unit.v
              obj_dir/Vchecks
Each checker prints `CHECK number N steps M wrong`: N rows of results were compared, M differed. M is 0 if the array
computes, bit for bit, the results by which the accumulator was judged. The bench ends with a status other than 0 if any
differed.

By mode, the unit has a latency of L = {latency} clocks and interleaves D = {interleave} sums.
{protocol}
`en` is the clock enable of all registers; tie it to 1 if it is not needed (synthesis then removes it, and the price is
of that). There is no reset: old contents leave the array within its latency. `mode`, if there is one, is the number in
layer.json; it may change only while the array is idle.
"""

_PROTOCOL = {
    "output": """\
Every clock: a (activations of all rows), w (weights of all columns), one step of the dot products; zeros when idle.
first: with the first step of a sum. last: with its last one. If D > 1, a step is D clocks long, one for each of D
rows of activations, and so are first and last. L + ROWS + COLUMNS - 1 clocks after the last step of a tile, `out`
shows the first result of the bottom row; each clock of shift brings the next one, D per row, from the bottom upwards.
No sum may complete while shift is on. array.v delays row r by r clocks and column c by c.
array_stream.v makes all of this from plain streams with valid/ready and a synchronous reset rst. A beat is s_a and s_w
of one step, s_last with the last step of a tile (with all D beats of it); m_data is one row of results, the bottom one
first, D per row, m_last with the tile's last. Within a tile, a late beat holds the whole array. The parameter STEPS is
the least number of beats of any tile: the larger, the earlier the next tile may begin. Define ARRAY_ASSERTIONS for
SystemVerilog assertions of the protocol.""",
    "weight": """\
load: for ROWS clocks, the weights of all columns, the bottom row's first. swap: with the first activations that
meet them; the next load begins no earlier than L * (ROWS - 1) + COLUMNS - 1 clocks after it. Every clock: a (one step
of K per row) and psum_in (the partial sums of all columns so far; none while first is on). Their sums leave at `out`
L * ROWS + COLUMNS - 1 clocks later. array.v delays row r by r * L clocks and column c by c: that is
ROWS * (ROWS - 1) / 2 * L registers as wide as a row's activations.
array_stream.v makes all of this from plain streams with valid/ready and a synchronous reset rst. ROWS beats of load_w
are the weights of one tile, those of the bottom row first; the next tile loads while the present one is in use. A beat
of s_a (one step of K per row) comes with s_psum, the sums of all columns so far, or with s_first where there are none;
s_last marks the last beat that meets the present weights, and the next one waits for the next. Each beat gives one beat
of m_data, in order, m_last with that of s_last. Late beats are gaps between results; a result that waits holds the
whole array. Define ARRAY_ASSERTIONS for SystemVerilog assertions of the protocol.""",
}


@dataclass(frozen=True)
class LayerChoice:
    """The matrix product of a design with the most MACs in one mode of its unit."""

    pair: FormatPair  # of the layer, with its method
    task: str
    layer: str
    kind: str
    macs: int  # for one result


class WrittenLayer(TypedDict):
    """A layer that the bench multiplies, in layer.json."""

    mode: int  # of the unit
    pair: str
    task: str
    layer: str
    kind: str
    macs: int  # for one result
    streamed: list[int]  # shape of the sampled streamed operand
    stationary: list[int]  # shape of the sampled stationary operand
    products_per_step: int  # per dot product
    steps: int  # for the whole matrices
    compared: int  # rows of results


class WrittenArray(TypedDict):
    """The content of layer.json, and the fields that commands add to it in their JSON."""

    to: NotRequired[str]  # the exporter's name
    design: str
    study: str
    dataflow: str  # output or weight: the stationary operand
    rows: int
    columns: int
    corner: list[int]  # [rows, columns] of the array that the bench simulates
    unit: str
    modes: list[str]  # format pairs of the unit
    latency: list[int]  # clocks, by mode
    interleave: list[int]  # number of interleaved sums, by mode
    layers: list[WrittenLayer]
    simulator: NotRequired[str]
    wrong: NotRequired[list[int]]  # results that differ: rows of each layer, then of the streams in each mode
    folder: NotRequired[str]


def export_rtl(
    study_dir: Path, design_id: str, out_dir: Path, dataflow: str = "output", simulator: str | None = None
) -> WrittenArray:
    """Write the array of a design as Verilog, with a self-checking bench.

    Args:
        study_dir: the study's folder.
        design_id: id of a design in its front.json.
        out_dir: folder for the files.
        dataflow: ``output`` or ``weight``: the stationary operand.
        simulator: ``iverilog`` or ``verilator``, to run the bench in; None: it is not run.
    Returns:
        The content of layer.json; with a simulator also `simulator` and `wrong`.
    Raises:
        InputError: unknown design or dataflow, or a design without a valid accelerator.
        EnvironmentProblem: `out_dir` cannot be written, or the simulator fails.
    """
    design = read_design(Path(study_dir), design_id)
    if not design.hardware:
        raise InputError(f"{design.folder}: its space has no hardware: there is no array to write")
    chip = _accelerator(design)
    unit = chip.unit.rtl
    made = array(unit, chip.rows, chip.columns, dataflow, enable=True)
    tasks = {name: design.load(name) for name in design.assignments}
    chosen = choose_layers(design, tasks)
    for pair in chosen:
        chip.unit.rate(pair)  # raises if the unit does not support the pair
    checks, layers = _checks(design, made, unit, tasks, chosen)
    facts: WrittenArray = {
        "design": design.id,
        "study": design.study,
        "dataflow": dataflow,
        "rows": chip.rows,
        "columns": chip.columns,
        "corner": [checks[0].rows, checks[0].columns],
        "unit": made.unit.name,
        "modes": [str(pair) for pair in unit.pairs],
        "latency": list(made.built.latency),
        "interleave": [made.interleave(mode) for mode in range(len(unit.pairs))],
        "layers": layers,
    }
    sources = {"array.v": made.text, "array_stream.v": array_stream(made), "unit.v": made.built.text}
    rows, columns = facts["corner"]
    streams = [ArrayStreamCheck(made, mode, rows=rows, columns=columns) for mode in range(len(unit.pairs))]
    everything: list[Checked] = [*checks, *streams]
    _write(Path(out_dir), facts, sources, everything)
    verdicts: list[Verdict] = simulate(simulator, everything, sources, Path(out_dir)) if simulator else []
    if simulator:
        facts["simulator"], facts["wrong"] = simulator, [verdict.wrong for verdict in verdicts]
    return facts


def _checks(
    design: ChosenDesign,
    made: Array,
    unit: Unit,
    tasks: Mapping[str, Task],
    chosen: Mapping[FormatPair, LayerChoice],
) -> tuple[list[ArrayCheck], list[WrittenLayer]]:
    """For the layer chosen for each mode, in the unit's order: its check in the bench, and its entry in layer.json."""
    names = {choice.task for choice in chosen.values()}
    evaluators = {name: design.evaluator(name, tasks[name]) for name in names}
    operands = {name: sample_operands(tasks[name]) for name in evaluators}
    checks: list[ArrayCheck] = []
    layers: list[WrittenLayer] = []
    for mode, datapath in enumerate(unit.pairs):
        if datapath not in chosen:
            continue
        choice = chosen[datapath]
        found = _operands_of(operands[choice.task], choice)
        evaluator = evaluators[choice.task]
        ranges = found.ranges(choice.pair, evaluator.network.ranges)
        weight = found.weight(choice.pair, evaluator.chosen)
        matrices = Matrices.of(unit.modes[mode], weight, found.streamed, ranges)
        checks.append(ArrayCheck(made, mode, matrices))
        layers.append(_layer(checks[-1], choice, found))
    return checks, layers


def _layer(check: ArrayCheck, choice: LayerChoice, operands: LayerOperands) -> WrittenLayer:
    return {
        "mode": check.mode,
        "pair": str(choice.pair),
        "task": choice.task,
        "layer": choice.layer,
        "kind": choice.kind,
        "macs": choice.macs,
        "streamed": list(operands.streamed.shape),
        "stationary": list(operands.stationary.shape),
        "products_per_step": check.cells.unit.modes[check.mode].products,
        "steps": check.matrices.steps,
        "compared": check.compared,
    }


def choose_layers(design: ChosenDesign, tasks: Mapping[str, Task]) -> dict[FormatPair, LayerChoice]:
    """For every datapath that the design's networks use, the matrix product with the most MACs for one result.

    Raises InputError if a layer has no formats.
    """
    macs: dict[tuple[FormatPair, str, str, str], int] = {}
    for name, assignment in design.assignments.items():
        workload = tasks[name].workload()
        for op in workload.operators:
            try:
                formats = assignment[op.layer]
                pair = replace(formats.pair(op.kind), method=formats.method)
            except (KeyError, ValueError) as error:
                raise InputError(f"design '{design.id}', {name}: layer '{op.layer}' has no formats ({error})") from None
            key = pair, name, op.layer, op.kind
            macs[key] = macs.get(key, 0) + op.macs * workload.repeats.get(op.phase, 1)
    found: dict[FormatPair, LayerChoice] = {}
    for (pair, name, layer, kind), count in macs.items():
        if pair.datapath not in found or count > found[pair.datapath].macs:
            found[pair.datapath] = LayerChoice(pair, name, layer, kind, count)
    if not found:
        raise InputError(f"design '{design.id}': no layer is assigned, so there is nothing to multiply")
    return found


def _accelerator(design: ChosenDesign) -> Accelerator:
    try:
        return design.design.accelerator.built()
    except InputError as error:
        raise InputError(f"{design.folder}: design '{design.id}' has no chip that can be built: {error}") from None


def _operands_of(operands: tuple[LayerOperands, ...], choice: LayerChoice) -> LayerOperands:
    for found in operands:
        if (found.layer, found.kind) == (choice.layer, choice.kind):
            return found
    raise InputError(f"{choice.task}: layer '{choice.layer}' was not seen during calibration")


def _write(folder: Path, facts: WrittenArray, sources: Mapping[str, str], checks: Sequence[Checked]) -> None:
    text = READ_ME.format(
        design=facts["design"],
        study=facts["study"],
        rows=facts["rows"],
        columns=facts["columns"],
        dataflow=facts["dataflow"],
        unit=facts["unit"],
        corner=" x ".join(map(str, facts["corner"])),
        latency=", ".join(map(str, facts["latency"])),
        interleave=", ".join(map(str, facts["interleave"])),
        protocol=_PROTOCOL[facts["dataflow"]],
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_checks(checks, folder)
    except OSError as error:
        raise EnvironmentProblem(f"{folder}: cannot be written ({error.strerror or error})") from None
    for name, source in sources.items():
        write_atomic(folder / name, source)
    write_atomic(folder / "layer.json", json.dumps(facts, indent=1) + "\n")
    write_atomic(folder / "README.txt", text)
