"""A study's folder is read as it was written, and a candidate keeps its name."""

from __future__ import annotations

from pathlib import Path

from codesign.designs import Candidate, load_study, save_study
from codesign.formats import Assignment, LayerFormats
from tests.report.synthetic import write_study


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path / "study"))
    save_study(study, "name: synthetic\n", {"table.csv": "a,b\n"})
    again = load_study(tmp_path / "study")
    assert (again.front, again.record, again.examples) == (study.front, study.record, study.examples)
    assert (tmp_path / "study" / "space.yaml").read_text() == "name: synthetic\n"
    assert (tmp_path / "study" / "table.csv").read_text() == "a,b\n"


def test_a_candidate_is_called_by_its_chip_and_the_formats_of_every_network() -> None:
    first, second = (Assignment.of({"a": LayerFormats("int8", weight)}) for weight in ("int8", "int4"))
    candidate = Candidate(7, {"x": first, "y": second})
    # keys of stored studies: 16 digits of the sha256 of {"a":{"activation":"int8","weight":"int8"}}, and with int4
    assert candidate.key == "7|x=19b38f1c3d472270|y=3484444edf39a848"
    assert Candidate.digests(candidate.key) == {"x": "19b38f1c3d472270", "y": "3484444edf39a848"}
    assert Candidate(8, candidate.assignments).key != candidate.key
