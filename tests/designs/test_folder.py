"""A study's folder is read as it was written, and a candidate keeps its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from codesign.designs import Candidate, Study, earlier, load_study, save_study
from codesign.formats import Assignment, LayerFormats
from tests.report.synthetic import write_study


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path / "study"))
    save_study(study, "name: synthetic\n", {"table.csv": "a,b\n"})
    again = load_study(tmp_path / "study")
    assert (again.front, again.record, again.examples) == (study.front, study.record, study.examples)
    assert (tmp_path / "study" / "space.yaml").read_text() == "name: synthetic\n"
    assert (tmp_path / "study" / "table.csv").read_text() == "a,b\n"


def saved(folder: Path) -> Study:
    """The synthetic study, written as a search writes it."""
    study = load_study(write_study(folder))
    (folder / "front.json").unlink()
    save_study(study, "name: synthetic\n", {})
    return study


def test_a_front_that_a_later_run_replaces_is_kept(tmp_path: Path) -> None:
    study = saved(tmp_path / "study")
    texts = {name: (study.folder / name).read_text() for name in ("front.json", "details.json", "space.yaml")}
    better = replace(study, front=study.front.model_copy(update={"evaluations": study.front.evaluations + 1}))
    save_study(better, "name: later\n", {})
    (kept,) = earlier(study.folder)
    assert kept.name == f"{study.front.created[:19].replace(':', '')}Z"
    assert texts == {name: (kept / name).read_text() for name in texts}
    assert (load_study(kept).front, load_study(kept).record) == (study.front, study.record)
    assert load_study(study.folder).front == better.front
    save_study(study, "name: again\n", {})  # as created in the same second
    assert [front.name for front in earlier(study.folder)] == [kept.name, f"{kept.name}-2"]
    assert load_study(earlier(study.folder)[1]).front == better.front


def test_a_run_that_finds_nothing_new_keeps_nothing(tmp_path: Path) -> None:
    study = saved(tmp_path / "study")
    update = {"created": "2030-01-01T00:00:00+00:00", "made_with": {"torch": "9"}}
    save_study(replace(study, front=study.front.model_copy(update=update)), "name: later\n", {})
    assert earlier(study.folder) == []


@pytest.mark.parametrize("broken", ["", "[]", "{}", '{"created": '])
def test_a_front_that_cannot_be_read_is_replaced(tmp_path: Path, broken: str) -> None:
    study = saved(tmp_path / "study")
    (study.folder / "front.json").write_text(broken)
    save_study(study, "name: synthetic\n", {})
    assert earlier(study.folder) == []
    assert load_study(study.folder).front == study.front


def test_a_candidate_is_called_by_its_chip_and_the_formats_of_every_network() -> None:
    first, second = (Assignment.of({"a": LayerFormats("int8", weight)}) for weight in ("int8", "int4"))
    candidate = Candidate(7, {"x": first, "y": second})
    # keys of stored studies: 16 digits of the sha256 of {"a":{"activation":"int8","weight":"int8"}}, and with int4
    assert candidate.key == "7|x=19b38f1c3d472270|y=3484444edf39a848"
    assert Candidate.digests(candidate.key) == {"x": "19b38f1c3d472270", "y": "3484444edf39a848"}
    assert Candidate(8, candidate.assignments).key != candidate.key
