"""``codesign reference``: a design of a study as the complete reference design of a platform, in one folder."""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from codesign.commands.certify import CertificateFailed
from codesign.commands.output import print_json, print_table, say_new_parents
from codesign.commands.progress import StageProgress
from codesign.commands.rtl import BenchFailed
from codesign.designs import Study, load_study
from codesign.designs.folder import SPACE
from codesign.errors import InputError
from codesign.export import export_design, export_rtl
from codesign.export.certificate.certify import Options, certify_design, chip_of
from codesign.export.certificate.record import CERTIFICATE, Certificate
from codesign.export.networks import check_replaceable, staged
from codesign.export.proof import PROVENANCE, digests, version_of
from codesign.export.registry import GROUP, OWN
from codesign.export.rtl import WrittenArray
from codesign.export.study import ChosenDesign, read_design
from codesign.files import csv_text, write_atomic
from codesign.hardware import Accelerator, Cost, cost
from codesign.hardware.chip.files import write_accelerator
from codesign.hardware.rtl.verify.simulate import SIMULATORS, available
from codesign.hardware.schedule.roofline import roofline
from codesign.human import human
from codesign.plugins import by_name
from codesign.report import front_csv
from codesign.report.markdown import markdown
from codesign.report.page import html

_OWNER = "reference"  # of the folder, in its PROVENANCE.json
_CHIP, _README = "chip.yaml", "README.md"
# what each file is; the first pattern that a path matches counts
_WHAT = (
    (_README, "what is here, and how to check it"),
    (_CHIP, "the chip, for --accelerator of codesign cost"),
    (SPACE, "the search space in which the design was found"),
    ("*.yaml", "a memory type or the fitted units of the chip"),
    ("formats/*", "formats of every layer of a network, for --assignment of codesign evaluate and cost"),
    ("cost/*.json", "area, latency, energy and traffic of a network on the chip, by component and layer"),
    ("cost/*.csv", "the same by operator, with what bounds it"),
    ("networks/*/PROVENANCE.json", "how the exported network was compared with the one that was scored"),
    ("networks/*", "a network in its formats"),
    ("rtl/README.txt", "ports, latency and protocol of the array"),
    ("rtl/array.v", "the array in Verilog"),
    ("rtl/array_stream.v", "the array with valid/ready streams"),
    ("rtl/unit.v", "the dot-product unit of the array"),
    ("rtl/layer.json", "the layers that the bench multiplies"),
    ("rtl/*", "bench of the array, with operands of the design's own layers"),
    ("report/front.csv", "all designs of the front"),
    ("report/*", "the report of the study"),
    (f"certificate/{CERTIFICATE}", "quality in the arithmetic of the unit, with every hash"),
    ("certificate/*", "arrays of the certificate"),
)


@dataclass(frozen=True)
class _Parts:
    """What the README says of a reference design."""

    design: ChosenDesign
    chip: Accelerator
    costs: dict[str, Cost]
    array: WrittenArray
    certificate: Certificate


def run(arguments: argparse.Namespace) -> int:
    by_name("export", arguments.to, OWN, GROUP)  # raises on an unknown exporter, before anything is computed
    if arguments.to == "rtl":
        raise InputError("--to rtl: the array is always written; name the exporter of the networks")
    out = arguments.out
    check_replaceable(out, _OWNER)
    study = load_study(arguments.study)
    design = read_design(arguments.study, arguments.design or study.chosen.id)
    chip = chip_of(design)
    say_new_parents(out, "the reference design")
    with StageProgress(silent=arguments.json or arguments.quiet) as progress, staged(out, _OWNER) as stage:
        parts = _write(arguments, study, design, chip, stage, progress)
        files = _index(parts, arguments, stage)
    if arguments.json:
        print_json({"folder": str(out), **json.loads((out / PROVENANCE).read_text(encoding="utf-8"))})
        return 0
    print_table(f"reference design {design.id} of {design.study}", ["part", "files"], _counted(files))
    print(f"{out / _README}")
    return 0


def _write(
    arguments: argparse.Namespace,
    study: Study,
    design: ChosenDesign,
    chip: Accelerator,
    folder: Path,
    progress: StageProgress,
) -> _Parts:
    """Write everything but the README and the index; raises CodesignError if hardware and model differ."""
    progress("reference", 0, 4, "chip, formats and cost")
    write_accelerator(folder / _CHIP, chip)
    write_atomic(folder / SPACE, (arguments.study / SPACE).read_bytes())
    costs = {name: _priced(design, name, chip, folder) for name in design.assignments}
    for name, text in (("report.md", markdown(study)), ("report.html", html(study)), ("front.csv", front_csv(study))):
        write_atomic(folder / "report" / name, text)
    progress("reference", 1, 4, f"networks to {arguments.to}")
    export_design(arguments.study, design.id, arguments.to, folder / "networks")
    simulator = next((name for name in SIMULATORS if available(name)), None)
    progress("reference", 2, 4, f"array, simulated in {simulator}" if simulator else "array")
    array = export_rtl(arguments.study, design.id, folder / "rtl", arguments.dataflow, simulator)
    (folder / "rtl" / "bench.vvp").unlink(missing_ok=True)  # what simulators built
    shutil.rmtree(folder / "rtl" / "obj_dir", ignore_errors=True)
    if sum(array.get("wrong", ())):
        raise BenchFailed(f"the array of {design.id} differs from its model in {simulator}; nothing was written")
    progress("reference", 3, 4, "certificate")
    options = Options(samples=arguments.samples, tiles=arguments.tiles)
    certificate = certify_design(design, folder / "certificate", options, progress)
    if certificate.wrong:
        raise CertificateFailed(
            f"{certificate.wrong} results of drawn tiles of {design.id} differ; nothing was written"
        )
    return _Parts(design, chip, costs, array, certificate)


def _priced(design: ChosenDesign, name: str, chip: Accelerator, folder: Path) -> Cost:
    """A network's formats and cost, written and returned."""
    workload, assignment = design.load(name).workload(), design.assignments[name]
    found = cost(workload, chip, assignment)
    points = [point.to_dict() for point in roofline(workload, chip, assignment)]
    write_atomic(folder / "formats" / f"{name}.json", json.dumps(assignment.to_dict(), indent=1) + "\n")
    write_atomic(folder / "cost" / f"{name}.json", json.dumps(found.to_dict(), indent=1) + "\n")
    write_atomic(folder / "cost" / f"{name}.csv", csv_text(points))
    return found


def _index(parts: _Parts, arguments: argparse.Namespace, folder: Path) -> dict[str, dict[str, str]]:
    """Write the README and PROVENANCE.json, which names every file with its hash; returns that index."""
    names = [_README, *(str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file())]
    write_atomic(folder / _README, _readme(parts, names, arguments.study))
    files = {name: {"what": _what(name), "sha256": digest} for name, digest in digests(folder)}
    content = {
        "to": _OWNER,
        "study": parts.design.study,
        "design": parts.design.id,
        "networks": arguments.to,
        "versions": {name: version_of(name) for name in ("codesign", "torch")},
        "files": files,
    }
    write_atomic(folder / PROVENANCE, json.dumps(content, indent=1) + "\n")
    return files


def _what(name: str) -> str:
    return next(what for pattern, what in _WHAT if fnmatch(name, pattern))


def _counted(files: dict[str, dict[str, str]]) -> list[list[str]]:
    """Number of files in each part of the folder."""
    parts = [name.partition("/")[0] + "/" if "/" in name else name for name in files]
    return [[part, str(parts.count(part))] for part in dict.fromkeys(parts)]


def _readme(parts: _Parts, names: list[str], study: Path) -> str:
    design, chip, array = parts.design, parts.chip, parts.array
    some = next(iter(parts.costs.values()))
    lines = [
        f"# Reference design {design.id} of the study {design.study}",
        "",
        f"{chip.rows} x {chip.columns} units `{array['unit']}` ({', '.join(map(str, chip.pairs))}; accumulator "
        f"{chip.accumulator}) at {chip.clock_text} and {chip.node_nm:g} nm, "
        f"{chip.sram_bytes / 1024:g} KiB of SRAM, {chip.dram_channels} x {chip.dram}, {chip.vector_lanes} vector "
        f"lanes: {some.area_mm2:.3g} mm2 ({some.area_low_mm2:.3g} to {some.area_high_mm2:.3g}).",
        "",
        "| network | formats | latency | energy | DRAM traffic | weights |",
        "|---|---|---|---|---|---|",
        *(_network(design, name, found) for name, found in parts.costs.items()),
        "",
        "| network | metric | scored | in the unit's arithmetic | difference (95 %) | samples |",
        "|---|---|---|---|---|---|",
        *_qualities(parts.certificate),
        "",
        _simulated(parts),
        "",
        "## Check it",
        "",
        "```sh",
        f"codesign certify {study} --check certificate/{CERTIFICATE}",
        *(
            f"codesign cost --workload {design.specs[name].task} --accelerator {_CHIP} --assignment formats/{name}.json"
            for name in parts.costs
        ),
        "cd rtl && iverilog -g2005 -o bench.vvp bench.v checks.v array.v array_stream.v unit.v && vvp -n bench.vvp",
        "```",
        "",
        "## Files",
        "",
        f"`{PROVENANCE}` has the SHA-256 of each.",
        "",
        "| file | what it is |",
        "|---|---|",
        *(f"| `{name}` | {_what(name)} |" for name in names),
    ]
    return "\n".join(lines) + "\n"


def _network(design: ChosenDesign, name: str, found: Cost) -> str:
    pairs = design.design.pairs(name).most_common()
    formats = ", ".join(f"{count} of {pair}" for pair, count in pairs)
    figures = (human(found.latency_s, "s"), human(found.energy_j, "J"), human(found.dram_bytes, "B"))
    return f"| {name} | {formats} | " + " | ".join((*figures, human(found.weight_bytes, "B"))) + " |"


def _qualities(certificate: Certificate) -> list[str]:
    rows = []
    for name, task in certificate.tasks.items():
        for each in task.metrics:
            change = f"{each.difference:+.4g} [{each.difference_low:+.4g}, {each.difference_high:+.4g}]"
            values = f"{each.scored.value:.5g} | {each.certified.value:.5g} | {change} | {each.scored.n}"
            rows.append(f"| {name} | {each.scored.metric} ({each.scored.unit}) | {values} |")
    return rows


def _simulated(parts: _Parts) -> str:
    """What simulators said of the array, in a sentence."""
    array, found = parts.array, []
    if "simulator" in array:
        rows = sum(layer["compared"] for layer in array["layers"])
        found.append(f"{rows} rows of results of the bench agree in {array['simulator']}")
    found += [f"{each.tiles} drawn tiles agree in {each.simulator}" for each in parts.certificate.simulations]
    return f"The array and its model: {'; '.join(found)}." if found else "No simulator was there to run the array in."
