"""``codesign confirm``: the units of a study's front, synthesised and simulated, beside what their model says."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from codesign.commands.output import own_folder, print_json, print_table
from codesign.commands.progress import StageProgress
from codesign.designs.folder import load_front
from codesign.errors import InputError
from codesign.files import write_atomic
from codesign.hardware import MacUnit
from codesign.hardware.calibration.confirm import Compared, Confirmed, confirm

CONFIRMED = "confirmed.json"
_KNOWN = (CONFIRMED, "results.jsonl")


def run(arguments: argparse.Namespace) -> int:
    users = _units(arguments)
    out = arguments.out or arguments.study / "confirmed"
    with own_folder(out, "confirm", _KNOWN):
        with StageProgress(silent=arguments.json or arguments.quiet) as progress:
            units = list(users)
            found = confirm(
                units, arguments.liberty, out, arguments.tool, arguments.limit, arguments.parallel, progress
            )
        rows = [{**_facts(each), "designs": users[unit]} for unit, each in zip(units, found, strict=True)]
        write_atomic(out / CONFIRMED, json.dumps(rows, indent=1) + "\n")
    if arguments.json:
        print_json(rows)
    else:
        _print(found)
        print(f"measured: {out / CONFIRMED}")
    return 1 if any(each.failure for each in found) else 0


def _units(arguments: argparse.Namespace) -> dict[MacUnit, list[str]]:
    """Unit -> the designs that use it."""
    front = load_front(arguments.study)
    designs = [front.design(arguments.design)] if arguments.design else front.designs
    users: dict[MacUnit, list[str]] = {}
    if not front.hardware_given:
        raise InputError(f"{arguments.study}: formats alone were searched, without hardware: no unit to synthesise")
    for design in designs:
        users.setdefault(design.accelerator.built().unit, []).append(design.id)
    if not users:
        raise InputError(f"{arguments.study}: its front is empty: no unit to synthesise")
    return users


def _facts(found: Confirmed) -> dict[str, object]:
    """As JSON, with the relative errors of the model."""
    each = {"area_um2": found.area_um2, "delay_ps": found.delay_ps}
    compared = {name: _with_error(one) for name, one in each.items()}
    energies = {pair: _with_error(one) for pair, one in found.energy_pj.items()}
    return {**asdict(found), **compared, "energy_pj": energies}


def _with_error(one: Compared) -> dict[str, float | None]:
    return {**asdict(one), "error": one.error}


def _print(found: list[Confirmed]) -> None:
    rows = []
    for each in found:
        figures = [("area, um2", each.area_um2), ("delay, ps", each.delay_ps)]
        figures += [(f"{pair}, pJ", one) for pair, one in each.energy_pj.items()]
        for place, (what, one) in enumerate(figures):
            measured = "-" if one.measured is None else f"{one.measured:.4g}"
            error = "-" if one.error is None else f"{100 * one.error:+.1f} %"
            rows.append(["" if place else each.unit, what, f"{one.modelled:.4g}", measured, error])
        if each.failure:
            rows.append(["", f"not measured: {each.failure}", "", "", ""])
    print_table("in the cell library of the model", ["unit", "", "modelled", "measured", "model is off by"], rows)
