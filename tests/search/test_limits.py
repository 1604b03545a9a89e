"""Budgets of quality: of either sign, relative to the float network, under the name of the metric that decides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codesign.cli import main
from codesign.errors import InputError
from codesign.search import load_space
from codesign.search.space.limits import limit_of
from codesign.search.space.objectives import Objective
from tests import SPACE

QUALITY = Objective("net.quality", "", "net", "quality")
AREA = Objective("area_mm2", "mm2", None, "area_mm2")


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (-5, -5.0),
        ("float + 0.5", -1.5),
        ("float - 1e-1", -2.1),
        ("float * 2", -4.0),
        ("float + 10 %", -1.8),
        ("float*.5", -1.0),
    ],
)
def test_a_limit_is_a_number_or_relative_to_the_float_network(written: float | str, wanted: float) -> None:
    assert limit_of(QUALITY, written, {"net": -2.0}.__getitem__) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("objective", "written", "said"),
    [
        (QUALITY, "float plus one", "'float plus one' is no limit: write a number, or such as 'float \\+ 0.1'"),
        (AREA, "float + 1", "has no area_mm2: write a number"),
        (AREA, 0, "0 should be greater than 0"),
        (AREA, -2.5, "-2.5 should be greater than 0"),
    ],
)
def test_what_is_no_limit_is_refused(objective: Objective, written: float | str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        limit_of(objective, written, lambda _: 0.0)


def test_a_budget_of_quality_may_be_negative_and_bounds_the_front(tmp_path: Path) -> None:
    """The tiny network's quality is the log10 of a squared error."""
    file = tmp_path / "space.yaml"
    file.write_text(SPACE + "budgets: {tiny.squared_error: -1.0}\n")
    ((objective, limit),) = load_space(file).budgets
    assert (objective.name, limit) == ("tiny.quality", -1.0)
    assert main(["search", str(file), "--out", str(tmp_path / "out")]) == 0
    front = json.loads((tmp_path / "out" / "front.json").read_text())
    found = [design["quality"]["tiny"]["value"] for design in front["designs"]]
    assert found
    assert max(found) <= -1.0


def test_a_relative_budget_is_measured_when_the_space_is_read(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(SPACE + 'budgets: {tiny.quality: "float + 9.5"}\n')
    ((_, limit),) = load_space(file).budgets
    assert limit == pytest.approx(-2.5)
