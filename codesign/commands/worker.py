"""``codesign worker``: measures candidates of a running search."""

from __future__ import annotations

import argparse
import os
import sys

from codesign.commands.output import print_json
from codesign.errors import InputError
from codesign.search.queue.storage import open_storage
from codesign.search.queue.worker import join_study, single_threaded, until_ended
from codesign.search.queue.workers import PARENT_VARIABLE, STORAGE_VARIABLE


def run(arguments: argparse.Namespace) -> int:
    url = arguments.storage or os.environ.get(STORAGE_VARIABLE)
    if not url:
        raise InputError(f"give --storage URL, or set {STORAGE_VARIABLE}")
    single_threaded()
    worker = join_study(open_storage(url), arguments.study, cache=arguments.cache)
    parent = os.environ.get(PARENT_VARIABLE)
    print(f"{arguments.study}: {worker.name} takes work", file=sys.stderr)
    worker.run(until_ended(worker.queue, int(parent) if parent else None))
    if arguments.json:
        print_json({"study": arguments.study, "worker": worker.name, "evaluations": worker.done})
    else:
        print(f"{arguments.study}: the study ended; {worker.done} evaluations done here")
    return 0
