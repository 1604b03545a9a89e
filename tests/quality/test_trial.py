"""A metric is tried on the float network and on a ruined one before a study rests on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from codesign.errors import InputError
from codesign.formats import Assignment, FormatPair
from codesign.models import load_task
from codesign.models.custom import CustomTask, Loss
from codesign.quality import Evaluator, try_metric


def tried(name: str) -> float:
    return try_metric(Evaluator(load_task(f"python:tests.tiny:{name}", name="net"))).value


def test_a_distance_from_the_float_network_is_zero_there() -> None:
    assert tried("task") == -12.0  # of zero, in log10


def test_a_loss_takes_a_function() -> None:
    with pytest.raises(InputError, match=r"a Loss is of a function .* not of NoneType"):
        Loss(None)  # type: ignore[arg-type]  # the mistake is tested


def test_labels_belong_to_the_data() -> None:
    right, wrong = (load_task(f"python:tests.tiny:{name}", name="net") for name in ("labelled", "mislabelled"))
    assert right.data_fingerprint() != wrong.data_fingerprint()
    again = load_task("python:tests.tiny:labelled", name="net")
    assert right.data_fingerprint() == again.data_fingerprint()


@pytest.mark.parametrize(("name", "least"), [("in_log10", -12.0), ("in_decibels", -120.0)])
def test_a_declared_logarithm_is_cut_off_where_nothing_is_lost(name: str, least: float) -> None:
    assert tried(name) == pytest.approx(least)


@pytest.mark.parametrize("name", ["infinite", "constant", "psnr", "wrong_scale", "positive_psnr"])
def test_what_is_no_loss_is_refused_in_words(name: str) -> None:
    wanted = {
        "infinite": r"net: metric '<lambda>' is not finite on the float network's own outputs .*scale='log10'",
        "constant": r"net: metric '<lambda>' is 1 on .* 1 with int2 in every layer: it looks at nothing that formats",
        "wrong_scale": r"with int2 in every layer, which is no log10 of an error: is scale='log10' right\?",
        "positive_psnr": r"not finite on .* Is it the wrong way round\? Of a PSNR return the negative",
        "psnr": r"net: metric '<lambda>' is 120 on .* with int2 in every layer: is it the wrong way round\? .*smaller",
    }
    with pytest.raises(InputError, match=wanted[name]):
        tried(name)


def test_an_unknown_scale_offers_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown scale 'log' of a loss; did you mean 'log10'"):
        Loss(lambda y, r: y, "log")  # type: ignore[arg-type]  # the mistake is tested


@pytest.mark.parametrize(("scale", "value", "raw"), [("raw", 0.25, 0.25), ("log10", -3.0, 1e-3), ("db", -30.0, 1e-3)])
def test_a_scale_leads_to_the_raw_loss_and_back(tiny: CustomTask, scale: str, value: float, raw: float) -> None:
    loss = Loss(lambda y, r: y[:, 0], scale)  # type: ignore[arg-type]  # parametrised as text
    task = CustomTask("net", tiny.module, tiny._calibration, tiny._evaluation, loss)
    assert task.raw(value) == pytest.approx(raw)
    assert task.from_raw(task.raw(value)) == pytest.approx(value)


def test_a_metric_without_more_to_say_is_measured_once(tiny: CustomTask, tmp_path: Path) -> None:
    evaluator = Evaluator(tiny, cache=tmp_path)
    assignment = Assignment.of_pairs(dict.fromkeys(evaluator.layers, FormatPair("int8", "int8")), evaluator.layers)
    decided = evaluator(assignment)
    (reported,) = evaluator.metrics(assignment)
    assert evaluator.measured == 1
    assert (reported.value, reported.low, reported.high) == (decided.value, decided.low, decided.high)
    assert (reported.part, reported.draws) == (None, ())
