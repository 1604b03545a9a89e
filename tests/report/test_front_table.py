"""The table at the end of a search: few rows that a terminal of 100 columns holds, in units that people use."""

from __future__ import annotations

import dataclasses
import math

import pytest

from codesign.commands.output import print_table
from codesign.designs import Metric, Study
from codesign.report import load_study
from codesign.report.front_table import MOST, WIDTH, front_table, shown_designs
from codesign.report.words import Reading, metric_label, metric_words, reading
from tests.report.synthetic import PAIRS, write_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return load_study(write_study(tmp_path_factory.mktemp("study")))


def readings(study: Study) -> list[Reading]:
    return [reading(study, goal) for goal in study.front.objectives]


def test_no_row_is_wider_than_100_characters(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(*front_table(study))
    lines = capsys.readouterr().out.rstrip().splitlines()
    assert len(lines) == 3 + MOST + 1
    assert max(map(len, lines)) <= WIDTH


def test_what_does_not_fit_is_left_out_and_counted(study: Study) -> None:
    title, columns, rows = front_table(study, width=45)
    assert len(columns) == len(rows[0]) == 2
    assert "3 more in the report" in title


def test_the_extremes_and_the_balanced_design_are_among_few(study: Study) -> None:
    few = {design.id for design in shown_designs(study, most=5)}
    extremes = {min(study.front, key=lambda d: d.objectives[name]).id for name in study.front.names}
    assert len(few) == 5
    assert few >= extremes | {study.record.chosen}


def test_the_best_of_each_column_is_marked_once(study: Study) -> None:
    _, columns, rows = front_table(study)
    for place in range(1, 1 + len(study.front.names)):
        assert sum(row[place].endswith("*") for row in rows) == 1, columns[place]


def test_int8_everywhere_stands_beside(study: Study) -> None:
    _, _, rows = front_table(study)
    (baseline,) = (b for b in study.record.baselines if b.label == "uniform int8:int8")
    assert rows[-1][0] == f"{baseline.id} all INT8"


def test_pairs_are_cut_between_names(study: Study) -> None:
    _, _, rows = front_table(study)
    names = {pair.split(":")[0] if pair.split(":")[0] == pair.split(":")[1] else pair for pair in PAIRS}
    for row in rows:
        shown, _, more = row[-1].partition(" +")
        assert set(shown.split(", ")) <= names
        assert more == "" or more.isdigit()


def test_a_log10_of_a_squared_error_is_read_in_decibels(study: Study) -> None:
    restore = readings(study)[0]
    assert (restore.label, restore.unit, restore.better) == ("restore: against float", "dB", "higher")
    assert restore.text(-3.5) == "35.00 dB"
    assert restore.interval(-3.6, -3.5) == "35.00 to 36.00 dB"


def test_a_log10_of_a_divergence_is_read_in_nats() -> None:
    read = Reading("assistant: KL to float", "nats/token", "power")
    assert read.value(-2.0) == pytest.approx(0.01)
    assert read.better == "lower"


def test_costs_are_read_with_a_prefix(study: Study) -> None:
    area, latency = readings(study)[2:]
    assert (area.label, area.text(2.5)) == ("area", "2.5 mm2")
    assert (latency.label, latency.text(0.0021)) == ("restore: latency of one result", "2.1 ms")


METRIC = Metric(
    metric="psnr_deblur",
    unit="dB",
    direction="maximize",
    value=29.1,
    low=27.0,
    high=31.0,
    n=16,
    float_value=29.2,
    delta=-0.1,
    delta_low=-0.3,
    delta_high=0.1,
)


@pytest.mark.parametrize(
    ("low", "high", "direction", "verdict"),
    [
        (-0.3, 0.1, "maximize", "indistinguishable from float on 16 photographs"),
        (-0.3, -0.1, "maximize", "worse than float, beyond the noise of 16 photographs"),
        (-0.3, -0.1, "minimize", "better than float, beyond the noise of 16 photographs"),
    ],
)
def test_a_change_says_what_it_means(low: float, high: float, direction: str, verdict: str) -> None:
    changed = METRIC.model_copy(update={"delta_low": low, "delta_high": high, "direction": direction})
    assert metric_words(changed, "photographs").verdict == verdict


def test_a_metric_that_compares_with_float_has_no_change_against_it() -> None:
    words = metric_words(METRIC.model_copy(update={"metric": "psnr_to_float", "float_value": math.inf}))
    assert (words.label, words.change, words.float_value) == ("PSNR against float", "", "")


def test_metrics_have_names_in_words() -> None:
    assert metric_label("psnr_inpaint_hole") == "PSNR inside the hole, inpaint"
    assert metric_label("psnr_to_photograph") == "PSNR against the photograph"
    assert metric_label("top1_agreement") == "same next token as float"
    assert metric_label("my_own_score") == "my own score"


def test_a_study_of_formats_alone_has_no_units(study: Study) -> None:
    alone = dataclasses.replace(study, front=study.front.model_copy(update={"hardware_given": False}))
    assert "pairs of its unit" not in front_table(alone)[1]
