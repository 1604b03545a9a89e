"""`RewriteTask`: the decoder with its held-out text and metrics."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.models.distances import divergence
from codesign.models.probes import sampled_label
from codesign.models.rewrite.dataset import RewriteData, RewriteRows, load_data, training_windows
from codesign.models.rewrite.generate import generate, texts
from codesign.models.rewrite.metrics import chrf, exact_match, perplexity, ratio_of_sums
from codesign.models.rewrite.network import Decoder, DecoderConfig, KvCache
from codesign.models.rewrite.tokens import DATA, SPECIAL
from codesign.models.task import Example, Outputs, Part, Samples, Task, TextExample
from codesign.workload.types import Workload

DECIDING_PROSE, DECIDING_REWRITES = 12, 30  # rows of the deciding metric; the full report uses all
_PART_PROSE, _PART_REWRITES = 4, 10  # of the deciding rows
_EXAMPLES = 8  # messages that a report shows
PROMPT_TOKENS, NEW_TOKENS = 64, 32  # of the message of `workload`: slightly longer than the average


@dataclass(frozen=True)
class Forced:
    """Rows for one teacher-forced pass, and the predictions that count.

    In prose all tokens count; in rewrites those of the answer and its END, since the network never writes the prompt.
    """

    tokens: Tensor  # [n, length]
    row: Tensor  # [counted tokens], position of the predictions
    column: Tensor
    label: Tensor  # [counted tokens], the token to predict

    @classmethod
    def of(cls, prose: np.ndarray, rewrites: RewriteRows) -> Forced:
        tokens = torch.from_numpy(np.concatenate([prose, rewrites.tokens]).astype(np.int64))
        target = torch.arange(1, tokens.shape[1])
        first = torch.tensor([1] * len(prose) + rewrites.prompt.tolist())
        end = torch.tensor([tokens.shape[1]] * len(prose) + rewrites.total.tolist())
        row, column = ((target >= first[:, None]) & (target < end[:, None])).nonzero(as_tuple=True)
        return cls(tokens, row, column, tokens[row, column + 1])

    def log_probs(self, module: nn.Module) -> Tensor:
        """Log-probabilities [counted tokens, vocab] of one pass; raises InputError if they are not finite."""
        logits = module(self.tokens)[self.row, self.column]
        if not bool(torch.isfinite(logits).all()):
            raise InputError("rewrite: the network's outputs hold NaN or infinity")
        return torch.log_softmax(logits, dim=-1)

    def sums(self, per_token: Tensor) -> np.ndarray:
        """Sum over the counted tokens of each row, [n] float64."""
        total = torch.zeros(len(self.tokens), dtype=torch.float64)
        return total.index_add_(0, self.row, per_token.detach().double()).numpy()

    @property
    def counts(self) -> np.ndarray:
        return np.bincount(self.row.numpy(), minlength=len(self.tokens))

    def losses(self, log_probs: Tensor) -> Tensor:
        """Negative log-likelihood of each label, [counted tokens]."""
        return -log_probs.gather(1, self.label[:, None])[:, 0]


class RewriteTask(Task):
    """Message rewriting with a small Llama-style decoder; deciding metric: KL divergence to the float network.

    Outputs: ``log_probs`` [tokens, vocab] of the deciding rows; with ``full`` also ``prose_losses`` [windows] of the
    other prose and ``generated`` [96, new tokens], the greedy answers.
    """

    deciding, unit = "kl_to_float", "nats/token"

    def __init__(self, module: nn.Module, config: DecoderConfig, data: RewriteData, seed: int = 0) -> None:
        self.name = "rewrite"
        self.module = module.eval()
        self.config, self.data, self.seed = config, data, seed
        self._deciding = Forced.of(data.prose[:DECIDING_PROSE], data.rewrites.take(np.arange(DECIDING_REWRITES)))
        self._prose = DECIDING_PROSE  # windows of prose among the rows of `_deciding`
        no_rewrites = data.rewrites.take(np.arange(0))
        self._more_prose = Forced.of(data.prose[DECIDING_PROSE:], no_rewrites)
        self._calibration = Forced.of(data.calibration_prose, data.calibration_rewrites).tokens
        self._targets = texts(data.rewrites.targets())

    def calibrate(self, module: nn.Module) -> None:
        module(self._calibration)

    def practise(self, module: nn.Module) -> None:
        """Windows of the text that the network was trained on: there is more of it than calibration needs."""
        module(torch.from_numpy(training_windows(self.seed).astype(np.int64)))

    def distance(self, returned: Tensor, wanted: Tensor) -> Tensor:
        """The KL divergence of the next token."""
        return divergence(returned, wanted)

    def run(self, module: nn.Module, *, full: bool = False) -> Outputs:
        """Teacher-forced pass; ``full`` adds more prose and greedy answers. Raises InputError on NaN."""
        for name, parameter in module.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                raise InputError(f"rewrite: weight '{name}' holds NaN or infinity")
        outputs = {"log_probs": self._deciding.log_probs(module)}
        if full:
            more = self._more_prose
            losses = more.sums(more.losses(more.log_probs(module)))
            outputs["prose_losses"] = torch.from_numpy(losses)
            outputs["generated"] = generate(module, self.config, self.data.rewrites.prompts())
        return outputs

    def score(self, outputs: Outputs, reference: Outputs, *, full: bool = False) -> list[Samples]:
        """kl_to_float, top1_agreement, perplexity; with ``full`` also exact_match and chrf."""
        rows, counts = self._deciding, self._deciding.counts
        ours, float_ = outputs["log_probs"].detach(), reference["log_probs"].detach()
        divergence = (float_.exp() * (float_ - ours)).sum(dim=1)
        agrees = (ours.argmax(1) == float_.argmax(1)).float()
        losses = rows.sums(rows.losses(ours))[: self._prose]
        prose_counts = counts[: self._prose]
        if full:
            losses = np.concatenate([losses, outputs["prose_losses"].numpy()])
            prose_counts = np.concatenate([prose_counts, self._more_prose.counts])
        samples = [
            ratio_of_sums("kl_to_float", "nats/token", "minimize", rows.sums(divergence), counts),
            ratio_of_sums("top1_agreement", "", "maximize", rows.sums(agrees), counts),
        ]
        if len(losses):
            samples.append(perplexity(losses, prose_counts))
        if full:
            written = texts(outputs["generated"])
            samples += [exact_match(written, self._targets), chrf(written, self._targets)]
        return samples

    def probe(self, outputs: Outputs, generator: torch.Generator) -> Tensor:
        """The score of a sampled label for each token, as the deciding metric is a KL divergence."""
        return sampled_label(outputs["log_probs"], generator)

    def sample_count(self) -> int:
        """Windows of prose, and messages, that decide."""
        return DECIDING_PROSE + DECIDING_REWRITES

    def some(self, rows: Sequence[int]) -> RewriteTask:
        """With some windows of prose, which come first, and some messages."""
        every = np.asarray(rows, np.int64)
        prose, rewrites = every[every < DECIDING_PROSE], every[every >= DECIDING_PROSE] - DECIDING_PROSE
        smaller = copy.copy(self)
        smaller._deciding = Forced.of(self.data.prose[prose], self.data.rewrites.take(rewrites))
        smaller._prose = len(prose)
        return smaller

    def part(self) -> Part:
        """The first windows of prose and the first messages."""
        rows = np.concatenate([np.arange(_PART_PROSE), DECIDING_PROSE + np.arange(_PART_REWRITES)])
        return Part(self.some(rows.tolist()), rows, len(rows) / (DECIDING_PROSE + DECIDING_REWRITES))

    def workload(self) -> Workload:
        """One message: a prefill of PROMPT_TOKENS, then NEW_TOKENS decode passes with the mean context length."""
        from codesign.workload import trace

        prompt = torch.zeros(1, PROMPT_TOKENS, dtype=torch.int64)
        prefill = trace(self.module, [prompt, KvCache.empty(self.config, 1)], name=self.name, phase="prefill")
        context = self._filled_cache(PROMPT_TOKENS + NEW_TOKENS // 2 - 1)  # plus the new token
        decode = trace(self.module, [prompt[:, :1], context], name=self.name, phase="decode", repeats=NEW_TOKENS)
        return prefill.merged([decode])

    def _filled_cache(self, tokens: int) -> KvCache:
        cache = KvCache.empty(self.config, 1)
        with torch.no_grad():
            self.module(torch.zeros(1, tokens, dtype=torch.int64), cache)
        return cache

    def data_arrays(self) -> Iterator[np.ndarray]:
        for part in (self.data, self.data.rewrites, self.data.calibration_rewrites):
            values: Iterable[object] = (getattr(part, f.name) for f in fields(part))
            yield from (v for v in values if isinstance(v, np.ndarray))

    def examples(self, outputs: Outputs, *, reference: bool = False) -> dict[str, list[Example]]:
        """The first held-out messages with right and generated answers."""
        rows = self.example_rewrites(outputs)[:_EXAMPLES]
        return {"output": [TextExample(*row) for row in rows]}

    def example_rewrites(self, outputs: Outputs) -> list[tuple[str, str, str]]:
        """(source with its task, right answer, generated answer) of all held-out messages, from ``run(full=True)``."""
        return list(zip(self.sources(), self._targets, texts(outputs["generated"]), strict=True))

    def sources(self) -> list[str]:
        """``casual->polite: hey Sam, ...`` for each held-out message."""
        prompts = self.data.rewrites.prompts()
        messages = texts([p[1:-1] for p in prompts])
        return [f"{SPECIAL[p[0]].strip('<|>')}: {text}" for p, text in zip(prompts, messages, strict=True)]


def load_network(path: Path = DATA / "rewrite.safetensors") -> Decoder:
    """The trained decoder in float32 (stored as float16, so that all weights are float16 values)."""
    network = Decoder()
    network.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    return network.eval()


def load() -> RewriteTask:
    """The bundled task."""
    network = load_network()
    return RewriteTask(network, network.config, load_data())
