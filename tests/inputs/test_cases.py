"""Every bad input is refused in one line that helps, and nothing is printed or left behind by half."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from codesign import commands
from codesign.cli import main
from tests.inputs.base import make_base, write_case

AREAS = ("spaces", "files", "studies", "options")
COMMANDS = {path.stem for path in (Path(commands.__file__).parent).glob("*.py")} - {
    "__init__",
    "output",
    "progress",
    "values",
}
CASES: dict[str, dict[str, Any]] = {
    f"{area}: {case['name']}": case
    for area in AREAS
    for case in yaml.safe_load(Path(__file__).with_name(f"{area}.yaml").read_text(encoding="utf-8"))
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    make_base(folder)
    return folder


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CODESIGN_STORAGE", raising=False)


def test_the_cases_cover_every_command() -> None:
    assert {case["run"].split()[0] for case in CASES.values()} >= COMMANDS
    assert len(CASES) >= 150


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_bad_input_is_one_line(name: str, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = CASES[name]
    command = write_case(base, tmp_path, case)
    try:
        code = main(command)
    except SystemExit as stop:  # of argparse
        code = int(str(stop.code))
    printed = capsys.readouterr()
    said = printed.err.strip().splitlines() or [""]
    assert "Traceback" not in printed.err
    if said[0].startswith("usage:"):
        said = [line for line in said if ": error: " in line]
        said = [said[0].replace(f"codesign {command[0]}: error:", "codesign: error:")]
    said = [line for line in said if not line.startswith(PROGRESS)]
    assert code == case.get("code", 2), printed.err
    assert len(said) == 1, printed.err
    assert said[0].startswith("codesign: error: "), printed.err
    for words in case["says"]:
        assert words in said[0], f"{words}\n{said[0]}"
    assert printed.out == ""


# what a search says before it fails, and other commands where they take over two seconds
PROGRESS = ("metrics tried: ", "evaluations: ", "accelerators: ", "space: ", "evaluate: ", "cost: ")
PROGRESS += ("export: ", "formats: ", "certify: ", "check: ", "ask: ")
