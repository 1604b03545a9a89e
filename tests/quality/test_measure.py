"""The value of a metric and its interval, from the samples alone."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from codesign.models.task import Samples
from codesign.quality import Quality
from codesign.quality.measure import BOOTSTRAP_SEED, RESAMPLES, UnmeasurableError, measure

VALUES = np.random.default_rng(0).normal(3.0, 1.0, size=64)


def samples(values: object) -> Samples:
    return Samples("loss", "dB", "maximize", np.asarray(values), lambda rows: float(np.mean(rows)))


def resampled(values: np.ndarray) -> np.ndarray:
    """The means of the same resamples, drawn here again."""
    rows = np.random.default_rng(BOOTSTRAP_SEED).integers(0, len(values), size=(RESAMPLES, len(values)))
    return values[rows].mean(axis=1)


def test_a_quality_is_the_metric_of_its_samples() -> None:
    found = measure(samples(VALUES))
    assert (found.metric, found.unit, found.direction, found.n) == ("loss", "dB", "maximize", 64)
    assert found.value == pytest.approx(VALUES.mean())
    assert (found.float_value, found.delta, found.delta_low, found.delta_high, found.draws) == (None,) * 4 + ((),)


def test_its_interval_holds_95_percent_of_400_resamples() -> None:
    found = measure(samples(VALUES))
    assert RESAMPLES == 400
    assert [found.low, found.high] == pytest.approx(np.percentile(resampled(VALUES), [2.5, 97.5]))


def test_an_interval_is_that_of_95_percent() -> None:
    """Of the mean of normal samples: 1.96 standard errors to each side, not the 1.64 of 90 % or the 2.58 of 99 %."""
    values = np.random.default_rng(0).normal(5.0, 2.0, 400)
    found = measure(Samples("loss", "", "minimize", values, lambda rows: float(rows.mean())))
    error = values.std() / 400**0.5
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.12 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.12 * error)


def test_a_metric_that_resamples_bias_still_lies_in_its_interval() -> None:
    """Resamples repeat rows, so that they hold fewer different ones than the samples."""
    extreme = Samples("m", "", "minimize", np.arange(1000.0), lambda rows: float(len(set(rows))))
    found = measure(extreme)
    assert found.value == found.high == 1000
    assert found.low < 700
    least = measure(Samples("m", "", "minimize", np.arange(1000.0), lambda rows: -float(len(set(rows)))))
    assert least.value == least.low == -1000


def test_the_difference_from_the_float_network_is_that_on_the_same_resamples() -> None:
    base = VALUES + 1.0 + 0.01 * np.arange(64)
    found = measure(samples(VALUES), samples(base))
    difference = resampled(VALUES) - resampled(base)
    assert found.float_value == pytest.approx(base.mean())
    assert found.delta == pytest.approx(VALUES.mean() - base.mean())
    assert [found.delta_low, found.delta_high] == pytest.approx(np.percentile(difference, [2.5, 97.5]))
    assert (found.value, found.low, found.high) == (pytest.approx(VALUES.mean()), *_interval(VALUES))


def _interval(values: np.ndarray) -> tuple[float, float]:
    alone = measure(samples(values))
    return alone.low, alone.high


def test_the_first_resamples_are_kept_in_seven_digits() -> None:
    found = measure(samples(VALUES), draws=3)
    assert found.draws == tuple(float(f"{value:.7g}") for value in resampled(VALUES)[:3])


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.empty(0), "loss: no samples"),
        ([1.0, math.nan, math.inf, 2.0], "loss: 2 of 4 values are NaN or infinite, first of sample 1"),
        ([[1.0, 2.0], [1.0, -math.inf]], "loss: 1 of 2 values are NaN or infinite, first of sample 1"),
    ],
)
def test_without_finite_samples_there_is_no_quality(values: object, why: str) -> None:
    with pytest.raises(UnmeasurableError) as refused:
        measure(samples(values))
    assert str(refused.value) == why


def ratio(rows: np.ndarray) -> float:
    return float(np.divide(1.0, rows.mean())) if rows.mean() else math.inf


def test_a_metric_that_is_not_finite_is_no_quality() -> None:
    zeros, ones = (Samples("ratio", "", "minimize", np.full(4, value), ratio) for value in (0.0, 1.0))
    with pytest.raises(UnmeasurableError, match=r"^ratio is inf$"):
        measure(zeros)
    with pytest.raises(UnmeasurableError, match=r"^ratio is inf \(float network: 1.0\)$"):
        measure(zeros, ones)
    with pytest.raises(UnmeasurableError, match=r"^ratio is 1.0 \(float network: inf\)$"):
        measure(ones, zeros)


@pytest.mark.parametrize(
    ("changed", "written"),
    [({}, set()), ({"part": 1.0}, {"part"}), ({"of_part": True}, {"of_part"}), ({"draws": (1.0, 2.0)}, {"draws"})],
)
def test_what_is_not_set_is_not_written(changed: dict[str, object], written: set[str]) -> None:
    quality = Quality("loss", "", "minimize", 1.0, 0.5, 1.5, 8, **changed)  # type: ignore[arg-type]  # given by name
    fields = json.loads(json.dumps(quality.to_dict()))
    assert {"part", "of_part", "draws"} & fields.keys() == written
    assert Quality.from_dict(fields) == quality
