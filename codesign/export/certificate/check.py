"""`check_certificate`: whether another machine finds what a certificate says."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load

from codesign.errors import InputError
from codesign.export.certificate.certify import (
    DRAWN,
    TILES,
    Progress,
    chip_of,
    design_sha256,
    drawn_of,
    drawn_outputs,
    layer_facts,
    machine,
    rtl_sha256,
    simulate_tiles,
    tile_facts,
    versions,
)
from codesign.export.certificate.network import UnitNetwork
from codesign.export.certificate.record import Certificate, CertifiedTask, TileFacts, read_certificate
from codesign.export.certificate.tiles import Tile, cells_of, sha256
from codesign.export.proof import sqnr_db
from codesign.export.scored import ScoredNetwork
from codesign.export.study import ChosenDesign, read_design
from codesign.hardware.rtl.emit.array import Array as Cells
from codesign.hardware.rtl.verify.simulate import SIMULATORS
from codesign.quality.evaluator import steps
from codesign.quality.quantized import opened

_ROUNDED = 1e-9  # of a value
_MARGIN_DB = 3.0  # by which another machine's outputs are nearer to the certified than those are to the float network's

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Finding:
    """One thing that was checked."""

    what: str
    equal: bool
    detail: str = ""


def check_certificate(
    study: Path, path: Path, progress: Progress, simulators: Collection[str] = SIMULATORS
) -> list[Finding]:
    """Compare a certificate with what this machine makes of the same design.

    Computed again: all hashes of the design, its Verilog and its codes and scales; the drawn tiles, by the twin and in
    the simulators that are installed; the outputs of the drawn samples. The qualities of all samples are not: for them
    the whole network has to be certified again. That a difference is one of its two values is checked.

    Where software and instructions of the processor are those of the certificate, the outputs have to be equal bit for
    bit. Elsewhere float operations may differ in their last bits, and so may codes: then the outputs have to be nearer
    to the certified ones, by 3 dB, than those are to the float network's.

    Raises InputError if the certificate or the study cannot be read.
    """
    certificate = read_certificate(path)
    if set(certificate.files) != {TILES, DRAWN}:
        raise InputError(f"{path}: files: expected {TILES} and {DRAWN}, found {', '.join(certificate.files)}")
    files = {name: _read(path.parent / name) for name in certificate.files}
    design = read_design(study, certificate.design)
    chip = chip_of(design)
    cells = cells_of(chip)
    unit = (cells.unit.name, chip.accumulator, chip.dot)
    named = (certificate.unit, certificate.accumulator, certificate.dot)
    found = [
        Finding("design", design_sha256(design) == certificate.design_sha256, certificate.design),
        Finding("unit", unit == named, certificate.unit),
        Finding("Verilog sources", rtl_sha256(cells) == certificate.rtl, ", ".join(certificate.rtl)),
        *(
            Finding(name, hashlib.sha256(content).hexdigest() == certificate.files[name])
            for name, content in files.items()
        ),
    ]
    if not all(each.equal for each in found):
        return found
    tiles, outputs = (_arrays(path.parent / name, files) for name in (TILES, DRAWN))
    drawn: list[Tile] = []
    for name, facts in certificate.tasks.items():
        if name not in design.assignments:
            raise InputError(f"{path}: design {design.id} has no task '{name}'")
        own = _stored(cells, facts, name, tiles)
        found += _tiles(cells, facts, name, own)
        drawn += own
    for each in simulate_tiles(cells, drawn, simulators, progress):
        what = f"{each.tiles} tiles in {each.simulator}"
        found.append(Finding(what, each.wrong == 0, f"{each.wrong} of {each.compared} rows of results differ"))
    for name, facts in certificate.tasks.items():
        found += _network(design, certificate, name, facts, outputs, progress)
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def _arrays(path: Path, files: Mapping[str, bytes]) -> Arrays:
    try:
        arrays: Arrays = load(files[path.name])
    except SafetensorError as error:
        raise InputError(f"{path}: not a safetensors file ({error})") from None
    return arrays


def _stored(cells: Cells, facts: CertifiedTask, name: str, arrays: Arrays) -> list[Tile]:
    """The tiles of a task."""
    pairs = [str(pair) for pair in cells.unit.pairs]
    found = []
    for i, each in enumerate(facts.tiles):
        if each.mode not in pairs:
            raise InputError(f"the unit has no mode '{each.mode}' for a tile of layer '{each.layer}'")
        found.append(Tile.of(each.layer, each.kind, pairs.index(each.mode), f"{name}.{i}", arrays))
    return found


def _tiles(cells: Cells, facts: CertifiedTask, name: str, tiles: Sequence[Tile]) -> Iterator[Finding]:
    """The tiles of a task by the twin, from their codes on."""
    again = tile_facts(cells, tiles)
    same = [_known(mine) == _known(theirs) for mine, theirs in zip(again, facts.tiles, strict=True)]
    yield Finding(f"{name}: operands and results of tiles", all(same), f"{sum(same)} of {len(same)} tiles")
    wrong = sum(tile.twin_differs for tile in again)
    yield Finding(f"{name}: tiles in the twin", wrong == 0, f"{wrong} results differ")


def _known(facts: TileFacts) -> tuple[object, ...]:
    return facts.layer, facts.kind, facts.mode, facts.shape, facts.operands, facts.results


def _network(
    design: ChosenDesign,
    certificate: Certificate,
    name: str,
    facts: CertifiedTask,
    outputs: Arrays,
    progress: Progress,
) -> Iterator[Finding]:
    """The codes and scales of a network, and its outputs for the drawn samples."""
    progress(f"check {name}", 0, 2, "loading the network")
    task = design.load(name)
    scored = ScoredNetwork(task, design.assignments[name], design.evaluator(name, task))
    network = UnitNetwork(scored, cells_of(chip_of(design)).unit, certificate.vector)
    fingerprint = task.fingerprint()
    yield Finding(f"{name}: network and data", fingerprint == facts.fingerprint, fingerprint)
    yield Finding(f"{name}: assignment", scored.assignment.digest() == facts.assignment, facts.assignment)
    layers = {layer.name: layer_facts(network, layer) for layer in scored.layers.values()}
    other = [layer for layer in {**facts.layers, **layers} if layers.get(layer) != facts.layers.get(layer)]
    detail = f"first '{other[0]}'" if other else f"{len(layers)} layers"
    yield Finding(f"{name}: formats, codes and scales", not other, detail)
    differences = (each.certified.value - each.scored.value - each.difference for each in facts.metrics)
    sizes = (max(abs(each.certified.value), abs(each.scored.value)) for each in facts.metrics)
    same = all(abs(wrong) <= _ROUNDED * size for wrong, size in zip(differences, sizes, strict=True))
    yield Finding(
        f"{name}: differences of qualities", same, f"of {len(facts.metrics)}; the qualities are not run again"
    )
    if facts.drawn.rows != drawn_of(facts.certified.rows, certificate.seed):
        yield Finding(
            f"{name}: draw of samples", False, f"{list(facts.drawn.rows)} are not drawn by {certificate.seed}"
        )
        return
    progress(f"check {name}", 1, 2, "running the drawn samples in the unit's arithmetic")
    if not set(facts.drawn.rows) <= set(range(task.sample_count())):
        raise InputError(f"{name}: the certificate drew samples {facts.drawn.rows} of {task.sample_count()}")
    again = drawn_outputs(network, task, facts.drawn.rows)
    what = f"{name}: outputs of drawn samples"
    if {key: sha256(x) for key, x in again.items()} == facts.drawn.sha256:
        yield Finding(what, True, "bit for bit")
        return
    wanted = {key: outputs[f"{name}.{key}"] for key in again if f"{name}.{key}" in outputs}
    if {key: sha256(x) for key, x in wanted.items()} != facts.drawn.sha256:
        yield Finding(what, False, f"those in {DRAWN} are not the certificate's")
        return
    near = sqnr_db(*(_tensors(each) for each in (again, wanted)))
    if (certificate.versions, certificate.machine) == (versions(), machine()):
        yield Finding(what, False, f"SQNR {near:.1f} dB, by the same software")
        return
    part = task.some(facts.drawn.rows) if facts.drawn.rows else task
    assert part is not None
    floats = [dict(each) for each in steps(lambda: opened(part.module), part, part.module, False)]
    noise = sqnr_db(_tensors(wanted), _tensors({k: torch.cat([e[k].flatten() for e in floats]) for k in floats[0]}))
    yield Finding(
        what,
        math.isfinite(near) and near >= noise + _MARGIN_DB,
        f"SQNR {near:.1f} dB against those of {certificate.machine} (formats cost {noise:.1f} dB): "
        "float operations differ in their last bits",
    )


def _tensors(outputs: Mapping[str, np.ndarray] | Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
    return [torch.as_tensor(outputs[key]).flatten() for key in sorted(outputs)]
