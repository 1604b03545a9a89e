"""The training loop: batches that follow from seed and step, checkpoints that resume, a loss that falls."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from codesign.models.rewrite import card, train
from codesign.models.rewrite.corpus import Document
from codesign.models.rewrite.network import Decoder, DecoderConfig
from codesign.models.rewrite.tokens import END_ID, PAD_ID, TO_ID, load_tokenizer

STREAM = np.random.default_rng(0).integers(7, 1024, 5000)


def tied(seed: int = 0) -> Decoder:
    torch.manual_seed(seed)
    network = Decoder(DecoderConfig(layers=1))
    network.lm_head.weight = network.embed_tokens.weight
    return network


def take_steps(network: Decoder, optimizer: torch.optim.AdamW, steps: range) -> list[float]:
    losses = []
    for step in steps:
        loss, _ = train.weighted_loss(network, *train.batch(step, 0, STREAM, load_tokenizer()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_a_batch_follows_from_seed_and_step_alone() -> None:
    a, b, c = (train.batch(step, seed, STREAM, load_tokenizer()) for step, seed in ((4, 0), (4, 0), (5, 0)))
    assert torch.equal(a[0], b[0])
    assert not torch.equal(a[0], c[0])


def test_answers_weigh_one_and_what_is_given_weighs_less() -> None:
    row = torch.tensor([[2, 50, 51, TO_ID, 60, 61, END_ID, 3, 70, TO_ID, 80, END_ID]])
    expected = [0.2] * 4 + [1.0] * 3 + [0.2] * 3 + [1.0] * 2
    assert train._target_weights(row).tolist() == [pytest.approx(expected)]


def test_padding_has_no_weight() -> None:
    tokens, weights = train.batch(0, 0, STREAM, load_tokenizer())
    assert bool((tokens == PAD_ID).any())
    assert not weights[tokens == PAD_ID].any()


def test_a_message_is_never_cut_by_the_end_of_a_row() -> None:
    tokens: Tensor = train.batch(0, 0, STREAM, load_tokenizer())[0][train.PROSE_ROWS :]
    assert torch.equal((tokens == TO_ID).sum(1), (tokens == END_ID).sum(1))


@pytest.mark.slow
def test_the_loss_falls() -> None:
    network = tied()
    losses = take_steps(network, torch.optim.AdamW(network.parameters(), lr=3e-3), range(12))
    assert losses[-1] < losses[0] - 0.5


def test_a_resumed_run_takes_the_same_steps_as_one_that_was_not_interrupted(tmp_path: Path) -> None:
    network = tied()
    optimizer = train.optimizer_for(network)
    take_steps(network, optimizer, range(2))
    train.save_checkpoint(tmp_path, network, optimizer, train.Progress(seed=0, step=2, seconds=1.5))
    straight = take_steps(network, optimizer, range(2, 4))
    other = tied(seed=1)
    again = train.optimizer_for(other)
    assert train.load_checkpoint(tmp_path, other, again) == train.Progress(seed=0, step=2, seconds=1.5)
    assert take_steps(other, again, range(2, 4)) == pytest.approx(straight, rel=1e-5)


def test_shipped_weights_are_float16_and_hold_the_head_as_a_matrix_of_its_own(tmp_path: Path) -> None:
    train.save_weights(tmp_path, tied())
    tensors = load_file(tmp_path / "rewrite.safetensors")
    assert {t.dtype for t in tensors.values()} == {torch.float16}
    assert torch.equal(tensors["lm_head.weight"], tensors["embed_tokens.weight"])


def test_the_rate_warms_up_and_ends_low() -> None:
    """A hundredth of the 4e-3 at its first step, half way down the cosine from 4e-3 to 4e-5, and at its end."""
    rates = [train.learning_rate(step, done) for step, done in ((0, 0.0), (99, 0.0), (1000, 0.5), (2000, 1.0))]
    assert rates == pytest.approx([4e-5, 4e-3, 2.02e-3, 4e-5])


@pytest.mark.slow
def test_a_short_run_writes_all_its_files_and_goes_on_with_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "Return the value of an expression. " * 200
    monkeypatch.setattr(train, "documents", lambda split: [Document("topic:a", text), Document("topic:b", text)])
    train.main(["--out", str(tmp_path), "--minutes", "0.02"])
    first = json.loads(card._metadata(tmp_path / "state.safetensors")["progress"])
    train.main(["--out", str(tmp_path), "--minutes", "0.04", "--resume"])
    second = json.loads(card._metadata(tmp_path / "state.safetensors")["progress"])
    assert {p.name for p in tmp_path.iterdir()} >= {"tokenizer.json", "state.safetensors", "rewrite.safetensors"}
    assert 0 < first["step"] < second["step"]
