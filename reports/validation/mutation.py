"""How many faults put into the code its tests notice: mutation.json and mutation.md.

    python reports/validation/mutation.py [--most 15] [--modules codesign/report/diff.py ...] [--again]

cosmic-ray (pip install cosmic-ray, best in an environment of its own: --tool) changes one operator, number, condition
or line at a time in a clone of the working tree's commit, and runs the tests named below. Of each module `--most`
mutants are drawn, the same in every run; none within a type annotation, which does nothing when it runs. A mutant that
the tests pass has survived: it is a gap, or mutation_justified.yaml says why no test can or should notice it. With
`--again` only what survived the last time is tried again, for tests that were added since.
"""

from __future__ import annotations

import argparse
import ast
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

import yaml

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
JUSTIFIED = HERE / "mutation_justified.yaml"
TESTS = {  # module -> arguments of pytest: the nearest tests, without whole searches
    "codesign/report/diff.py": "tests/report/test_diff.py",
    "codesign/quality/measure.py": "tests/quality/test_measure.py",
    "codesign/search/study/noise.py": "tests/search/test_noise.py -k 'not reported and not deciding'",
    "codesign/search/study/sentinel.py": "tests/search/test_sentinels.py -k 'lower_is or the_ends_of or digits_that'",
    "codesign/formats/scaling.py": "tests/formats/test_blocks.py tests/formats/test_formats.py",
    "codesign/formats/rounding.py": "tests/formats/test_rounding.py tests/formats/test_blocks.py",
    "codesign/files.py": "tests/test_files.py",
    "codesign/commands/diff.py": "tests/report/test_diff.py",
    "codesign/commands/values.py": "tests/commands/test_values.py",
    "codesign/signals.py": "tests/test_signals.py",
    "codesign/search/queue/storage.py": "tests/storage/test_retries.py tests/storage/test_open.py "
    "-k 'not another_space and not complete_file and not password'",
    "codesign/search/queue/queue.py": "tests/search/test_queue.py tests/search/test_worker.py",
    "codesign/search/queue/healing.py": "tests/storage/test_healing.py tests/storage/test_open.py "
    "-k 'healing or postgresql'",
    "codesign/search/queue/ledger.py": "tests/search/test_ledger.py tests/search/test_worker.py",
}
CONFIGURATION = """[cosmic-ray]
module-path = "{module}"
timeout = 90.0
excluded-modules = []
test-command = "{python} -m pytest -q -x -n0 -p no:cacheprovider -m 'not slow and not faults' {tests}"
[cosmic-ray.distributor]
name = "local"
"""
Mutant = tuple[int, int, str, int]  # row and column, the kind of change, and which of them


def annotations(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The positions (row, column) from and to which type annotations stand."""
    found = []
    for node in ast.walk(ast.parse(source)):
        for hint in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(hint, ast.expr):
                found.append(((hint.lineno, hint.col_offset), (hint.end_lineno or 0, hint.end_col_offset or 0)))
    return found


def draw(session: Path, source: str, most: int, again: list[Mutant] | None) -> int:
    """Delete from the session all mutants but those that are drawn, or tried again; returns how many there were."""
    hints = annotations(source)
    columns = "start_pos_row, start_pos_col, operator_name, occurrence, job_id"
    with sqlite3.connect(session) as database:
        every = {tuple(row[:4]): row[4] for row in database.execute(f"select {columns} from mutation_specs")}
        able = sorted(m for m in every if not any(start <= m[:2] < end for start, end in hints))
        drawn = random.Random(0).sample(able, min(most, len(able))) if again is None else again
        if not set(drawn) <= set(able):
            raise SystemExit("the module has changed: draw its mutants anew, without --again")
        kept = {every[mutant] for mutant in drawn}
        for table in ("work_items", "mutation_specs"):
            others = [(job,) for job in every.values() if job not in kept]
            database.executemany(f"delete from {table} where job_id = ?", others)
    return len(able)


def run(module: str, most: int, clone: Path, tool: str, before: dict[str, Any] | None) -> dict[str, Any]:
    """Draw, mutate and test, or try again what survived `before`; what survived with its change."""
    configuration, session = clone / "mutation.toml", clone / "mutation.sqlite"
    session.unlink(missing_ok=True)
    configuration.write_text(CONFIGURATION.format(module=module, python=sys.executable, tests=TESTS[module]))
    environment = os.environ | {"PYTHONPATH": str(clone), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}

    def step(*arguments: str | Path) -> str:
        done = subprocess.run([tool, *arguments], cwd=clone, env=environment, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit(f"{module}: cosmic-ray {arguments[0]} failed:\n{done.stdout}")
        return done.stdout

    step("baseline", configuration)  # tests that fail without a fault notice every one
    step("init", configuration, session)
    again = None if before is None else [tuple(s["mutant"]) for s in before["survived"]]
    mutants = draw(session, (clone / module).read_text(), most, again)
    step("exec", configuration, session)
    survived, tried = [], 0
    for line in step("dump", session).splitlines():
        item, result = json.loads(line)
        tried += 1
        if result["test_outcome"] == "survived":
            (change,) = item["mutations"]
            rows = [row[:1] + row[1:].strip() for row in result["diff"].splitlines() if row[:1] in "+-"]
            rows = [row for row in rows if row[1:] and row[:3] not in ("+++", "---")]
            mutant = (*change["start_pos"], change["operator_name"], change["occurrence"])
            survived.append({"mutant": mutant, "change": rows})
    drawn = tried if before is None else before["drawn"]
    survived.sort(key=lambda s: s["mutant"])
    return {"mutants": mutants, "drawn": drawn, "killed": drawn - len(survived), "survived": survived}


def justified() -> dict[tuple[str, tuple[str, ...]], str]:
    """(module, change) -> why it may survive. Raises ValueError if the line is no longer in its module."""
    found = {}
    for module, entries in yaml.safe_load(JUSTIFIED.read_text()).items():
        lines = {line.strip() for line in (ROOT / module).read_text().splitlines()}
        for entry in entries:
            if entry["line"] not in lines:
                raise ValueError(f"{JUSTIFIED.name}: {module} has no line '{entry['line']}'")
            for mutation in entry["mutations"]:
                found[module, (f"-{entry['line']}", f"+{mutation}")] = entry["why"]
    return found


def markdown(results: dict[str, Any]) -> str:
    """The table, then what survived, with its reason or as a gap."""
    reasons = justified()
    lines = ["# Faults that the tests notice", "", "Written by `python reports/validation/mutation.py`."]
    lines += ["", "Tests were added for drawn mutants that survived at first: the shares are of these mutants, and"]
    lines += ["say little of those that were not drawn. A fresh draw (another seed in `draw`) may find more gaps."]
    lines += ["", "| module | mutants | drawn | killed | justified | killed or justified |"]
    lines.append("|---|---|---|---|---|---|")
    total = [0, 0, 0]
    for module, found in results.items():
        fine = sum((module, tuple(s["change"])) in reasons for s in found["survived"])
        counts = (found["drawn"], found["killed"], fine)
        total = [a + b for a, b in zip(total, counts, strict=True)]
        lines.append(f"| {module} | {found['mutants']} | {_counted(*counts)}")
    lines.append(f"| all | {sum(found['mutants'] for found in results.values())} | {_counted(*total)}")
    for module, found in results.items():
        if found["survived"]:
            lines += ["", f"## Survived in {module}", ""]
        for each in found["survived"]:
            change = " -> ".join(f"`{row[1:]}`" for row in each["change"])
            change += " removed" if len(each["change"]) == 1 else ""
            why = reasons.get((module, tuple(each["change"])), "**a gap**")
            lines.append(f"- line {each['mutant'][0]}: {change}: {why}")
    return "\n".join(lines) + "\n"


def _counted(drawn: int, killed: int, fine: int) -> str:
    return f"{drawn} | {killed} | {fine} | {(killed + fine) / max(drawn, 1):.0%} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=15)
    parser.add_argument("--modules", nargs="*", default=list(TESTS), help="none: only write mutation.md again")
    parser.add_argument("--again", action="store_true", help="only what survived")
    parser.add_argument("--tool", default=shutil.which("cosmic-ray"))
    options = parser.parse_args()
    file = HERE / "mutation.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        for module in options.modules:
            results[module] = run(module, options.most, clone, options.tool, results[module] if options.again else None)
            subprocess.run(["git", "-C", clone, "checkout", "-q", "--", "."], check=True)
            results = {name: results[name] for name in TESTS if name in results}
            file.write_text(json.dumps(results, indent=1) + "\n")
            print(module, {key: value for key, value in results[module].items() if key != "survived"}, flush=True)
    (HERE / "mutation.md").write_text(markdown(results))


if __name__ == "__main__":
    main()
