"""One night of a study that goes on: search for some hours, then say what changed since the night before.

    python -m examples.nightly --out nightly --timeout 6h

From cron or CI, once a night; the study continues where it stopped, also after a crash. The exit code is that of
`codesign diff`: 0 the same or better, 1 worse by more than noise, 2 not comparable. message.md is for the chat.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from codesign.cli import main as command
from codesign.designs import earlier

SPACE = Path(__file__).parents[1] / "search_spaces" / "nightly.yaml"
NO_END = 100_000  # evaluations: the time decides, not their number


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", type=Path, default=SPACE, help="search space file")
    parser.add_argument("--out", type=Path, default=Path("reports/studies/nightly"), help="folder of the study")
    parser.add_argument("--timeout", default="6h", help="no evaluation starts after this time (default 6h)")
    parser.add_argument("--evaluations", type=int, default=NO_END, help="most candidates of all nights together")
    parser.add_argument("--workers", type=int, default=1, help="worker processes")
    arguments = parser.parse_args(argv)

    out = str(arguments.out)
    limits = ["--timeout", arguments.timeout, "--evaluations", str(arguments.evaluations)]
    code = command(["search", str(arguments.space), "--out", out, *limits, "--workers", str(arguments.workers)])
    if code:
        return code  # 1: a sentinel moved, so this machine measures otherwise than before; 2, 3: nothing was searched
    if not earlier(arguments.out):
        print("the first night, or one that found nothing new: no front to compare with")
        return 0
    return command(["diff", out, "-o", str(arguments.out / "message.md")])


if __name__ == "__main__":
    sys.exit(main())
