"""Runs a test bench in Icarus Verilog or Verilator: two independent simulators."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from codesign.errors import EnvironmentProblem
from codesign.hardware.rtl.verify.bench import Checked, write_checks

SIMULATORS = ("iverilog", "verilator")
# a bench takes longer to compile than to run
_OPTIMISATION = "OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0"
_RESULT = re.compile(r"^CHECK (\d+) (\d+) steps (\d+) wrong", re.MULTILINE)


@dataclass(frozen=True)
class Verdict:
    """The result of one check in one simulator."""

    steps: int  # compared
    wrong: int  # of them, with differences
    detail: str  # the first differences


def available(simulator: str) -> bool:
    return shutil.which(simulator) is not None


def version(simulator: str) -> str:
    """The first line of what a simulator says of its version."""
    flag = {"iverilog": "-V"}.get(simulator, "--version")
    said = subprocess.run([simulator, flag], capture_output=True, text=True, check=False).stdout
    return (said.strip().splitlines() or ["unknown version"])[0].strip()


def simulate(
    simulator: str, checks: Sequence[Checked], sources: Mapping[str, str], folder: Path, limit_s: float = 1800
) -> list[Verdict]:
    """Run all checks: one verdict each.

    sources: file name -> Verilog of the modules under test; folder: working directory of the simulator.
    Raises EnvironmentProblem if the simulator is missing, rejects the source or exceeds `limit_s`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_checks(checks, folder)
    for name, text in sources.items():
        (folder / name).write_text(text, encoding="utf-8")
    files = ["checks.v", *(name for name in sources if name.endswith(".v"))]  # headers are included by name
    if simulator == "iverilog":
        _run(["iverilog", "-g2005", "-o", "bench.vvp", "bench.v", *files], folder, limit_s)
        output = _run(["vvp", "-n", "bench.vvp"], folder, limit_s, mismatch=1)
    else:
        flags = ["--cc", "--exe", "--build", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--top-module", "checks"]
        _run(["verilator", *flags, "-MAKEFLAGS", _OPTIMISATION, "main.cpp", *files], folder, limit_s)
        output = _run(["./obj_dir/Vchecks"], folder, limit_s, mismatch=1)
    found = {int(m[1]): (int(m[2]), int(m[3])) for m in _RESULT.finditer(output)}
    verdicts = []
    for index in range(len(checks)):
        if index not in found:
            raise EnvironmentProblem(
                f"{simulator} ended without a verdict on check {index} in {folder}: {output[-300:]}"
            )
        detail = "\n".join(line for line in output.splitlines() if line.startswith(f"MISMATCH {index} "))
        verdicts.append(Verdict(*found[index], detail))
    return verdicts


def _run(command: Sequence[str], folder: Path, limit_s: float, mismatch: int = 0) -> str:
    """What a command prints; mismatch: the exit code besides 0 that is no failure of the command."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=limit_s)
    except FileNotFoundError:
        raise EnvironmentProblem(f"{command[0]} is not installed (apt-get install iverilog verilator)") from None
    except subprocess.TimeoutExpired:
        raise EnvironmentProblem(f"{command[0]} did not end within {limit_s:g} s in {folder}") from None
    if done.returncode not in (0, mismatch):
        raise EnvironmentProblem(f"{command[0]} failed in {folder}: {(done.stdout + done.stderr).strip()[-600:]}")
    return done.stdout
