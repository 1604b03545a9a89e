"""`certify_design`: the quality that a design's silicon would give, beside the one that was scored, with its record."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save
from torch import Tensor

from codesign.errors import InputError, nearest
from codesign.export.certificate.network import UnitNetwork, Vector
from codesign.export.certificate.record import (
    CERTIFICATE,
    Certificate,
    CertifiedTask,
    Compared,
    LayerFacts,
    OutputFacts,
    Simulation,
    TileFacts,
    write_certificate,
)
from codesign.export.certificate.tiles import Draw, Stored, Tile, by_twin, cells_of, sha256, simulated, sources_of
from codesign.export.proof import version_of
from codesign.export.scored import ScoredLayer, ScoredNetwork
from codesign.export.study import ChosenDesign
from codesign.files import make_folder, write_atomic
from codesign.hardware.chip.accelerator import Accelerator
from codesign.hardware.rtl.emit.array import Array as Cells
from codesign.hardware.rtl.verify.simulate import SIMULATORS, available, version
from codesign.models import Task
from codesign.models.task import Outputs
from codesign.quality.evaluator import steps
from codesign.quality.measure import measure
from codesign.workload import ProductInterceptor

TILES, DRAWN = "tiles.safetensors", "drawn.safetensors"
_DRAWN_SHARE, _MOST_DRAWN = 8, 4  # one of 8 samples is run again by a check, at most 4

Progress = Callable[[str, int, int, str], None]  # (stage, done, total, detail)


@dataclass(frozen=True)
class Options:
    """What is certified, and how."""

    samples: int | None = None  # of the evaluation data; None: all
    tiles: int = 2  # drawn layers of each (mode, kind of product)
    vector: Vector = "bf16"
    seed: int = 0
    simulators: Collection[str] = SIMULATORS


def certify_design(
    design: ChosenDesign, folder: Path, options: Options, progress: Progress, task: str | None = None
) -> Certificate:
    """Run the networks of a design, or one of them, in the arithmetic of its unit, and write the certificate.

    `folder` then holds certificate.json, the codes and results of the drawn tiles, and outputs of the drawn samples.

    Raises:
        InputError: an unknown task, a design without hardware, or a network that cannot be certified.
        EnvironmentProblem: the folder cannot be written, or a simulator fails.
    """
    if task is not None and task not in design.assignments:
        raise InputError(f"{design.id} has no task '{task}'{nearest(task, design.assignments)}")
    chip = chip_of(design)
    cells = cells_of(chip)
    runs: dict[str, _Run] = {}
    for name in [task] if task else design.assignments:
        try:
            runs[name] = _certified(design, name, chip, options, progress)
        except InputError as error:
            raise InputError(f"design '{design.id}', {name}: {error}") from None
    drawn = [tile for run in runs.values() for tile in run.tiles]
    simulations = simulate_tiles(cells, drawn, options.simulators, progress)
    stored: Stored = {}
    outputs: dict[str, np.ndarray] = {}
    for name, run in runs.items():
        for i, tile in enumerate(run.tiles):
            stored |= tile.stored(f"{name}.{i}")
        outputs |= {f"{name}.{key}": x for key, x in run.drawn.items()}
    files = {TILES: save(stored), DRAWN: save(outputs)}
    made = Certificate(
        schema_version=1,
        study=design.study,
        design=design.id,
        design_sha256=design_sha256(design),
        unit=cells.unit.name,
        accumulator=chip.accumulator,
        dot=chip.dot,
        rtl=rtl_sha256(cells),
        vector=options.vector,
        seed=options.seed,
        simulators=simulator_versions(options.simulators),
        versions=versions(),
        machine=machine(),
        tasks={
            name: run.facts.model_copy(update={"tiles": tile_facts(cells, run.tiles)}) for name, run in runs.items()
        },
        simulations=simulations,
        files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    )
    make_folder(folder)
    for name, content in files.items():
        write_atomic(folder / name, content)
    write_certificate(folder / CERTIFICATE, made)
    return made


@dataclass(frozen=True)
class _Run:
    """What came of one network."""

    facts: CertifiedTask
    tiles: list[Tile]
    drawn: dict[str, np.ndarray]  # outputs of the drawn samples


def _certified(design: ChosenDesign, name: str, chip: Accelerator, options: Options, progress: Progress) -> _Run:
    stage = f"certify {name}"
    progress(f"prepare {name}", 0, 3, "loading the network")
    task = design.load(name)
    scored = ScoredNetwork(task, design.assignments[name], design.evaluator(name, task))
    count = task.sample_count()
    rows, part = _chosen(task, count, options.samples)
    progress(f"prepare {name}", 1, 3, "running the float network")
    total = 0

    def see(_: object) -> None:
        nonlocal total
        total += 1

    def counting() -> ProductInterceptor:  # by the kernels of `opened`
        return ProductInterceptor(scored.module, see, decompose=True, in_parts=True)

    reference = list(steps(counting, part, part.module, False))
    progress(f"prepare {name}", 2, 3, "running the scored network")
    before = list(scored.evaluator.batches(scored.assignment, task=part))
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress(stage, min(done, total), total, "in the unit's arithmetic")

    network = UnitNetwork(scored, chip.unit.rtl, options.vector, tick=tick)
    progress(stage, 0, total, "in the unit's arithmetic")
    network.watch = draw = Draw(network, chip, options.tiles, options.seed)
    started = time.monotonic()
    after = list(steps(network.under, part, part.module, False))
    seconds = time.monotonic() - started
    network.watch = network.tick = None
    drawn = drawn_of(rows, options.seed)
    found = drawn_outputs(network, task, drawn)
    samples = {each.name: each for each in part.scored(before, reference)}
    compared = tuple(
        Compared.of(measure(samples[each.name]), measure(each, samples[each.name]))
        for each in part.scored(after, reference)
    )
    facts = CertifiedTask(
        network=design.specs[name].task,
        fingerprint=task.fingerprint(),
        ranges=scored.evaluator.ranges,
        assignment=scored.assignment.digest(),
        samples=len(rows) or compared[0].certified.n,
        all_samples=count,
        metrics=compared,
        layers={layer.name: layer_facts(network, layer) for layer in scored.layers.values()},
        tiles=(),
        scored=_output_facts(rows, before),
        certified=_output_facts(rows, after),
        drawn=OutputFacts(rows=drawn, sha256={key: sha256(x) for key, x in found.items()}),
        seconds=seconds,
    )
    return _Run(facts, draw.tiles, found)


def _chosen(task: Task, count: int, most: int | None) -> tuple[tuple[int, ...], Task]:
    """The samples of the evaluation, and the task that has them alone; no samples where they cannot be told apart."""
    every = tuple(range(count))
    if most is None or (count and most >= count):
        return every, task
    some = tuple(int(i) for i in np.unique(np.linspace(0, count - 1, most).round())) if count else ()
    part = task.some(some) if some else None
    if part is None:
        raise InputError("its evaluation data cannot be taken apart: leave out --samples")
    return some, part


def drawn_of(rows: Sequence[int], seed: int) -> tuple[int, ...]:
    """Samples that a check runs again; none where all have to run."""
    random = np.random.default_rng(seed)
    count = min(_MOST_DRAWN, -(-len(rows) // _DRAWN_SHARE))
    return tuple(sorted(int(rows[i]) for i in random.permutation(len(rows))[:count]))


def drawn_outputs(network: UnitNetwork, task: Task, rows: Sequence[int]) -> dict[str, np.ndarray]:
    """Outputs of some samples alone, or of all without `rows`, in the unit's arithmetic."""
    part = task.some(rows) if rows else task
    assert part is not None
    return _joined(list(steps(network.under, part, part.module, False)))


def _joined(outputs: Sequence[Outputs]) -> dict[str, np.ndarray]:
    """Outputs of all batches in one array each; of several batches as rows, since their sizes may differ."""
    if len(outputs) == 1:
        return {key: _array(x) for key, x in outputs[0].items()}
    return {key: np.concatenate([_array(each[key]).reshape(-1) for each in outputs]) for key in outputs[0]}


def _array(x: Tensor) -> np.ndarray:
    x = x.detach().cpu().contiguous()
    return (x.float() if x.is_floating_point() else x).numpy()


def _output_facts(rows: tuple[int, ...], outputs: Sequence[Outputs]) -> OutputFacts:
    return OutputFacts(rows=rows, sha256={key: sha256(x) for key, x in _joined(outputs).items()})


def chip_of(design: ChosenDesign) -> Accelerator:
    """The design's chip; raises InputError if it has none."""
    if not design.hardware:
        raise InputError(f"{design.folder}: its space has no hardware: there is no unit to certify a network in")
    try:
        return design.design.accelerator.built()
    except InputError as error:
        raise InputError(f"{design.folder}: design '{design.id}' has no chip that can be built: {error}") from None


def layer_facts(network: UnitNetwork, layer: ScoredLayer) -> LayerFacts:
    """What the unit reads of a layer."""
    kinds = ("attention_qk", "attention_pv") if layer.kind == "attention" else (layer.kind,)
    scales = {
        f"{name}.{part}": float(value)
        for name, operand in layer.operands.items()
        for part in ("scale", "zero_point", "tensor_scale")
        if (value := getattr(operand, part)) is not None
    }
    return LayerFacts(
        kind=layer.kind,
        formats=layer.formats.to_dict(),
        modes=tuple(str(network.unit.pairs[network.mode_of(layer.name, kind)]) for kind in kinds),
        weight=network.scored.hashes(layer.name) if layer.formats.weight is not None else {},
        scales=scales,
    )


def tile_facts(cells: Cells, tiles: Sequence[Tile]) -> tuple[TileFacts, ...]:
    """The drawn tiles, computed again by the twin."""
    return tuple(
        TileFacts(
            layer=tile.layer,
            kind=tile.kind,
            mode=str(cells.unit.pairs[tile.mode]),
            shape=(*tile.results.shape, tile.weight.codes.shape[-1]),
            operands=tile.operands_sha256,
            results=tile.results_sha256,
            twin_differs=tile.differing(again),
        )
        for tile, again in zip(tiles, by_twin(cells, tiles), strict=True)
    )


def simulate_tiles(
    cells: Cells, tiles: Sequence[Tile], simulators: Collection[str], progress: Progress
) -> tuple[Simulation, ...]:
    """The drawn tiles in each simulator that is installed."""
    found = []
    usable = [each for each in simulators if available(each)] if tiles else []
    for i, simulator in enumerate(usable):
        progress("simulate", i, len(usable), f"{len(tiles)} tiles in {simulator}")
        with tempfile.TemporaryDirectory() as scratch:
            verdict = simulated(cells, tiles, simulator, Path(scratch))
        compared, wrong = verdict.steps, verdict.wrong
        found.append(Simulation(simulator=simulator, tiles=len(tiles), compared=compared, wrong=wrong))
    return tuple(found)


def design_sha256(design: ChosenDesign) -> str:
    """Of the chip and all assignments."""
    chip = design.design.accelerator.model_dump(mode="json", exclude_none=True)
    assignments = {name: each.to_dict() for name, each in design.assignments.items()}
    return hashlib.sha256(json.dumps([chip, assignments], sort_keys=True).encode()).hexdigest()


def rtl_sha256(cells: Cells) -> dict[str, str]:
    """Of the array's sources."""
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in sources_of(cells).items()}


def simulator_versions(simulators: Collection[str]) -> dict[str, str]:
    """The version of each simulator, or why it is not run."""
    every = {each: version(each) if available(each) else "not installed" for each in simulators}
    return every | {each: "not asked for" for each in SIMULATORS if each not in simulators}


def versions() -> dict[str, str]:
    """Of what computes."""
    try:
        numba = importlib.metadata.version("numba")
    except importlib.metadata.PackageNotFoundError:
        numba = "not installed"
    own = {name: version_of(name) for name in ("codesign", "torch", "numpy")}
    return own | {"numba": numba, "python": platform.python_version()}


def machine() -> str:
    """The processor as torch sees it: by its instructions float sums differ in their last bits."""
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
