"""Brevitas networks as folders: written after a comparison with the measured network, and loaded again."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from codesign.errors import CodesignError, EnvironmentProblem, InputError
from codesign.export.brevitas import OperandRanges, build, check_formats, operand_ranges
from codesign.export.networks import WrittenNetwork, written
from codesign.export.proof import PROVENANCE, Proof, provenance, sqnr_db, write_provenance
from codesign.export.quantizers import require_brevitas
from codesign.export.scored import ScoredNetwork
from codesign.export.study import ChosenDesign, read_design
from codesign.export.weights import give, given_weights
from codesign.files import empty_beside, write_atomic
from codesign.formats import Assignment, Format, get_format
from codesign.formats.assignment import AssignmentError, parse_assignment
from codesign.jsonio import read_json
from codesign.models import Outputs, Task, load_task
from codesign.models.directories import TaskOptions
from codesign.quality import Evaluator
from codesign.terms import DEFAULT_RULE, RangeRule

SCHEMA_VERSION = 1
LEAST_PSNR_DB = 60.0  # between the outputs of the exported and the measured network
EQUAL_PSNR_DB = 200.0  # for bit-identical outputs, whose PSNR is infinite: JSON has no infinity
MANIFEST, WEIGHTS = "manifest.json", "model.safetensors"


@dataclass(frozen=True)
class Exported:
    """A Brevitas network that has been compared with the measured one, and not yet written."""

    network: nn.Module
    assignment: Assignment
    ranges: OperandRanges
    rule: RangeRule  # that gave the ranges
    psnr_db: float  # of its outputs against those of the measured network
    sqnr_db: float  # of the same


class WrittenBrevitas(WrittenNetwork):
    """A Brevitas network in the JSON of ``codesign export``."""

    psnr_db: float  # of its outputs against those of the measured network


class WrittenNetworks(TypedDict):
    """The Brevitas networks of a design in the JSON of ``codesign export``."""

    to: NotRequired[str]  # the exporter's name, which `export_design` adds
    design: str
    tasks: dict[str, WrittenBrevitas]


def export_brevitas(study_dir: Path, design_id: str, out_dir: Path) -> WrittenNetworks:
    """Write each network of a design to ``out_dir/<task>``.

    All networks are built, and compared with the measured ones on the evaluation batch, before any file is written.

    Raises:
        InputError: unknown design, or a format that Brevitas lacks.
        CodesignError: an exported network differs from the measured one (PSNR below LEAST_PSNR_DB).
        EnvironmentProblem: `out_dir` cannot be written.
    """
    require_brevitas()
    design = read_design(Path(study_dir), design_id)
    for task_name, assignment in design.assignments.items():
        try:
            check_formats(assignment)
        except InputError as error:
            raise InputError(f"design '{design.id}', {task_name}: {error}") from None
    exported = {}
    for name, assignment in design.assignments.items():
        task = design.load(name)
        evaluator = design.evaluator(name, task)
        exported[name] = task, evaluator, export_task(task, assignment, evaluator)
    facts: dict[str, WrittenBrevitas] = {}
    for name, (task, evaluator, result) in exported.items():
        folder = Path(out_dir) / name
        _write(folder, result, design, name)
        network = ScoredNetwork(task, result.assignment, evaluator)
        origin = design.origin(name)
        proof = Proof("brevitas", len(result.assignment), result.sqnr_db, packages=("brevitas", "safetensors"))
        write_provenance(folder, provenance(origin, network, "brevitas", folder, proof))
        facts[name] = {**written(folder, network, proof), "psnr_db": result.psnr_db}
    return {"design": design.id, "tasks": facts}


def export_task(
    task: Task, assignment: Assignment, evaluator: Evaluator | None = None, *, ranges: RangeRule = DEFAULT_RULE
) -> Exported:
    """The Brevitas network of one task, compared with the measured network on the evaluation batch.

    Args:
        task: the task.
        assignment: the formats of its layers.
        evaluator: what measured it; default: a new one.
        ranges: rule that clips activations, of the default evaluator.
    Raises:
        InputError: a format or layer that Brevitas lacks.
        CodesignError: the outputs differ (PSNR below LEAST_PSNR_DB).
    """
    check_formats(assignment)
    evaluator = evaluator or Evaluator(task, ranges=ranges)
    evaluator.check(assignment)
    fitted = operand_ranges(assignment, evaluator.network.ranges)
    network = build(task.module, assignment, fitted)
    give(network, given_weights(task.module, assignment, evaluator.chosen))
    with torch.inference_mode(), warnings.catch_warnings():
        # Brevitas multiplies the tensors themselves where it cannot tell the scale of a product, and warns of it
        warnings.filterwarnings("ignore", module="brevitas")
        outputs = task.run(network)
    reference = evaluator.outputs(assignment)
    psnr_db = output_psnr_db(outputs, reference)
    if not psnr_db >= LEAST_PSNR_DB:
        raise CodesignError(
            f"{task.name}: the Brevitas network differs from the measured one: "
            f"PSNR {psnr_db:.1f} dB, at least {LEAST_PSNR_DB:.0f} dB wanted; nothing was written"
        )
    return Exported(network, assignment, fitted, evaluator.ranges, psnr_db, sqnr_db(outputs, reference))


def output_psnr_db(outputs: Outputs, reference: Outputs) -> float:
    """The least PSNR in dB over all floating-point outputs, with the range (max - min) of `reference` as peak.

    EQUAL_PSNR_DB if they are bit-identical, -inf if they cannot be compared.
    """
    return min(_psnr_db(outputs[name], y) for name, y in reference.items() if y.is_floating_point())


def _psnr_db(x: Tensor, y: Tensor) -> float:
    error = float((x.double() - y.double()).square().mean())
    if error == 0:
        return EQUAL_PSNR_DB
    peak = float(y.max() - y.min()) or float(y.abs().max())
    if not (math.isfinite(error) and peak > 0):
        return -math.inf
    return min(EQUAL_PSNR_DB, 10 * math.log10(peak**2 / error))


def load_brevitas(folder: Path | str, *, module: nn.Module | None = None) -> nn.Module:
    """Load a Brevitas network from the folder ``out_dir/<task>`` of an export, in eval mode.

    Args:
        folder: holds the manifest and all numbers, including calibrated ranges.
        module: the float architecture; default: that of the task named in the manifest.
    Raises:
        InputError: the folder is no export, or does not fit the module.
    """
    require_brevitas()
    folder = Path(folder)
    path = folder / MANIFEST
    try:
        manifest = read_json(path)
        if manifest["schema_version"] != SCHEMA_VERSION:
            raise InputError(f"{path}: schema_version {manifest['schema_version']}, expected {SCHEMA_VERSION}")
        assignment = parse_assignment(manifest["formats"])
        ranges: OperandRanges = manifest["ranges"]
        spec, name = manifest["loaded_by"], manifest["task"]
        options = TaskOptions.model_validate(manifest.get("options", {}))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError) and not isinstance(error, AssignmentError):
            raise
        raise InputError(f"{path}: not the manifest of an export ({error})") from None
    module = module if module is not None else load_task(spec, name=name, search_path=folder, options=options).module
    network = build(module, assignment, ranges)
    weights = folder / WEIGHTS
    try:
        network.load_state_dict(load_file(weights))
    except FileNotFoundError:
        raise InputError(f"{weights}: no such file") from None
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{weights}: does not fit the network ({reason})") from None
    return network.eval()


def _write(folder: Path, result: Exported, design: ChosenDesign, task: str) -> None:
    """Write the weights, then the manifest, so that a folder with a manifest is complete."""
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "study": design.study,
        "design": design.id,
        "task": task,
        "loaded_by": design.specs[task].task,
        "options": design.specs[task].options.model_dump(mode="json", exclude_defaults=True),
        "brevitas": importlib.metadata.version("brevitas"),
        "torch": torch.__version__,
        "psnr_db": result.psnr_db,
        "formats": result.assignment.to_dict(),
        "ranges": result.ranges,
        "range_rule": result.rule,
        "scales": _scales(result),
    }
    (folder / PROVENANCE).unlink(missing_ok=True)  # of an earlier export
    # safetensors cannot represent tied weights, which share memory: they are written once per name
    state = {name: tensor.detach().clone().contiguous() for name, tensor in result.network.state_dict().items()}
    _save_atomic(folder / WEIGHTS, state)
    write_atomic(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")


def _scales(result: Exported) -> dict[str, dict[str, float]]:
    """The scale of each calibrated activation."""
    scales: dict[str, dict[str, float]] = {}
    for layer, operands in result.ranges.items():
        formats = result.assignment[layer]
        names = {"key": formats.key, "value": formats.value}
        scales[layer] = {
            operand: _scale(get_format(names.get(operand) or formats.activation), amax)
            for operand, amax in operands.items()
        }
    return scales


def _scale(fmt: Format, amax: float | Sequence[float]) -> float:
    if not isinstance(amax, Sequence):
        return amax / fmt.max_value or 1.0
    low, high = amax
    return float(fmt.quantize(torch.zeros(1), amax=(low, high)).scales or 1.0)


def _save_atomic(path: Path, state: dict[str, Tensor]) -> None:
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = empty_beside(path)
        save_file(state, temporary)
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or error
        raise EnvironmentProblem(f"{path}: cannot be written ({reason})") from None
