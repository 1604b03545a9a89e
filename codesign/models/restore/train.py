"""Train the restore network on a pool: ``python -m codesign.models.restore.train --pool DIR --out DIR --minutes 60``.

The network predicts the clean image from the chain's start (the degraded image), and from states that its own earlier
predictions lead to, at any time of the chain: each prediction may come back, mixed with the degraded image, as an input
of the next update. So all states of its own chains lead to the truth (a consistency model trained on its own
trajectories), and each pass refines the one before. The loss is the logarithm of each image's error, whose mean is what
PSNR reports.

The schedule depends on the time spent, so that a run ends on time on any machine. The output folder receives
restore.safetensors (averaged weights), log.jsonl, and every minute state.safetensors, from which ``--resume``
continues. ``--from-weights FILE`` starts from trained weights instead of random ones.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from codesign.models.restore.dataset import Batch, load_samples
from codesign.models.restore.diffusion import STEPS, diffuse
from codesign.models.restore.network import TASKS, RestoreUNet
from codesign.models.restore.pool import Pool
from codesign.models.restore.task import chain_noise, load_network, restore, to_unit, truth_metrics

IMAGES = 16  # per update
RETURNING = 3  # of them, predictions of the last update that are refined
PEAK_RATE, FINAL_SHARE = 1e-3, 0.01  # highest learning rate; final one relative to it
WARMUP_STEPS = 150
LONGEST_AVERAGE = 0.999  # decay of the averaged weights
LEAST_ERROR = 1e-6  # added to the mean squared error (pixels in 0..1) before the logarithm: 60 dB
CHECKPOINT_SECONDS, LOOK_SECONDS, LOG_STEPS = 60.0, 300.0, 100


class Supply(Protocol):
    """Where batches come from."""

    def batch(self, rng: np.random.Generator, images: int) -> Batch:
        """`images` degraded crops."""


@dataclass
class Progress:
    """State of a run, without tensors, that is needed to resume it."""

    seed: int
    peak_rate: float = PEAK_RATE
    compiled: bool = False
    bfloat16: bool = False
    step: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    numpy_state: dict[str, Any] = field(default_factory=dict)


class Trainer:
    """Network, averaged network, optimizer, returning predictions and random states."""

    def __init__(self, network: RestoreUNet, progress: Progress) -> None:
        torch.manual_seed(progress.seed)
        self.network = network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
        self.average = copy.deepcopy(self.network).eval()
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=progress.peak_rate, weight_decay=1e-3, betas=(0.9, 0.99)
        )
        self.rng = np.random.default_rng(progress.seed)
        self.generator = torch.Generator().manual_seed(progress.seed)
        self.progress = progress
        self._forward: nn.Module = torch.compile(self.network) if progress.compiled else self.network  # type: ignore[assignment]  # a compiled one is a module
        self._returning: tuple[Batch, Tensor] | None = None  # images of the last update and their predictions

    def step(self, supply: Supply, done: float) -> float:
        """One update at share `done` of the time; returns the loss."""
        progress = self.progress
        for group in self.optimizer.param_groups:
            group["lr"] = progress.peak_rate * rate_share(progress.step, done)
        batch, noisy, times = self._inputs(supply)
        with torch.autocast("cpu", torch.bfloat16, enabled=progress.bfloat16):
            clean = self._forward(noisy, batch.degraded, batch.mask, times, batch.task).float()
        loss = log_errors(clean, batch).mean()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        progress.step += 1
        self._follow(min(LONGEST_AVERAGE, (progress.step + 1) / (progress.step + 10)))
        back = torch.randperm(len(batch), generator=self.generator)[:RETURNING]
        self._returning = batch[back], clean.detach()[back]
        return float(loss.detach())

    def _inputs(self, supply: Supply) -> tuple[Batch, Tensor, Tensor]:
        """(images, x_t, t): fresh ones at time 1, returning ones half at the product's times, half at any."""
        returning = self._returning
        count = IMAGES - (len(returning[0]) if returning else 0)
        batch, times = supply.batch(self.rng, count), torch.ones(count)
        clean = batch.degraded
        if returning:
            old, predicted = returning
            of_product = torch.randint(1, STEPS, (len(old),), generator=self.generator) / STEPS
            anywhere = 0.02 + 0.96 * torch.rand(len(old), generator=self.generator)
            chosen = torch.rand(len(old), generator=self.generator) < 0.5
            batch = joined(batch, old)
            times = torch.cat([times, torch.where(chosen, of_product, anywhere)])
            clean = torch.cat([clean, predicted])
        noise = torch.randn(batch.clean.shape, generator=self.generator)
        return batch, diffuse(clean, batch.degraded, times, noise), times

    @torch.no_grad()
    def _follow(self, decay: float) -> None:
        for mean, parameter in zip(self.average.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(parameter, 1 - decay)

    def save(self, path: Path) -> None:
        """Write atomically: an interruption leaves the previous state."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
        if self._returning:
            tensors |= {f"returning.{k}": v for k, v in vars(self._returning[0]).items()}
            tensors["returning.predicted"] = self._returning[1]
        tensors["generator"] = self.generator.get_state()
        self.progress.numpy_state = dict(self.rng.bit_generator.state)
        temporary = path.with_suffix(".tmp")
        save_file(_contiguous(tensors), temporary, metadata={"progress": json.dumps(asdict(self.progress))})
        temporary.replace(path)

    def restore(self, path: Path) -> None:
        """Restore a state written by `save`."""
        tensors = load_file(path)
        with safe_open(path, framework="pt") as opened:
            kept = Progress(**json.loads(opened.metadata()["progress"]))
        self.progress.step, self.progress.seconds, self.progress.cpu_seconds = kept.step, kept.seconds, kept.cpu_seconds
        self.network.load_state_dict(_below(tensors, "network."))
        self.average.load_state_dict(_below(tensors, "average."))
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _below(tensors, "optimizer.").items():
            index, _, name = key.partition(".")
            state.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
        returning = _below(tensors, "returning.")
        if returning:
            predicted = returning.pop("predicted")
            self._returning = Batch(**returning), predicted
        self.generator.set_state(tensors["generator"])
        self.rng.bit_generator.state = kept.numpy_state


def joined(first: Batch, second: Batch) -> Batch:
    """Both batches as one."""
    return Batch(**{name: torch.cat([a, vars(second)[name]]) for name, a in vars(first).items()})


def log_errors(images: Tensor, batch: Batch) -> Tensor:
    """Logarithm of the mean squared error (pixels in 0..1) of each image, over its hole if it has one: [n]."""
    hole = batch.mask.flatten(1).mean(dim=1)
    errors = (to_unit(images) - to_unit(batch.clean)).square().flatten(1).mean(dim=1)
    return torch.log(errors / torch.where(hole > 0, hole, 1.0) + LEAST_ERROR)


def rate_share(step: int, done: float) -> float:
    """Relative learning rate: linear warm-up by step, times a cosine of the share `done` of the time."""
    warm = min(1.0, (step + 1) / WARMUP_STEPS)
    return warm * (FINAL_SHARE + (1 - FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))


@torch.inference_mode()
def look(network: RestoreUNet) -> dict[str, float]:
    """Mean gain in PSNR over the degraded image on the held-out crops, dB by task: for the log alone."""
    batch = Batch.of(load_samples()["held_out"])
    images = restore(network, batch, chain_noise(len(batch), STEPS, 0)).clamp(0, 1)
    ours, before = ({s.name: s for s in truth_metrics(x, batch)} for x in (images, to_unit(batch.degraded)))
    return {
        task: round(float((ours[f"psnr_{task}"].values - before[f"psnr_{task}"].values).mean()), 3) for task in TASKS
    }


def train(trainer: Trainer, supply: Supply, out: Path, minutes: float) -> None:
    """Run for `minutes` in all, resumed time included."""
    losses: list[float] = []
    progress, budget = trainer.progress, minutes * 60
    saved = looked = progress.seconds
    last, last_cpu = time.perf_counter(), time.process_time()
    while progress.seconds < budget:
        losses.append(trainer.step(supply, progress.seconds / budget))
        now, cpu = time.perf_counter(), time.process_time()
        progress.seconds, last = progress.seconds + now - last, now
        progress.cpu_seconds, last_cpu = progress.cpu_seconds + cpu - last_cpu, cpu
        if progress.step % LOG_STEPS == 0:
            gains = None
            if progress.seconds - looked > LOOK_SECONDS:
                gains, looked = look(trainer.average), progress.seconds
            _log(out, progress, losses, gains)
            losses = []
        if progress.seconds - saved > CHECKPOINT_SECONDS:
            trainer.save(out / "state.safetensors")
            saved = progress.seconds
    _log(out, progress, losses, look(trainer.average))
    trainer.save(out / "state.safetensors")
    save_file(_contiguous(trainer.average.state_dict()), out / "restore.safetensors")


def _log(out: Path, progress: Progress, losses: list[float], gains: dict[str, float] | None) -> None:
    row = {
        "seed": progress.seed,
        "step": progress.step,
        "minutes": round(progress.seconds / 60, 2),
        "cpu_minutes": round(progress.cpu_seconds / 60, 2),
        "loss": round(sum(losses) / len(losses), 5) if losses else None,
    } | ({"gains": gains} if gains else {})
    with (out / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(row) + "\n")
    print(json.dumps(row), file=sys.stderr, flush=True)


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors, as required by safetensors."""
    return {k: v.contiguous() for k, v in tensors.items()}


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, required=True, help="folder that codesign.models.restore.pool wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for state, log and weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60.0, help="training time, resumed time included")
    parser.add_argument("--rate", type=float, default=PEAK_RATE, help=f"highest learning rate (default {PEAK_RATE})")
    parser.add_argument("--from-weights", type=Path, metavar="FILE", help="start from these weights")
    parser.add_argument("--resume", action="store_true", help="go on from the state in --out")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="compile the network; needs a C++ compiler")
    parser.add_argument("--bfloat16", action="store_true", help="compute in bfloat16, weights in float32")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    supply = Pool(given.pool)
    network = load_network(given.from_weights) if given.from_weights else RestoreUNet()
    trainer = Trainer(network, Progress(given.seed, given.rate, given.compile, given.bfloat16))
    state = given.out / "state.safetensors"
    if given.resume and state.exists():
        trainer.restore(state)
    train(trainer, supply, given.out, given.minutes)


if __name__ == "__main__":
    main()
