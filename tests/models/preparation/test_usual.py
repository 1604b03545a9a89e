"""Preparation by words, as a space or an option writes it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from codesign.cli import main
from codesign.errors import InputError
from codesign.models import Task, load_task
from codesign.models.custom import CustomTask
from codesign.models.preparation import USUAL_STEPS, prepared_by, steps_of
from codesign.search import load_space

SPACE = """
name: prepared
tasks:
  net: {{task: "python:net:task"{more}}}
pairs: [int8, int4]
objectives: [net.quality, net.weight_bytes]
"""


def make_task() -> CustomTask:
    torch.manual_seed(0)
    norm = nn.LayerNorm(32)
    torch.nn.init.uniform_(norm.weight, 0.5, 2.0)
    module = nn.Sequential(nn.Linear(32, 32), norm, nn.Linear(32, 8)).eval()
    return CustomTask("net", module, torch.randn(8, 32), torch.randn(8, 32), None)


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task()


def test_steps_are_words_and_a_word_stands_alone() -> None:
    assert steps_of(["fold", "smooth", "fold"]) == ("fold", "smooth")
    assert steps_of(["none"]) == ()
    with pytest.raises(InputError, match=r"unknown step of preparation 'fodl'.*fold"):
        steps_of(["fodl"])
    with pytest.raises(InputError, match="'none' stands alone"):
        steps_of(["none", "fold"])


def test_none_leaves_the_task_and_the_usual_steps_are_taken_in_order(task: Task) -> None:
    assert prepared_by(task, ()) is task
    usual = prepared_by(task, ["usual"])
    assert usual.preparation is not None
    assert usual.preparation.steps == USUAL_STEPS
    assert any(match.step == "fold" for match in usual.preparation.matches)


def test_a_network_that_cannot_be_prepared_is_measured_as_it_is_and_says_so(
    task: Task, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> Task:
        raise RuntimeError("no such thing")

    monkeypatch.setattr("codesign.models.preparation.usual.prepared", broken)
    with caplog.at_level(logging.WARNING):
        assert prepared_by(task, ["usual"]) is task
    assert "net is not prepared for quantization (prepare: none): no such thing" in caplog.text


def test_a_space_says_how_its_network_is_prepared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.py").write_text("from tests.models.preparation.test_usual import make_task as task\n")
    path = tmp_path / "space.yaml"
    steps, hashes = {}, {}
    for more in ("", ", prepare: none", ", prepare: [fold, equalize]", ", prepare: usual"):
        path.write_text(SPACE.format(more=more))
        space = load_space(path)
        found = space.networks["net"].task.preparation
        steps[more], hashes[more] = found and found.steps, space.space_hash
    assert list(steps.values()) == [USUAL_STEPS, None, ("fold", "equalize"), USUAL_STEPS]
    assert hashes[""] == hashes[", prepare: usual"]
    assert len(set(hashes.values())) == 3
    assert main(["explain", str(path)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "net: prepared by" in said
    path.write_text(SPACE.format(more=", prepare: fodl"))
    with pytest.raises(InputError, match=r"space.yaml:4: tasks.net.prepare: .*unknown step of preparation 'fodl'"):
        load_space(path)


def test_a_bundled_network_is_prepared_once_and_each_task_has_its_own_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepared_by(load_task("rewrite"), ["fold"])
    monkeypatch.setattr("codesign.models.preparation.task._checked", lambda *_: pytest.fail("prepared again"))
    second = prepared_by(load_task("rewrite"), ["fold"])
    assert second.fingerprint() == first.fingerprint()
    assert second.preparation == first.preparation
    pairs = list(zip(first.module.parameters(), second.module.parameters(), strict=True))
    assert all(torch.equal(a, b) and a is not b for a, b in pairs)
