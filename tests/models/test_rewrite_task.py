"""The rewrite task: its metrics, its probe, its workload and its card."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sacrebleu.metrics import CHRF
from torch import Tensor
from torchmetrics.text import Perplexity

from codesign.errors import InputError
from codesign.models.rewrite import RewriteTask, card, load
from codesign.models.rewrite.dataset import heldout_rows, load_data
from codesign.models.rewrite.generate import texts
from codesign.models.rewrite.metrics import chrf
from codesign.models.rewrite.network import Decoder
from codesign.models.rewrite.tokens import END_ID, pad_rows
from codesign.models.task import Outputs
from tests.models import perturbed

CARD = json.loads(Path(card.HERE, "card.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def task() -> RewriteTask:
    return load()


@pytest.fixture(scope="module")
def reference(task: RewriteTask) -> Outputs:
    with torch.inference_mode():
        return task.run(task.module, full=True)


def noisy(task: RewriteTask, size: float) -> Decoder:
    """The network with noise on its matrices, except the embedding."""
    network = perturbed(task.module, size, spared=["embed_tokens.weight"])
    assert isinstance(network, Decoder)
    return network


@torch.inference_mode()
def value(task: RewriteTask, network: Decoder, reference: Outputs, metric: str = "kl_to_float") -> float:
    samples = {s.name: s for s in task.score(task.run(network), reference)}[metric]
    return samples.reduce(samples.values)


def test_the_deciding_metric_comes_first_and_is_zero_for_float_itself(task: RewriteTask, reference: Outputs) -> None:
    first = task.score(reference, reference)[0]
    assert first.name == task.deciding == "kl_to_float"
    assert first.reduce(first.values) == 0.0


def test_the_deciding_metric_grows_with_the_perturbation(task: RewriteTask, reference: Outputs) -> None:
    losses = [value(task, noisy(task, size), reference) for size in (0.01, 0.03, 0.1)]
    assert 0 < losses[0] < losses[1] / 4 < losses[2] / 16


def test_agreement_falls_and_perplexity_rises_under_a_strong_perturbation(
    task: RewriteTask, reference: Outputs
) -> None:
    strong = noisy(task, 0.5)
    assert value(task, strong, reference, "top1_agreement") < 0.95
    assert value(task, strong, reference, "perplexity") > 1.02 * value(task, noisy(task, 0), reference, "perplexity")


def test_a_second_run_gives_the_same_outputs(task: RewriteTask, reference: Outputs) -> None:
    with torch.inference_mode():
        again = task.run(task.module)["log_probs"]
    assert torch.equal(again, reference["log_probs"])


def test_the_full_report_adds_exact_match_and_chrf_over_all_held_out_messages(
    task: RewriteTask, reference: Outputs
) -> None:
    samples = {s.name: s for s in task.score(reference, reference, full=True)}
    assert list(samples) == ["kl_to_float", "top1_agreement", "perplexity", "exact_match", "chrf"]
    assert samples["exact_match"].values.shape == (96,)
    assert len(samples["perplexity"].values) == len(task.data.prose)


def test_kl_equals_torchs_own(task: RewriteTask, reference: Outputs) -> None:
    with torch.inference_mode():
        outputs = task.run(noisy(task, 0.1))
    expected = torch.nn.functional.kl_div(
        outputs["log_probs"], reference["log_probs"], log_target=True, reduction="batchmean"
    )
    first = task.score(outputs, reference)[0]
    assert first.reduce(first.values) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.slow
def test_perplexity_equals_torchmetrics(task: RewriteTask, reference: Outputs) -> None:
    perplexity = Perplexity()
    windows = torch.from_numpy(task.data.prose.astype(np.int64))
    with torch.inference_mode():
        perplexity.update(task.module(windows)[:, :-1], windows[:, 1:])
    ours = task.score(reference, reference, full=True)[2]
    assert ours.reduce(ours.values) == pytest.approx(float(perplexity.compute()), rel=1e-4)


def test_chrf_equals_sacrebleus_corpus_score_on_any_resample_of_rows() -> None:
    written = ["hey Sam, send it", "Dear Ann, no.", "", "quite the same", "hello"]
    wanted = ["hey Sam, send the plan", "Dear Anna, yes.", "words", "quite the same", "goodbye"]
    samples = chrf(written, wanted)
    for rows in ([0, 1, 2, 3, 4], [3, 3, 0, 1, 1]):
        score = CHRF().corpus_score([written[i] for i in rows], [[wanted[i] for i in rows]]).score
        assert samples.reduce(samples.values[rows]) == pytest.approx(score)


def test_exact_match_counts_the_answers_that_equal_the_target(task: RewriteTask, reference: Outputs) -> None:
    """Of the wanted answers, but for the first 24 of 96, which lack their last token."""
    answers = [answer[:-1] if i < 24 else answer for i, answer in enumerate(task.data.rewrites.targets())]
    generated = torch.from_numpy(pad_rows(answers, fill=END_ID).astype(np.int64))
    samples = task.score({**reference, "generated": generated}, reference, full=True)[3]
    assert samples.values.tolist() == [0.0] * 24 + [1.0] * 72
    assert samples.reduce(samples.values) == 0.75


def test_an_example_is_a_message_with_its_task_the_wanted_answer_and_the_written_one(
    task: RewriteTask, reference: Outputs
) -> None:
    examples = task.example_rewrites(reference)
    assert len(examples) == 96
    assert examples[0][0].split(":")[0] in ("shorten", "casual->polite", "polite->casual")
    assert examples[0][1] == texts(task.data.rewrites.targets()[:1])[0]


def test_sources_hold_the_message_without_special_tokens(task: RewriteTask) -> None:
    assert not [s for s in task.sources() if "<|" in s]


@pytest.mark.slow
def test_the_probe_estimates_the_divergence_of_a_small_change(task: RewriteTask, reference: Outputs) -> None:
    """E[(v . change of the log-probabilities)^2] over probes equals KL(float || changed) to second order."""
    small = noisy(task, 0.02)
    with torch.no_grad():
        change = task.run(small)["log_probs"] - reference["log_probs"]
        # To first order the change has no mean under the float distribution; what is left of one is of second order.
        change -= (reference["log_probs"].exp() * change).sum(dim=1, keepdim=True)
    leaf = {"log_probs": reference["log_probs"].clone().requires_grad_(True)}
    generator = torch.Generator().manual_seed(0)
    probes = [torch.autograd.grad(task.probe(leaf, generator), leaf["log_probs"])[0] for _ in range(60)]
    estimate = np.mean([float((v * change).sum()) ** 2 for v in probes])
    assert estimate == pytest.approx(value(task, small, reference), rel=0.4)


def test_gradients_of_the_probe_reach_every_matrix(task: RewriteTask) -> None:
    outputs = task.run(task.module)
    matrices = [p for p in task.module.parameters() if p.ndim == 2]
    gradients = torch.autograd.grad(task.probe(outputs, torch.Generator().manual_seed(0)), matrices)
    assert all(bool(g.abs().sum() > 0) for g in gradients)


def test_nan_in_a_weight_is_refused_by_name(task: RewriteTask) -> None:
    broken = noisy(task, 0.0)
    with torch.no_grad():
        broken.layers[2].mlp.up_proj.weight[3, 5] = float("nan")
    with pytest.raises(InputError, match=r"layers\.2\.mlp\.up_proj\.weight"):
        task.run(broken)


def test_nan_that_arises_in_the_pass_is_refused(task: RewriteTask) -> None:
    class Failing(torch.nn.Module):
        def forward(self, tokens: Tensor) -> Tensor:
            return torch.full((*tokens.shape, 1024), float("nan"))

    with pytest.raises(InputError, match="NaN or infinity"):
        task.run(Failing())


def test_the_workload_of_a_message_is_a_prefill_and_a_decode_at_the_mean_context(task: RewriteTask) -> None:
    workload = task.workload()
    assert workload.phases == ("prefill", "decode")
    assert workload.repeats == {"prefill": 1, "decode": 32}
    kinds = workload.layer_kinds()
    assert sum(k == "linear" for k in kinds.values()) == 36
    assert sum(k == "attention" for k in kinds.values()) == 5
    decode = [op for op in workload.operators if op.phase == "decode" and op.layer == "layers.0.self_attn"]
    assert [(op.m, op.n, op.k, op.count) for op in decode] == [(1, 80, 32, 4), (1, 32, 80, 4)]
    assert all(op.kv_write_elements == 64 for op in decode)


def test_the_fingerprint_follows_the_weights_and_the_data(task: RewriteTask) -> None:
    other = RewriteTask(noisy(task, 0.01), task.config, task.data)
    assert load().fingerprint() == task.fingerprint() != other.fingerprint()
    changed = copy.deepcopy(task.data)
    changed.prose[0, 0] += 1
    assert RewriteTask(task.module, task.config, changed).fingerprint() != task.fingerprint()


def test_the_card_states_what_the_committed_rows_give(task: RewriteTask, reference: Outputs) -> None:
    claims = CARD["committed_rows"]
    perplexity, exact = (task.score(reference, reference, full=True)[i] for i in (2, 3))
    assert perplexity.reduce(perplexity.values) == pytest.approx(claims["perplexity"]["value"], rel=1e-3)
    stated = np.mean([split["exact_match"]["value"] for split in claims["rewrites"].values()])
    assert exact.reduce(exact.values) == pytest.approx(stated, abs=2 / 96)


@pytest.mark.slow
def test_the_card_states_what_a_fresh_sample_gives(task: RewriteTask) -> None:
    """Messages that neither the card nor the reports use: the values lie near the card's intervals."""
    rows = heldout_rows(40, seed=7)
    written = card.write_answers(load().module, rows)
    hits = np.array([a == b for a, b in zip(written, texts(rows.targets()), strict=True)])
    for index, split in enumerate(("names", "combinations", "phrasings")):
        stated = CARD["quality"]["rewrites"][split]["exact_match"]
        assert stated["low"] - 0.2 <= hits[rows.split == index].mean() <= stated["high"] + 0.2


def test_the_card_is_rendered_from_its_numbers() -> None:
    assert Path(card.HERE, "CARD.md").read_text(encoding="utf-8") == card.card_text.render(CARD)
    assert CARD["parameters"] == sum(p.numel() for p in load().module.parameters())


def test_calibration_rows_are_no_evaluation_rows() -> None:
    data = load_data()
    evaluated = {row.tobytes() for row in (*data.prose, *data.rewrites.tokens)}
    assert not evaluated & {row.tobytes() for row in (*data.calibration_prose, *data.calibration_rewrites.tokens)}
