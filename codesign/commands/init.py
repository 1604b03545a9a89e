"""``codesign init``: writes a commented space file for one network, and checks that it loads."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
from pathlib import Path
from string import Template

from codesign.commands.output import print_json
from codesign.commands.progress import WAIT_S, StageProgress
from codesign.commands.values import task_options
from codesign.errors import CodesignError, InputError
from codesign.files import check_target, read_text, write_target
from codesign.models import TaskOptions, load_task
from codesign.models.directories import is_directory_task
from codesign.search import SearchSpace, load_space
from codesign.search.results.words import designs_in_words
from codesign.search.space.schema import PATH as SCHEMA

_TEMPLATE = Path(__file__).with_name("init.template.yaml")
_PATHS = ("data", "calibration", "prompts")  # options that name files


def run(arguments: argparse.Namespace) -> int:
    out: Path = arguments.out
    check_target(out, "--out")
    if out.exists():
        raise InputError(f"--out {out}: it exists already; write another file, or delete it")
    options = task_options(arguments.set)
    with StageProgress(WAIT_S, silent=arguments.json or arguments.quiet) as progress:
        progress("init", 0, 2, "loading the network")
        task = load_task(arguments.task, options=options)
        phases = task.workload().phases
        progress("init", 1, 2, "checking the space")
        write_target(out, _filled(arguments.task, task.name, options, "decode" in phases, out), "--out")
        try:
            space = load_space(out)
        except CodesignError:
            out.unlink()  # no file is left that does not load
            raise
    _say(arguments, space, out)
    return 0


def _say(arguments: argparse.Namespace, space: SearchSpace, out: Path) -> None:
    layers = {name: len(workload.layers) for name, workload in space.workloads.items()}
    if arguments.json:
        facts = {"space": str(out), "layers": layers, "accelerators": len(space.grid), "log10_designs": space.size()}
        print_json(facts)
        return
    counted = ", ".join(f"{name} {count} layers" for name, count in layers.items())
    print(f"{out}: {counted}, {len(space.grid):,} accelerators, {designs_in_words(space.size())} designs")
    quoted = shlex.quote(str(out))
    print(f"next: read it, then codesign explain {quoted}, codesign search {quoted} --out STUDY")


def _filled(spec: str, name: str, options: TaskOptions | None, decodes: bool, out: Path) -> str:
    """The text of the space file."""
    key = re.sub(r"\W+", "_", name).strip("_") or "network"
    written = {"task": _from(out, spec)} | _written(options, out)
    latency = (
        (f"{key}.latency_per_token_s", "seconds of one decode pass")
        if decodes
        else (f"{key}.latency_s", "seconds of one result, all passes")
    )
    return Template(read_text(_TEMPLATE)).substitute(
        schema=SCHEMA,
        name=key,
        spec=spec,
        task="\n".join(f"    {option}: {json.dumps(value)}" for option, value in written.items()),
        latency=latency[0],
        meaning=latency[1],
    )


def _written(options: TaskOptions | None, out: Path) -> dict[str, object]:
    """The options that were given, with files named from the folder of the space file."""
    given = {} if options is None else options.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    return {
        key: _placed(out, value) if key in _PATHS and isinstance(value, str) else value for key, value in given.items()
    }


def _from(out: Path, spec: str) -> str:
    """A task, its directory named from the folder of the space file."""
    library, colon, folder = spec.partition(":")
    return f"{library}{colon}{_placed(out, folder)}" if is_directory_task(spec) else spec


def _placed(out: Path, path: str) -> str:
    return path if os.path.isabs(path) else os.path.relpath(path, out.parent)
