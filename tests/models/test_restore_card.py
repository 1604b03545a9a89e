"""The claims of the restore task's card, measured again from the committed weights."""

from __future__ import annotations

import json

import pytest
import torch

from codesign.models.restore import card, card_text
from codesign.models.restore.card import Rows, biharmonic, difference, held_out, measure_row, restored
from codesign.models.restore.dataset import Batch
from codesign.models.restore.network import TASKS
from codesign.models.restore.task import load_network, to_unit
from codesign.models.task import Outputs

CARD = json.loads((card.HERE / "card.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def batch() -> Batch:
    return held_out()


@pytest.fixture(scope="module")
def rows(restored_in_full: Outputs, batch: Batch) -> Rows:
    student = restored_in_full["images"].clamp(0, 1)
    return {"steps_4": measure_row(student, batch), "input": measure_row(to_unit(batch.degraded), batch)}


@pytest.mark.slow
def test_the_card_restores_as_the_task_does(restored_in_full: Outputs, batch: Batch) -> None:
    images = restored(load_network(), 4, batch[:4])
    torch.testing.assert_close(images, restored_in_full["images"][:4].clamp(0, 1), atol=1e-5, rtol=0)


def gain(rows: Rows, ours: str, other: str, metric: str) -> float:
    samples = difference(rows, ours, other, metric)
    return samples.reduce(samples.values)


def test_super_resolution_beats_bicubic_by_half_a_decibel(rows: Rows) -> None:
    assert gain(rows, "steps_4", "input", "psnr_super_resolution") >= 0.5


def test_deblurring_improves_on_the_blurred_image_by_six_tenths_of_a_decibel(rows: Rows) -> None:
    assert gain(rows, "steps_4", "input", "psnr_deblur") >= 0.6


def test_holes_are_no_worse_than_their_prefill(rows: Rows) -> None:
    for metric in ("psnr_inpaint_hole", "psnr_outpaint_hole"):
        assert gain(rows, "steps_4", "input", metric) >= -0.05


def test_inpainting_and_outpainting_beat_the_biharmonic_fill(rows: Rows, batch: Batch) -> None:
    pytest.importorskip("skimage", reason="codesign[train] is not installed")
    both = rows | {"biharmonic": measure_row(biharmonic(batch), batch)}
    for metric in ("psnr_inpaint", "psnr_inpaint_hole", "psnr_outpaint", "psnr_outpaint_hole"):
        assert gain(both, "steps_4", "biharmonic", metric) > 0


@pytest.mark.slow
def test_four_steps_lose_at_most_three_tenths_of_a_decibel_to_fifty(restored_in_full: Outputs, batch: Batch) -> None:
    """On a quarter of the crops; the card's numbers are of all."""
    part = batch[: len(batch) // 4]
    four = restored_in_full["images"][: len(part)].clamp(0, 1)
    both = {"steps_4": measure_row(four, part), "steps_50": measure_row(restored(load_network(), 50, part), part)}
    assert all(gain(both, "steps_4", "steps_50", f"psnr_{task}") >= -0.3 for task in TASKS)


def test_the_card_says_what_is_measured(rows: Rows) -> None:
    for name, samples in rows["steps_4"].items():
        assert CARD["quality"]["steps_4"][name]["value"] == pytest.approx(samples.reduce(samples.values), abs=0.02)
        assert CARD["quality"]["input"][name]["value"] == pytest.approx(
            rows["input"][name].reduce(rows["input"][name].values), abs=0.01
        )


def test_the_claims_hold_in_the_card() -> None:
    gains = CARD["comparisons"]
    assert gains["super-resolution against bicubic"]["value"] >= 0.5
    assert gains["inpainting against biharmonic, hole only"]["value"] > 0
    against_fifty = [c["value"] for name, c in gains.items() if name.startswith("4 steps against 50")]
    assert len(against_fifty) == len(TASKS)
    assert min(against_fifty) >= -0.3


def test_the_card_names_a_goal_as_missed_where_its_gain_is_smaller() -> None:
    text = (card.HERE / "CARD.md").read_text(encoding="utf-8")
    for name, goal in CARD["goals"].items():
        row = next(line for line in text.splitlines() if line.startswith(f"| {name} |")).split(" | ")
        assert row[3] == ("met" if CARD["comparisons"][name]["value"] >= goal else "missed")


def test_every_interval_holds_its_value() -> None:
    for claims in (*CARD["quality"].values(), CARD["comparisons"], CARD["wallpapers"]):
        assert all(c["low"] <= c["value"] <= c["high"] for c in claims.values())


def test_the_card_lists_every_photograph_with_author_and_licence() -> None:
    text = (card.HERE / "CARD.md").read_text(encoding="utf-8")
    assert CARD["photographs"] == card.listed()
    for p in (p for listed in card.listed().values() for p in listed):
        assert f"| {p['name']} | {p['credit']} | {p['licence']} |" in text


def test_the_card_is_written_from_its_json() -> None:
    assert card_text.render(CARD) == (card.HERE / "CARD.md").read_text(encoding="utf-8")


def test_the_biharmonic_fill_leaves_known_pixels_and_other_tasks_alone(batch: Batch) -> None:
    pytest.importorskip("skimage", reason="codesign[train] is not installed")
    part = batch[:4]
    images = biharmonic(part)
    torch.testing.assert_close(images[:2], to_unit(part.degraded[:2]))
    known = (part.mask == 0).expand_as(images)
    torch.testing.assert_close(images[known], to_unit(part.degraded)[known], atol=1e-5, rtol=0)
    assert not torch.equal(images, to_unit(part.degraded))
