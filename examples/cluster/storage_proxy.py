"""Optuna's gRPC storage proxy: thousands of workers behind a few connections to one database.

    CODESIGN_STORAGE=postgresql://user:password@host/studies python examples/cluster/storage_proxy.py --host 0.0.0.0

Workers then take CODESIGN_STORAGE=grpc://HOST:13000; the coordinator, which asks most, may keep the database's URL. The
proxy asks nobody for a password and encrypts nothing: keep its port inside the cluster.
"""

from __future__ import annotations

import argparse
import os
import sys

from optuna.storages import run_grpc_proxy_server

from codesign.errors import CodesignError
from codesign.search.queue.storage import open_storage, without_password
from codesign.search.queue.workers import STORAGE_VARIABLE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="localhost", help="where to listen (default: this machine alone)")
    parser.add_argument("--port", type=int, default=13000)
    options = parser.parse_args()
    url = os.environ.get(STORAGE_VARIABLE, "")
    if "://" not in url or url.startswith("grpc://"):
        parser.error(f"set {STORAGE_VARIABLE} to the database's URL: a proxy has none of a journal, nor of a proxy")
    try:
        storage = open_storage(url)
    except CodesignError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"grpc://{options.host}:{options.port}: proxy of {without_password(url)}", file=sys.stderr, flush=True)
    run_grpc_proxy_server(storage, host=options.host, port=options.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
