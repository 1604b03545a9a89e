"""What an export shows of itself: the comparison with the scored network, and ``PROVENANCE.json``."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from codesign.errors import CodesignError
from codesign.export.origin import Origin
from codesign.export.scored import Call, ScoredNetwork
from codesign.files import write_atomic

SCHEMA_VERSION = 1
PROVENANCE = "PROVENANCE.json"
EQUAL_DB = 200.0  # of bit-identical outputs, whose SQNR is infinite: JSON has no infinity


@dataclass(frozen=True)
class Proof:
    """What the foreign library holds and computes, after it has opened the files again."""

    opened_by: str  # the library that read the files again; "" if only codesign did
    layers: int  # whose codes and scales are equal, bit for bit
    sqnr_db: float | None = None  # least of the outputs of `calls` calls, against the scored network; None: not run
    calls: int = 0
    loss_db: float | None = None  # SQNR of the scored network against the float one on them: what formats cost
    deviations: tuple[str, ...] = ()  # what the foreign library computes differently, in words
    packages: tuple[str, ...] = ()  # whose versions count
    layer_db: float | None = None  # least SQNR of a layer's output for the very input that it had; None: not compared


def sqnr_db(output: Any, reference: Any) -> float:
    """The least SQNR in dB of all floating-point tensors of an output against those of `reference`.

    ``10 log10(sum(reference**2) / sum((output - reference)**2))``; EQUAL_DB if they are bit-identical, -inf if they
    have other shapes or a result is not finite.
    """
    mine, theirs = (
        [x for x in tree_leaves(each) if isinstance(x, Tensor) and x.is_floating_point()]
        for each in (output, reference)
    )
    if len(mine) != len(theirs) or not theirs:
        return -math.inf
    return min(map(_sqnr_db, mine, theirs))


def _sqnr_db(x: Tensor, y: Tensor) -> float:
    if x.shape != y.shape:
        return -math.inf
    x, y = x.detach().cpu().double(), y.detach().cpu().double()
    noise, signal = float((x - y).square().sum()), float(y.square().sum())
    if noise == 0:
        return EQUAL_DB
    if not (math.isfinite(noise) and signal > 0):
        return -math.inf
    return min(EQUAL_DB, 10 * math.log10(signal / noise))


def least_sqnr_db(module: nn.Module, calls: Iterable[Call]) -> float:
    """The least `sqnr_db` of a module's outputs against those of the scored network, on its inputs."""
    with torch.no_grad():
        return min(sqnr_db(module(*call.args, **call.kwargs), call.output) for call in calls)


def check_equal(layer: str, what: str, found: Tensor, wanted: Tensor) -> None:
    """Raise CodesignError unless the foreign library holds the very numbers `wanted`."""
    if found.shape != wanted.shape:
        raise CodesignError(f"layer '{layer}': {what} of shape {tuple(found.shape)}, wanted {tuple(wanted.shape)}")
    wrong = int((found.double() != wanted.double()).sum())
    if wrong:
        raise CodesignError(f"layer '{layer}': {wrong:,} of {wanted.numel():,} {what} differ from what was scored")


def check_sqnr(found: float, least: float, opened_by: str) -> None:
    """Raise CodesignError if outputs are further from those of the scored network than a library's sums explain."""
    if not (found >= least and math.isfinite(found)):  # nothing is as far from itself as all wrong
        raise CodesignError(
            f"{opened_by} computes something else than was scored: SQNR {found:.1f} dB, at least {least:.0f} dB "
            "wanted; nothing was written"
        )


def provenance(origin: Origin, network: ScoredNetwork, to: str, folder: Path, proof: Proof) -> Mapping[str, Any]:
    """The content of ``PROVENANCE.json``: where a file comes from, what it holds, and how it was checked."""
    task, assignment = network.task, network.assignment
    layers = {name: {"formats": layer.formats.to_dict()} for name, layer in network.layers.items()}
    for name in network.weighted:
        layers[name] |= {"sha256": network.hashes(name)}
    packages = dict.fromkeys(("codesign", "torch", *proof.packages))
    return {
        "schema_version": SCHEMA_VERSION,
        "study": origin.study,
        "design": origin.design,
        "task": origin.task,
        "network": origin.spec.task,
        "fingerprint": task.fingerprint(),
        "assignment": assignment.digest(),
        "ranges": network.evaluator.ranges,
        "to": to,
        "versions": {name: version_of(name) for name in packages},
        "proof": {key: value for key, value in asdict(proof).items() if key not in ("packages", "deviations")},
        "deviations": list(proof.deviations),
        "files": dict(digests(folder)),
        "layers": layers,
    }


def write_provenance(folder: Path, content: Mapping[str, Any]) -> None:
    """Write `provenance` beside the exported files."""
    write_atomic(folder / PROVENANCE, json.dumps(content, indent=1) + "\n")


def digests(folder: Path) -> Iterable[tuple[str, str]]:
    """Path and SHA-256 of every file of a folder, sorted."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            yield str(path.relative_to(folder)), hashlib.file_digest(file, "sha256").hexdigest()


def version_of(package: str) -> str:
    """The version of an installed package."""
    if package == "torch":
        return str(torch.__version__)
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
