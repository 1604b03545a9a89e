"""``codesign status``: shows where a study stands."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict

from codesign.commands.output import print_json
from codesign.designs import earlier
from codesign.errors import InputError
from codesign.search.queue.overview import Holder, overview, study_in
from codesign.search.queue.storage import default_storage, open_storage
from codesign.search.queue.workers import STORAGE_VARIABLE
from codesign.search.study.claim import DATABASE, claimed


def run(arguments: argparse.Namespace) -> int:
    url, name = _where(arguments)
    storage = open_storage(url)
    found = overview(storage, *study_in(storage, name))
    fronts = earlier(arguments.folder) if arguments.folder is not None else []
    if arguments.json:
        print_json(asdict(found) | {"earlier": list(map(str, fronts))})
        return 0
    leader = _words(found.leader) if found.leader else "nobody"
    print(f"{found.study}: {found.state}, led by {leader}")
    print(
        f"evaluations: {found.done + found.pruned} done, {found.pruned} of them given up on a part of the samples; "
        f"{found.running} in progress, {found.waiting} waiting"
    )
    print(f"failed: {found.failed} cannot be measured; {found.stopped} stopped with their worker and queued again")
    print("\n".join(f"worker: {_words(worker)}" for worker in found.workers) or "worker: none evaluates anything")
    if fronts:
        print(f"earlier fronts: {len(fronts)}, the last in {fronts[-1]}")
    return 0


def _where(arguments: argparse.Namespace) -> tuple[str, str | None]:
    """The URL of the storage, and the name of the study if it is known."""
    given = arguments.storage or os.environ.get(STORAGE_VARIABLE)
    if arguments.folder is None:
        if not given:
            raise InputError(f"give a study's folder or --storage URL, or set {STORAGE_VARIABLE}")
        return given, arguments.study
    claim = claimed(arguments.folder)
    name = arguments.study or claim.get("study")
    if claim.get("storage") or arguments.storage:
        if not given:
            raise InputError(f"{arguments.folder}: its study is kept in {claim['storage']}: give it as --storage")
        return given, name
    if not (arguments.folder / DATABASE).exists():
        raise InputError(f"{arguments.folder}: no study with measurements here ({DATABASE} is missing)")
    return default_storage(arguments.folder), name


def _words(holder: Holder) -> str:
    life = {True: "alive", False: "gone", None: "on another machine"}[holder.alive]
    beat = f", last heartbeat {holder.last_heartbeat}" if holder.last_heartbeat else ""
    return f"{holder.process} ({life}{beat})"
