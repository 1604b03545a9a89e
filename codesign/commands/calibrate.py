"""``codesign calibrate``: fits the model of compute units to a cell library."""

from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import asdict

import yaml

from codesign.commands.output import own_folder, print_json, print_table
from codesign.commands.progress import StageProgress
from codesign.files import write_atomic
from codesign.formats import FormatPair
from codesign.hardware.calibration.calibrate import Calibration, calibrate
from codesign.hardware.units.unit_model import UnitModelFile

_KNOWN = ("mac_model.yaml", "results.jsonl")  # of runs that were killed, or are older than the mark


def run(arguments: argparse.Namespace) -> int:
    with own_folder(arguments.out, "calibrate", _KNOWN):
        with StageProgress(silent=arguments.quiet) as progress:
            found = calibrate(
                arguments.liberty,
                arguments.out,
                arguments.tool,
                arguments.clocks,
                arguments.limit,
                arguments.parallel,
                progress,
                arguments.units,
                [FormatPair.parse(text) for text in arguments.formats],
            )
        model, units = found.model(), [asdict(row) for row in found.results()]
        write_atomic(arguments.out / "mac_model.yaml", model_text(model))
        write_atomic(arguments.out / "units.json", json.dumps(units, indent=0) + "\n")
    if arguments.json:
        print_json(model)
        return 0
    _summarise(found)
    print(f"model: {arguments.out / 'mac_model.yaml'}\nunits: {arguments.out / 'units.json'}")
    print(f"next: codesign mac int8 int8 --model {shlex.quote(str(arguments.out / 'mac_model.yaml'))}")
    return 0


def model_text(model: UnitModelFile) -> str:
    """The text of mac_model.yaml."""
    head = "# Written by `codesign calibrate`; do not edit. errors: relative.\n"
    return head + yaml.safe_dump(model, sort_keys=False, width=140)


def _summarise(found: Calibration) -> None:
    rows = [
        [f"{what}, {how.replace('_', ' ')}", *(f"{100 * values[key]:.1f} %" for key in ("median", "p90", "worst"))]
        for what, kinds in found.errors().items()
        for how, values in kinds.items()
    ]
    title = f"{found.library.name}: {len(found.samples)} units synthesised, {len(found.failures)} failed"
    print_table(title, ["error", "median", "90th percentile", "worst"], rows)
    if found.left_out:
        print(
            f"quick grid: {found.left_out} units left out, the 90th percentiles are upper bounds with 90 % confidence; "
            "the same command without --units goes on"
        )
    for what in found.library.assumed:
        print(f"assumed: {what}")
    for name, reason in found.failures:
        print(f"failed: {name}: {reason}")
