"""How many faults put into the code its tests notice: mutation.json and mutation.md.

    python reports/validation/mutation.py [--most 60] [--modules codesign/report/diff.py ...]

cosmic-ray (pip install cosmic-ray) changes one operator, number, condition or line at a time in a clone of the working
tree's commit, and runs the tests named below. Of each module `--most` mutants are drawn at random. A mutant
that the tests pass has survived: it is either a gap or changes nothing that matters, and is listed with its change.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
TESTS = {
    "codesign/report/diff.py": "tests/report/test_diff.py",
    "codesign/quality/measure.py": "tests/quality/test_trial.py tests/quality/test_evaluator.py",
    "codesign/search/study/noise.py": "tests/search/test_noise.py",
    "codesign/search/study/sentinel.py": "tests/search/test_sentinels.py",
    "codesign/formats/scaling.py": "tests/formats/test_blocks.py tests/formats/test_formats.py",
    "codesign/formats/rounding.py": "tests/formats/test_rounding.py tests/formats/test_blocks.py",
    "codesign/files.py": "tests/test_files.py",
    "codesign/search/queue/storage.py": "tests/storage/test_open.py tests/storage/test_urls.py",
    "codesign/commands/diff.py": "tests/report/test_diff.py",
}
CONFIGURATION = """[cosmic-ray]
module-path = "{module}"
timeout = 120.0
excluded-modules = []
test-command = "{python} -m pytest -q -x -p no:cacheprovider -m 'not slow and not faults' {tests}"
[cosmic-ray.distributor]
name = "local"
"""


def run(module: str, most: int, clone: Path, tool: str) -> dict[str, Any]:
    """Draw, mutate and test; what survived with its change."""
    named = [name for name in TESTS[module].split() if (clone / name).exists()]
    configuration, session = clone / "mutation.toml", clone / "mutation.sqlite"
    session.unlink(missing_ok=True)
    configuration.write_text(CONFIGURATION.format(module=module, python=sys.executable, tests=" ".join(named)))
    environment = os.environ | {"PYTHONPATH": str(clone), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([tool, "init", configuration, session], cwd=clone, check=True, env=environment)
    with sqlite3.connect(session) as database:
        jobs = sorted(job for (job,) in database.execute("select job_id from work_items"))
        drawn = set(random.sample(jobs, min(most, len(jobs))))
        for table in ("work_items", "mutation_specs"):
            database.executemany(f"delete from {table} where job_id = ?", [(j,) for j in jobs if j not in drawn])
    subprocess.run([tool, "exec", configuration, session], cwd=clone, check=True, env=environment)
    dumped = subprocess.run(
        [tool, "dump", session], cwd=clone, check=True, env=environment, capture_output=True, text=True
    )
    survived, killed = [], 0
    for line in dumped.stdout.splitlines():
        item, result = json.loads(line)
        if result is None:
            continue
        killed += result["test_outcome"] != "survived"
        if result["test_outcome"] == "survived":
            (change,) = item["mutations"]
            lines = [row for row in result["diff"].splitlines() if row[:1] in "+-" and row[:3] not in ("+++", "---")]
            survived.append({"line": change["start_pos"][0], "change": [row.strip() for row in lines]})
    return {"mutants": len(jobs), "drawn": killed + len(survived), "killed": killed, "survived": survived}


def markdown(results: dict[str, Any]) -> str:
    """The table, then what survived."""
    lines = ["# Faults that the tests notice", "", "Written by `python reports/validation/mutation.py`.", ""]
    lines += ["| module | mutants | drawn | killed | share |", "|---|---|---|---|---|"]
    for module, found in results.items():
        share = found["killed"] / max(found["drawn"], 1)
        lines.append(f"| {module} | {found['mutants']} | {found['drawn']} | {found['killed']} | {share:.0%} |")
    for module, found in results.items():
        if found["survived"]:
            lines += ["", f"## Survived in {module}", ""]
            lines += [
                f"- line {s['line']}: `{'` -> `'.join(row[1:].strip() for row in s['change'])}`"
                for s in found["survived"]
            ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=60)
    parser.add_argument("--modules", nargs="+", default=list(TESTS))
    parser.add_argument("--tool", default=shutil.which("cosmic-ray"))
    options = parser.parse_args()
    file = HERE / "mutation.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        for module in options.modules:
            results[module] = run(module, options.most, clone, options.tool)
            subprocess.run(["git", "-C", clone, "checkout", "-q", "--", "."], check=True)
            file.write_text(json.dumps(results, indent=1) + "\n")
            (HERE / "mutation.md").write_text(markdown(results))
            print(module, {key: value for key, value in results[module].items() if key != "survived"}, flush=True)


if __name__ == "__main__":
    main()
