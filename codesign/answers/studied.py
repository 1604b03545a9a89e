"""The formats of a study's design on a network: its own assignment, or by role of the layer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from codesign.answers.chips import Mix
from codesign.designs.folder import load_study
from codesign.errors import InputError
from codesign.export.study import ChosenDesign, read_design
from codesign.formats import FormatPair
from codesign.hardware.schedule.operators import operator_pairs
from codesign.workload import Workload
from codesign.workload.roles import LABEL, RoleRules, roles


@dataclass(frozen=True)
class Studied:
    """A design's formats on a network, and what was measured of them."""

    mix: Mix
    quality: str  # a sentence


def studied(workload: Workload, folder: str, design_id: str, task: str) -> Studied:
    """The mix of a design of the study in `folder` on `workload`.

    Args:
        workload: the network.
        folder: of the study.
        design_id: a design of its front; empty: the balanced one.
        task: the network of the design to take formats from; empty: its only one.
    Raises:
        InputError: no such study, design or task, or formats without hardware.
    """
    design = read_design(Path(folder), design_id or load_study(Path(folder)).chosen.id)
    if not design.hardware:
        raise InputError(f"{folder}: its space has no hardware, so that no unit is known for its formats")
    name = design.task_named(task or None)
    pairs = tuple(FormatPair.parse(pair) for pair in design.design.accelerator.pairs)
    label = f"{design.id} of {design.study}"
    measured = _measured(design, name)
    if set(design.assignments[name]) == set(workload.layers):
        return Studied(Mix.of(label, workload, design.assignments[name], pairs), measured)
    rules = _rules(design, name)
    missing = sorted({role for role in roles(workload).values() if role not in rules.rules})
    mix = Mix.of(label, workload, rules.apply(workload), pairs)
    default = f"; {', '.join(missing)} as most of its MACs, {rules.default}" if missing else ""
    return Studied(mix, f"{measured}; on {workload.name} it is {LABEL} by role and was not measured{default}")


def _rules(design: ChosenDesign, task: str) -> RoleRules:
    """A design's formats by role, and for other roles those of most MACs."""
    own = design.load(task).workload()
    rules = design.rules(task, own)
    most = Mix.of("", own, design.assignments[task]).main
    pairs = operator_pairs(own, design.assignments[task])
    return replace(rules, default=next(pair for pair in pairs if pair.datapath == most))


def _measured(design: ChosenDesign, task: str) -> str:
    if task not in design.design.quality:
        return f"{design.id}: quality was not measured"
    found = design.design.quality[task]
    return (
        f"{design.id} on {task}: {found.metric} {found.value:.4g} [{found.low:.4g}, {found.high:.4g}] {found.unit}, "
        f"measured on {found.n} samples"
    )
