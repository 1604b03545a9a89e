"""Whatever stands in a file or behind an option: the answer is a result or one line, never a fault of codesign."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codesign.cli import main
from tests import SPACE
from tests.inputs.base import CHIP

few = settings(
    max_examples=100,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
WORDS = st.sampled_from(["", "int8", "int8:", "mxfp4:int8", "int4_g32", "fp32", "auto", "[red]", "nan", "1e9", "²"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 9),
    st.sampled_from([2**31, 2**63, 10**400, -(10**30)]),
    st.floats(),
    WORDS,
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=6),
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=2))
LAYER = {"weight": "int8", "activation": "int8"}
ASSIGNMENT = dict.fromkeys(("conv", "head", "to_k", "to_q", "to_v"), LAYER)
ASSIGNMENT["root"] = {"activation": "int8", "key": "int8", "value": "int8"}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value within a value."""
    if path:
        yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


def changed(base: Any) -> st.SearchStrategy[Any]:
    """`base` with another value in one place or two, or without the value."""
    changes = st.lists(st.tuples(st.sampled_from(list(places(base))), VALUES, st.booleans()), min_size=1, max_size=2)
    return changes.map(lambda found: _with(base, found))


def _with(base: Any, changes: list[tuple[tuple[Any, ...], Any, bool]]) -> Any:
    found = copy.deepcopy(base)
    for (*parents, last), value, gone in changes:
        with contextlib.suppress(LookupError, TypeError):  # the other change took this place away
            inner = found
            for key in parents:
                inner = inner[key]
            if gone and value is None:
                del inner[last]
            else:
                inner[last] = value
    return found


def run(*command: str) -> None:
    """Run a command; fails unless it ends well, or with one line."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = main(command)
        except SystemExit as stop:  # of argparse
            code = int(stop.code or 0)
    lines = [line for line in said.getvalue().splitlines() if "error: " in line]
    assert code in (0, 1, 2, 3), said.getvalue()
    assert len(lines) == (code > 1), said.getvalue()
    assert "Traceback" not in said.getvalue()


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@few
@given(changed(yaml.safe_load(SPACE)))
def test_spaces(space: Any) -> None:
    Path("space.yaml").write_text(yaml.safe_dump(space, allow_unicode=True), encoding="utf-8")
    run("explain", "space.yaml")


@pytest.mark.slow
@few
@given(st.text(max_size=20), st.integers(0, len(SPACE)), st.integers(0, 20))
def test_texts_of_spaces(inserted: str, place: int, removed: int) -> None:
    text = SPACE[:place] + inserted + SPACE[place + removed :]
    Path("space.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    run("explain", "space.yaml")


@pytest.mark.slow
@few
@given(changed(yaml.safe_load(CHIP)))
def test_accelerators(chip: Any) -> None:
    Path("chip.yaml").write_text(yaml.safe_dump(chip, allow_unicode=True), encoding="utf-8")
    run("cost", "--workload", "imdn-x4", "--accelerator", "chip.yaml")


@pytest.mark.slow
@few
@given(changed(ASSIGNMENT) | VALUES)
def test_assignments(assignment: Any) -> None:
    Path("chip.yaml").write_text(CHIP)
    Path("a.json").write_text(json.dumps(assignment), encoding="utf-8")
    run("cost", "--workload", "python:tests.tiny:untrained", "--accelerator", "chip.yaml", "--assignment", "a.json")


NUMBERS = SCALARS.map(str).filter(lambda text: len(text) < 500 and "\0" not in text)
OPTIONS = st.dictionaries(
    st.sampled_from(["--dot", "--node", "--clock", "--accumulator", "--also"]), NUMBERS, max_size=2
)


@pytest.mark.slow
@few
@given(NUMBERS, NUMBERS | WORDS, OPTIONS)
def test_units(weight: str, activation: str, options: dict[str, str]) -> None:
    run("mac", *(f"{name}={value}" for name, value in options.items()), "--", weight or "int8", activation)


@pytest.mark.slow
@few
@given(st.dictionaries(st.sampled_from(["--evaluations", "--timeout", "--workers", "--seed", "--ranges"]), NUMBERS))
def test_options_of_a_search(options: dict[str, str]) -> None:
    run("search", "nowhere.yaml", *(f"{name}={value}" for name, value in options.items()))
