"""``codesign doctor``: tells which extras, tools and devices are there."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from packaging.requirements import Requirement

from codesign import __version__
from codesign.commands.output import print_json, print_table
from codesign.human import human

# program -> what codesign does with it
TOOLS = {
    "yosys": "calibrate: synthesis of units with a cell library",
    "iverilog": "rtl --check, export --to rtl: simulation",
    "verilator": "rtl --check: simulation by compiled code",
    "g++": "rtl --check verilator",
}
_VERSION = re.compile(r"\d+\.\d[\w.]*")
_OWN_EXTRA = re.compile(r"extra == ['\"]([\w-]+)['\"]")
_NO_USERS = ("test",)  # extras of those who work on codesign


@dataclass(frozen=True)
class Package:
    """A package that codesign or one of its extras needs."""

    name: str
    wanted: str  # versions
    found: str | None  # the installed version; None if it is missing
    fits: bool


def run(arguments: argparse.Namespace) -> int:
    packages, extras, tools, machine = required(), of_extras(), programs(), machine_facts()
    missing = [each for each in packages if not each.fits]
    if arguments.json:
        print_json(
            {
                "codesign": __version__,
                "machine": machine,
                "packages": [asdict(each) for each in packages],
                "extras": {extra: [asdict(each) for each in found] for extra, found in extras.items()},
                "tools": tools,
            }
        )
        return 1 if missing else 0
    print_table(f"codesign {__version__}", ["machine", ""], [[key, str(value)] for key, value in machine.items()])
    print_table("packages", ["package", "installed", "wanted"], [_row(each) for each in packages])
    rows = []
    for extra, found in extras.items():
        lacking = [each for each in found if not each.fits]
        need = f"pip install 'codesign[{extra}]'" if lacking else ""
        rows.append([extra, "no" if lacking else "yes", ", ".join(map(_short, lacking or found)), need])
    print_table("extras", ["extra", "there", "packages", "to install"], rows)
    listed = [[name, each["version"] or "missing", TOOLS[name]] for name, each in tools.items()]
    print_table("tools (apt-get install yosys iverilog verilator g++)", ["tool", "version", "for"], listed)
    for each in missing:
        print(f"{each.name}: {_problem(each)}: pip install '{each.name}{each.wanted}'")
    return 1 if missing else 0


def required() -> list[Package]:
    """The packages without which codesign does not run."""
    return [_package(each) for each in _requirements() if each.marker is None or each.marker.evaluate({"extra": ""})]


def of_extras() -> dict[str, list[Package]]:
    """The packages of each extra that a user may want."""
    found: dict[str, list[Package]] = {}
    for each in _requirements():
        extra = _OWN_EXTRA.search(str(each.marker or ""))
        if extra and extra[1] not in _NO_USERS and each.name != "codesign":
            found.setdefault(extra[1], []).append(_package(each))
    return found


def programs() -> dict[str, dict[str, str | None]]:
    """Tool -> its path and version, None if it is missing, and what it is for."""
    return {name: {"path": shutil.which(name), "version": _version(name), "for": why} for name, why in TOOLS.items()}


def machine_facts() -> dict[str, str | int | bool]:
    """What evaluations run on."""
    import torch

    from codesign.formats import compiled

    facts: dict[str, str | int | bool] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        facts["memory"] = human(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), "B")
    facts["disk left here"] = human(shutil.disk_usage(Path.cwd()).free, "B")
    facts["torch"] = str(torch.__version__)
    cuda = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    facts["devices"] = ", ".join(["cpu", *cuda])
    loops = compiled.takes(torch.zeros(1))
    facts["rounding"] = "compiled loops (numba)" if loops else "torch operations, which are slower: no numba"
    return facts


def _requirements() -> list[Requirement]:
    return [Requirement(text) for text in importlib.metadata.requires("codesign") or []]


def _package(wanted: Requirement) -> Package:
    try:
        found = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        return Package(wanted.name, str(wanted.specifier), None, False)
    return Package(wanted.name, str(wanted.specifier), found, wanted.specifier.contains(found, prereleases=True))


def _row(package: Package) -> list[str]:
    return [package.name, package.found or "missing", package.wanted]


def _short(package: Package) -> str:
    return f"{package.name} {package.found or 'missing'}" + (
        "" if package.fits or not package.found else " (not fitting)"
    )


def _problem(package: Package) -> str:
    return "missing" if package.found is None else f"{package.found} is installed, {package.wanted} is needed"


def _version(program: str) -> str | None:
    """The version of a program; None if it is missing, "?" if it does not tell."""
    if shutil.which(program) is None:
        return None
    for option in ("--version", "-V"):
        try:
            done = subprocess.run([program, option], capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        match = _VERSION.search(done.stdout)
        if match:
            return match[0]
    return "?"
