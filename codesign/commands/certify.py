"""``codesign certify``: the quality that a design's silicon gives, by a twin of its unit; and a check of the record."""

from __future__ import annotations

import argparse

from codesign.commands.output import print_json, print_table, say_new_parents
from codesign.commands.progress import StageProgress
from codesign.errors import CodesignError, InputError
from codesign.export.certificate.certify import DRAWN, TILES, Options, certify_design
from codesign.export.certificate.check import check_certificate
from codesign.export.certificate.record import CERTIFICATE, Certificate, CertifiedTask, Compared
from codesign.export.study import read_design
from codesign.folders import check_own, mark
from codesign.hardware.rtl.verify.simulate import SIMULATORS, available

_COMMAND = "certify"


class CertificateFailed(CodesignError):
    """The hardware differs from its model, or a certificate from what it certifies (exit code 1)."""

    exit_code = 1


def run(arguments: argparse.Namespace) -> int:
    if (arguments.design is None) == (arguments.check is None):
        raise InputError("certify takes a design of the study (--design ID), or a certificate (--check FILE)")
    return _certify(arguments) if arguments.check is None else _check(arguments)


def _certify(arguments: argparse.Namespace) -> int:
    design = read_design(arguments.study, arguments.design)
    out = arguments.out or arguments.study / "certified" / design.id
    options = Options(arguments.samples, arguments.tiles, arguments.vector, arguments.seed)
    check_own(out, _COMMAND, (CERTIFICATE, TILES, DRAWN))
    if arguments.out:
        say_new_parents(out, "the files")
    try:
        with StageProgress(silent=arguments.json or arguments.quiet) as progress:
            made = certify_design(design, out, options, progress, arguments.task)
    finally:
        mark(out, _COMMAND)
    if arguments.json:
        print_json({**made.model_dump(mode="json", exclude_none=True), "folder": str(out), "wrong": made.wrong})
    else:
        for name, task in made.tasks.items():
            _print(made, name, task)
        for each in made.simulations:
            rows = f"{each.wrong} of {each.compared} rows of results differ"
            print(f"{each.tiles} tiles in {each.simulator}: {rows}")
        for name, version in made.simulators.items():
            if name not in {each.simulator for each in made.simulations}:
                print(f"{name}: {version}")
        print(f"{out / CERTIFICATE}: codesign certify {arguments.study} --check {out / CERTIFICATE}")
    if made.wrong:
        raise CertificateFailed(f"{made.wrong} results of drawn tiles of {made.design} differ; see {out / CERTIFICATE}")
    return 0


def _print(made: Certificate, name: str, task: CertifiedTask) -> None:
    """A network's qualities, and what was simulated of it."""
    few = "" if task.samples == task.all_samples or not task.all_samples else f" of {task.all_samples}"
    title = (
        f"{name} in {made.unit} with a {made.vector} vector unit: {task.samples}{few} samples, {task.seconds:.0f} s "
        "(difference: paired, 95 %)"
    )
    print_table(title, ["metric", "scored", "certified", "difference", "unit"], [_row(each) for each in task.metrics])
    differ = sum(tile.twin_differs for tile in task.tiles)
    print(f"{len(task.tiles)} tiles drawn: {differ} results differ from the twin's")


def _row(each: Compared) -> list[str]:
    difference = f"{each.difference:+.4g} [{each.difference_low:+.4g}, {each.difference_high:+.4g}]"
    values = (f"{each.scored.value:.5g}", f"{each.certified.value:.5g}")
    return [each.scored.metric, *values, difference, each.scored.unit]


def _check(arguments: argparse.Namespace) -> int:
    given = [name for name in ("task", "out", "samples") if getattr(arguments, name) is not None]
    if given:
        raise InputError(f"--{given[0]} goes with --design: what is checked stands in the certificate")
    with StageProgress(silent=arguments.json or arguments.quiet) as progress:
        found = check_certificate(arguments.study, arguments.check, progress)
    equal = all(each.equal for each in found)
    if arguments.json:
        print_json({"certificate": str(arguments.check), "equal": equal, "findings": [vars(each) for each in found]})
    else:
        for each in found:
            detail = f" ({each.detail})" if each.detail else ""
            print(f"{'equal    ' if each.equal else 'NOT EQUAL'}  {each.what}{detail}")
        for name in SIMULATORS:
            if not available(name):
                print(f"not run    tiles in {name}, which is not installed")
    if not equal:
        wrong = next(each for each in found if not each.equal)
        raise CertificateFailed(f"{arguments.check}: not equal: {wrong.what}")
    return 0
