"""Train the restore network: ``python -m codesign.models.restore.train --out DIR --seed 0 --minutes 26``.

Two phases share the time (``--phase`` runs only one of them): a diffusion teacher, then its 4-step consistency student.
The schedule depends on the time spent, so that a run ends on time on any machine. DIR receives PHASE.safetensors (the
averaged weights), log.jsonl, and every minute PHASE.state.safetensors, from which ``--resume`` continues.
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
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.models.restore.dataset import Batch
from codesign.models.restore.degrade import degrade
from codesign.models.restore.diffusion import Predict, consistency_pair, diffuse, preconditioning
from codesign.models.restore.network import TASKS, RestoreUNet, expected_change
from codesign.models.restore.photographs import TRAINING, augmented, dead_leaves, pyramid, random_crop, read

IMAGES = 16  # per step
FINAL_SHARE = 0.02  # final learning rate, relative to the peak
SYNTHETIC_SHARE = 0.15
TRUTH_SHARE = 0.7  # weight of the truth in the student's loss; the rest is consistency
LARGEST_ERROR = 100.0  # largest squared error of a pixel relative to the expected one; larger errors have no gradient
LEAST_ERROR = 0.03  # added to the mean error before the logarithm


WARMUP_STEPS = 150
LONGEST_AVERAGE = 0.998  # decay of the averaged weights


@dataclass(frozen=True)
class Phase:
    """A phase of training."""

    share: float  # of the time
    peak_rate: float  # highest learning rate
    after: str | None = None  # the phase from whose weights it starts


PHASES = {"teacher": Phase(0.58, 8e-4), "student": Phase(0.42, 4e-4, after="teacher")}
CHECKPOINT_SECONDS, LOG_STEPS = 60.0, 100


@dataclass
class Progress:
    """State of a run, without tensors, that is needed to resume it."""

    phase: str
    seed: int
    compiled: bool = False
    step: int = 0
    seconds: float = 0.0
    numpy_state: dict[str, Any] = field(default_factory=dict)


class Photographs:
    """Generator of batches of degraded training crops."""

    def __init__(self) -> None:
        self._levels = [pyramid(read(p)) for p in TRAINING]
        weights = np.array([p.weight for p in TRAINING])
        self._share = weights / weights.sum()

    def batch(self, rng: np.random.Generator) -> Batch:
        """IMAGES crops, each with a random task."""
        crops = [self._crop(rng) for _ in range(IMAGES)]
        tasks = rng.integers(len(TASKS), size=IMAGES)
        pairs = [degrade(crop, TASKS[task], rng) for crop, task in zip(crops, tasks, strict=True)]
        degraded, masks = zip(*pairs, strict=True)
        return Batch(torch.stack(crops), torch.stack(degraded), torch.stack(masks), torch.from_numpy(tasks))

    def _crop(self, rng: np.random.Generator) -> Tensor:
        if rng.random() < SYNTHETIC_SHARE:
            return dead_leaves(rng)
        levels = self._levels[rng.choice(len(self._levels), p=self._share)]
        return augmented(random_crop(levels[rng.integers(len(levels))], rng), rng)


class Trainer:
    """Network, averaged network, optimizer and random states of one phase."""

    def __init__(self, phase: str, seed: int, start: RestoreUNet | None, compiled: bool = False) -> None:
        torch.manual_seed(seed)
        self.phase, self.start = PHASES[phase], start
        self.network = RestoreUNet(hole_trust=1.0) if start is None else copy.deepcopy(start).train()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
        self._forward: nn.Module = torch.compile(self.network) if compiled else self.network  # type: ignore[assignment]  # a compiled one is a module
        self._loss = self._teacher_loss if start is None else self._student_loss
        self.average = copy.deepcopy(self.network).eval()
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=self.phase.peak_rate, weight_decay=1e-3, betas=(0.9, 0.99)
        )
        offset = 1000 * list(PHASES).index(phase)
        self.rng = np.random.default_rng(seed + offset)
        self.generator = torch.Generator().manual_seed(seed + offset)
        self.progress = Progress(phase, seed, compiled)

    def step(self, batch: Batch, done: float) -> float:
        """One update at share `done` of the time; returns the loss."""
        step = self.progress.step
        for group in self.optimizer.param_groups:
            group["lr"] = self.phase.peak_rate * rate_share(step, done)
        loss = self._loss(batch)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.progress.step = step + 1
        self._follow(min(LONGEST_AVERAGE, (step + 2) / (step + 11)))
        return float(loss.detach())

    def _teacher_loss(self, batch: Batch) -> Tensor:
        """Error of the clean image predicted from x_t; late times, where sampling starts, are drawn more often."""
        draws = torch.rand(IMAGES, generator=self.generator)
        times = 1 - 0.99 * draws**3
        noise = torch.randn(batch.clean.shape, generator=self.generator)
        x = diffuse(batch.clean, batch.degraded, times, noise)
        clean = predictor(self._forward, batch)(x, times)
        return scaled_errors(clean, batch.clean, times, batch).clamp_max(LARGEST_ERROR).mean()

    def _student_loss(self, batch: Batch) -> Tensor:
        """Error against the clean image, and consistency with an earlier time on the teacher's trajectory."""
        assert self.start is not None
        teacher = predictor(self.start, batch)
        x, now, earlier, before = consistency_pair(teacher, batch.clean, batch.degraded, self.generator)
        with torch.no_grad():
            target = predictor(self.average, batch)(earlier, before)
        clean = predictor(self._forward, batch)(x, now)
        truth, consistency = (log_mean(scaled_errors(clean, goal, now, batch), batch) for goal in (batch.clean, target))
        return TRUTH_SHARE * truth + (1 - TRUTH_SHARE) * consistency

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
        tensors["generator"] = self.generator.get_state()
        self.progress.numpy_state = dict(self.rng.bit_generator.state)
        temporary = path.with_suffix(".tmp")
        save_file(_contiguous(tensors), temporary, metadata={"progress": json.dumps(asdict(self.progress))})
        temporary.replace(path)

    def restore(self, path: Path) -> None:
        """Restore a state written by `save`."""
        tensors = load_file(path)
        with safe_open(path, framework="pt") as opened:
            self.progress = Progress(**json.loads(opened.metadata()["progress"]))
        self.network.load_state_dict(_below(tensors, "network."))
        self.average.load_state_dict(_below(tensors, "average."))
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _below(tensors, "optimizer.").items():
            index, _, name = key.partition(".")
            state.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
        self.generator.set_state(tensors["generator"])
        self.rng.bit_generator.state = self.progress.numpy_state


def predictor(network: nn.Module, batch: Batch) -> Predict:
    """The network as a function of x_t and time alone."""

    def predict(noisy: Tensor, time: Tensor) -> Tensor:
        clean: Tensor = network(noisy, batch.degraded, batch.mask, time, batch.task)
        return clean

    return predict


def scaled_errors(images: Tensor, target: Tensor, time: Tensor, batch: Batch) -> Tensor:
    """Squared error of each pixel relative to the squared scale of the network's output there."""
    _, scale = preconditioning(time, expected_change(batch.degraded, batch.mask))
    return ((images - target) / scale).square()


def log_mean(errors: Tensor, batch: Batch) -> Tensor:
    """Mean logarithm of each image's mean error (over its hole, if any), so that easy and hard images weigh equally."""
    hole = batch.mask.flatten(1).mean(dim=1)
    return torch.log(errors.flatten(1).mean(dim=1) / torch.where(hole > 0, hole, 1.0) + LEAST_ERROR).mean()


def rate_share(step: int, done: float) -> float:
    """Relative learning rate: linear warm-up by step, times a cosine of the share `done` of the time."""
    warm = min(1.0, (step + 1) / WARMUP_STEPS)
    return warm * (FINAL_SHARE + (1 - FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))


def train(given: argparse.Namespace, phase: str, minutes: float, photographs: Photographs) -> None:
    """Run one phase for `minutes`; raises InputError if the weights of the previous phase are missing."""
    out: Path = given.out
    trainer = Trainer(phase, given.seed, _weights(out, PHASES[phase].after), given.compile)
    state = out / f"{phase}.state.safetensors"
    if given.resume and state.exists():
        trainer.restore(state)
    losses: list[float] = []
    progress, budget = trainer.progress, minutes * 60
    saved, last = progress.seconds, time.perf_counter()
    while progress.seconds < budget:
        losses.append(trainer.step(photographs.batch(trainer.rng), progress.seconds / budget))
        now = time.perf_counter()
        progress.seconds, last = progress.seconds + now - last, now
        if progress.step % LOG_STEPS == 0:
            _log(out, progress, sum(losses) / len(losses))
            losses = []
        if progress.seconds - saved > CHECKPOINT_SECONDS:
            trainer.save(state)
            saved = progress.seconds
    if losses:
        _log(out, progress, sum(losses) / len(losses))
    trainer.save(state)
    save_file(_contiguous(trainer.average.state_dict()), out / f"{phase}.safetensors")


def _weights(out: Path, phase: str | None) -> RestoreUNet | None:
    """The network with the weights of `phase`; None if phase is None."""
    if phase is None:
        return None
    path = out / f"{phase}.safetensors"
    if not path.exists():
        raise InputError(f"{path}: no such file; train it first with: --phase {phase}")
    network = RestoreUNet(hole_trust=1.0)
    network.load_state_dict(load_file(path))
    return network.eval()


def _log(out: Path, progress: Progress, loss: float) -> None:
    minutes = round(progress.seconds / 60, 2)
    row = {
        "phase": progress.phase,
        "seed": progress.seed,
        "compiled": progress.compiled,
        "step": progress.step,
        "minutes": minutes,
        "loss": round(loss, 5),
    }
    with (out / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(row) + "\n")
    print(json.dumps(row), file=sys.stderr, flush=True)


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors, as required by safetensors."""
    return {k: v.contiguous() for k, v in tensors.items()}


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for states, log and weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=26.0, help="training time, resumed time included")
    parser.add_argument("--phase", choices=[*PHASES, "all"], default="all")
    parser.add_argument("--resume", action="store_true", help="go on from the states in --out")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="about twice the steps; needs a C++ compiler")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    photographs = Photographs()
    shares = {name: phase.share for name, phase in PHASES.items()} if given.phase == "all" else {given.phase: 1.0}
    for phase, share in shares.items():
        train(given, phase, share * given.minutes, photographs)


if __name__ == "__main__":
    main()
