"""Train the rewrite network: ``python -m codesign.models.rewrite.train --out DIR --seed 0 --minutes 50``.

Single-threaded; 5 of 12 rows of each batch are prose, 7 are rewrites. The schedule depends on the time spent, so that a
run ends on time on any machine; a checkpoint is written every minute, from which `--resume` continues. DIR receives
tokenizer.json, log.jsonl, state.safetensors and rewrite.safetensors.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from codesign.models.rewrite.corpus import documents
from codesign.models.rewrite.generator import Rewrite, training_stream
from codesign.models.rewrite.network import Decoder
from codesign.models.rewrite.tokens import END_ID, PAD_ID, TEXT_ID, TO_ID, build_tokenizer

ROWS, LENGTH = 12, 192  # sequences per step, tokens per sequence
PROSE_ROWS = 5
PEAK_RATE, FINAL_RATE, WARMUP_STEPS = 4e-3, 4e-5, 100
SOURCE_WEIGHT = 0.2  # weight of the source of a message in the loss; its answer has 1
INVENTED_NAMES, INVENTED_FROM_STEP = 0.6, 1793  # curriculum: content first, then copying names
CHECKPOINT_SECONDS = 60.0


@dataclass
class Progress:
    """State of a run, without tensors, that is needed to resume it."""

    seed: int
    step: int = 0
    seconds: float = 0.0


def training_tokens(tokenizer: Tokenizer) -> np.ndarray:
    """The training documents as one stream of token ids, each between TEXT and END."""
    encoded = tokenizer.encode_batch([d.text for d in documents("train")])
    return np.concatenate([np.array([TEXT_ID, *e.ids, END_ID], dtype=np.int64) for e in encoded])


def batch(step: int, seed: int, stream: np.ndarray, tokenizer: Tokenizer) -> tuple[Tensor, Tensor]:
    """(tokens, their weights as targets), [ROWS, LENGTH + 1] each; determined by (seed, step)."""
    rng = np.random.default_rng((seed, step))
    starts = rng.integers(0, len(stream) - LENGTH - 1, PROSE_ROWS)
    prose = [stream[s : s + LENGTH + 1] for s in starts]
    invented = INVENTED_NAMES if step >= INVENTED_FROM_STEP else 0.0
    rewrites = _packed_rewrites(training_stream(f"{seed}:{step}", invented), ROWS - PROSE_ROWS, tokenizer)
    tokens = torch.from_numpy(np.stack([*prose, *rewrites]))
    weights = torch.ones(tokens.shape)
    weights[PROSE_ROWS:] = _target_weights(tokens[PROSE_ROWS:])
    return tokens, weights.masked_fill(tokens == PAD_ID, 0.0)


def _packed_rewrites(examples: Iterator[Rewrite], rows: int, tokenizer: Tokenizer) -> list[np.ndarray]:
    """Rows of concatenated whole examples, as many as fit."""
    waiting: list[int] = []
    packed = []
    for _ in range(rows):
        row: list[int] = []
        while True:
            if not waiting:
                waiting = tokenizer.encode(next(examples).text).ids
            if len(row) + len(waiting) > LENGTH + 1:
                break
            row, waiting = row + waiting, []
        packed.append(np.array(row + [PAD_ID] * (LENGTH + 1 - len(row)), dtype=np.int64))
    return packed


def _target_weights(tokens: Tensor) -> Tensor:
    """Weight 1 for tokens after TO up to END, SOURCE_WEIGHT for others."""
    opened = (tokens == TO_ID).cumsum(1) - (tokens == TO_ID).int()
    closed = (tokens == END_ID).cumsum(1) - (tokens == END_ID).int()
    return torch.where(opened > closed, 1.0, SOURCE_WEIGHT)


def learning_rate(step: int, done: float) -> float:
    """Learning rate: linear warm-up by step, times a cosine of the share `done` of the time."""
    warm = min(1.0, (step + 1) / WARMUP_STEPS)
    return warm * (FINAL_RATE + (PEAK_RATE - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))


def weighted_loss(network: Decoder, tokens: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """(weighted mean cross-entropy, losses [rows, LENGTH])."""
    logits = network(tokens[:, :-1])
    losses = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none").view(len(tokens), -1)
    share = weights[:, 1:]
    return (losses * share).sum() / share.sum(), losses.detach()


def optimizer_for(network: Decoder) -> torch.optim.AdamW:
    matrices = [p for p in network.parameters() if p.ndim == 2]
    gains = [p for p in network.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": gains, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.98))


def save_checkpoint(out: Path, network: Decoder, optimizer: torch.optim.AdamW, progress: Progress) -> None:
    """Write atomically: an interruption leaves the previous checkpoint."""
    tensors = {f"network.{k}": v for k, v in network.state_dict().items() if k != "lm_head.weight"}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
    save_file(tensors, out / "state.tmp", metadata={"progress": json.dumps(asdict(progress))})
    (out / "state.tmp").replace(out / "state.safetensors")


def load_checkpoint(out: Path, network: Decoder, optimizer: torch.optim.AdamW) -> Progress:
    from safetensors import safe_open

    path = out / "state.safetensors"
    tensors = load_file(path)
    network.load_state_dict(
        {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}, strict=False
    )
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    with safe_open(path, framework="pt") as opened:
        return Progress(**json.loads(opened.metadata()["progress"]))


def save_weights(out: Path, network: Decoder) -> None:
    """Save the weights for shipping: float16, with a separate matrix for the head."""
    half = {k: v.detach().to(torch.float16).clone().contiguous() for k, v in network.state_dict().items()}
    save_file(half, out / "rewrite.safetensors")


def train(out: Path, seed: int, minutes: float, resume: bool) -> Decoder:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(out, resume)
    stream = training_tokens(tokenizer)
    network = Decoder()
    network.lm_head.weight = network.embed_tokens.weight  # tied in training; two matrices in the file
    optimizer = optimizer_for(network)
    progress = load_checkpoint(out, network, optimizer) if resume else Progress(seed)
    print(f"{len(stream)} prose tokens, {sum(p.numel() for p in network.parameters())} parameters", file=sys.stderr)
    _loop(out, network, optimizer, progress, stream, tokenizer, minutes * 60)
    save_weights(out, network)
    return network


def _tokenizer(out: Path, resume: bool) -> Tokenizer:
    path = out / "tokenizer.json"
    if not (resume and path.exists()):
        rewrites = [r.text for r in itertools.islice(training_stream("tokenizer"), 6000)]
        build_tokenizer([*(d.text for d in documents("train")), *rewrites]).save(str(path))
    return Tokenizer.from_file(str(path))


def _loop(
    out: Path,
    network: Decoder,
    optimizer: torch.optim.AdamW,
    progress: Progress,
    stream: np.ndarray,
    tokenizer: Tokenizer,
    budget: float,
) -> None:
    saved, last = progress.seconds, time.perf_counter()
    window: list[tuple[float, float]] = []
    while progress.seconds < budget:
        rate = learning_rate(progress.step, progress.seconds / budget)
        for group in optimizer.param_groups:
            group["lr"] = rate
        tokens, weights = batch(progress.step, progress.seed, stream, tokenizer)
        loss, losses = weighted_loss(network, tokens, weights)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        written = losses[PROSE_ROWS:][weights[PROSE_ROWS:, 1:] == 1.0]
        window.append((losses[:PROSE_ROWS].mean().item(), written.mean().item()))
        now = time.perf_counter()
        progress.step, progress.seconds, last = progress.step + 1, progress.seconds + now - last, now
        if progress.step % 100 == 0:
            _log(out, progress, rate, window)
            window = []
        if progress.seconds - saved > CHECKPOINT_SECONDS:
            save_checkpoint(out, network, optimizer, progress)
            saved = progress.seconds
    save_checkpoint(out, network, optimizer, progress)


def _log(out: Path, progress: Progress, rate: float, window: list[tuple[float, float]]) -> None:
    prose, rewrite = (sum(column) / len(window) for column in zip(*window, strict=True))
    row = {
        "step": progress.step,
        "seconds": round(progress.seconds, 1),
        "rate": rate,
        "prose": prose,
        "rewrite": rewrite,
    }
    with (out / "log.jsonl").open("a") as log:
        log.write(json.dumps(row) + "\n")
    print(json.dumps(row), file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints, log and weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=50.0, help="training time, resumed time included")
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint in --out")
    given = parser.parse_args(arguments)
    train(given.out, given.seed, given.minutes, given.resume)


if __name__ == "__main__":
    main()
