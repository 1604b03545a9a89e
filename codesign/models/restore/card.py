"""Measure the float network and write its model card: ``python -m codesign.models.restore.card [--run DIR]``.

``--run DIR`` first installs the weights and reads the log of a training run; without it, the facts about the training
in `card.json` are kept. Needs scikit-image for the biharmonic fill.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections import Counter
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from codesign.errors import InputError
from codesign.files import read_text, write_atomic
from codesign.models.card import claim
from codesign.models.restore import card_text
from codesign.models.restore.card_text import Card, NetworkFacts, PhaseFacts, PhotographFacts, TrainingFacts
from codesign.models.restore.dataset import DATA, Batch, load_samples
from codesign.models.restore.diffusion import KAPPA, STUDENT_STEPS, TEACHER_STEPS, TEMPERATURE
from codesign.models.restore.network import HOLE_TRUST, TASKS, RestoreUNet
from codesign.models.restore.photographs import HELD_OUT, TRAINING, Photograph
from codesign.models.restore.task import RestoreTask, chain_noise, load, load_network, restore, to_unit, truth_metrics
from codesign.models.restore.train import IMAGES
from codesign.models.task import Samples

HERE = Path(__file__).parent
WEIGHTS = {"student": DATA / "restore.safetensors", "teacher": DATA / "teacher.safetensors"}
SEED = 0  # of the noise
# Comparisons with baselines: (claim, row, baseline row, metric)
COMPARISONS = (
    ("super-resolution against bicubic", "student_4", "input", "psnr_super_resolution"),
    ("deblurring against the blurred image", "student_4", "input", "psnr_deblur"),
    ("inpainting against biharmonic", "student_4", "biharmonic", "psnr_inpaint"),
    ("inpainting against biharmonic, hole only", "student_4", "biharmonic", "psnr_inpaint_hole"),
    ("outpainting against biharmonic", "student_4", "biharmonic", "psnr_outpaint"),
    ("inpainting against its own prefill", "student_4", "input", "psnr_inpaint"),
    ("outpainting against its own prefill", "student_4", "input", "psnr_outpaint"),
    *(
        (f"student, 4 steps, against teacher, 50 steps: {task}", "student_4", "teacher_50", f"psnr_{task}")
        for task in ("super_resolution", "deblur", "inpaint", "outpaint")
    ),
)
Rows = dict[str, dict[str, Samples]]


def held_out() -> Batch:
    return Batch.of(load_samples()["held_out"])


@torch.inference_mode()
def restored(network: RestoreUNet, steps: int, batch: Batch) -> Tensor:
    """Images [n,3,H,W] in 0..1 after `steps` steps."""
    return restore(network, batch, chain_noise(len(batch), steps, SEED)).clamp(0, 1)


def biharmonic(batch: Batch) -> Tensor:
    """Images [n,3,H,W] in 0..1 with holes filled from the known pixels by scikit-image; others unchanged."""
    try:
        from skimage.restoration import inpaint_biharmonic
    except ImportError as error:
        raise InputError(f"the biharmonic fill needs scikit-image: pip install codesign[train] ({error})") from None
    images = to_unit(batch.degraded)
    for image, mask in zip(images, batch.mask, strict=True):
        if bool(mask.any()):
            filled = inpaint_biharmonic(image.permute(1, 2, 0).numpy(), mask[0].numpy() > 0, channel_axis=-1)
            image.copy_(torch.from_numpy(filled).permute(2, 0, 1).clamp(0, 1))
    return images


def measure_row(images: Tensor, batch: Batch) -> dict[str, Samples]:
    return {s.name: s for s in truth_metrics(images, batch)}


def measure() -> Rows:
    """PSNR and SSIM of each restoration method on the held-out crops."""
    batch = held_out()
    student, teacher = load_network(WEIGHTS["student"]), load_network(WEIGHTS["teacher"])
    images = {
        "input": to_unit(batch.degraded),
        "biharmonic": biharmonic(batch),
        "student_4": restored(student, STUDENT_STEPS, batch),
        "student_4_full_trust": restored(load_network(WEIGHTS["student"], hole_trust=1.0), STUDENT_STEPS, batch),
        "teacher_4": restored(teacher, STUDENT_STEPS, batch),
        "teacher_50": restored(teacher, TEACHER_STEPS, batch),
    }
    return {name: measure_row(x, batch) for name, x in images.items()}


def hole_change_left() -> dict[str, float]:
    """RMS change of the prefill inside holes, relative to that with a trust of 1, by task."""
    batch = held_out()
    prefill = to_unit(batch.degraded)
    ours, whole = (
        restored(load_network(hole_trust=trust), STUDENT_STEPS, batch) - prefill for trust in (HOLE_TRUST, 1.0)
    )
    rows = {task: batch.task == TASKS.index(task) for task in ("inpaint", "outpaint")}
    return {
        task: round(float((ours[r].square().sum() / whole[r].square().sum()).sqrt()), 3) for task, r in rows.items()
    }


def difference(rows: Rows, ours: str, other: str, metric: str) -> Samples:
    """Gain of `ours` over `other`, per crop."""
    a, b = rows[ours][metric], rows[other][metric]
    return Samples(metric, a.unit, a.direction, a.values - b.values, a.reduce)


def describe_training(run: Path, note: str) -> TrainingFacts:
    """Facts about a training run from its log: steps, minutes and last loss (mean of 100 steps) of each phase."""
    log = [json.loads(line) for line in read_text(run / "log.jsonl").splitlines()]
    last: dict[str, PhaseFacts] = {
        row["phase"]: {"step": row["step"], "minutes": row["minutes"], "loss": row["loss"]} for row in log
    }
    return {
        "seed": log[-1]["seed"],
        "compiled": log[-1]["compiled"],
        "images_per_step": IMAGES,
        "phases": last,
        "note": note and f"\n{note}",
        "torch": torch.__version__.partition("+")[0],
        "machine": f"{platform.machine()}, one core",
    }


def install(run: Path) -> None:
    """Store the averaged weights of a finished run in the package, as float16."""
    for phase, path in WEIGHTS.items():
        weights = load_file(run / f"{phase}.safetensors")
        save_file({name: tensor.to(torch.float16).contiguous() for name, tensor in weights.items()}, path)
        path.chmod(0o644)


def describe(task: RestoreTask) -> NetworkFacts:
    """Size and shape of the network."""
    workload = task.workload()
    return {
        "parameters": workload.parameters,
        "layers": dict(Counter(workload.layer_kinds().values())),
        "macs_per_image": workload.macs(),
        "kappa": KAPPA,
        "temperature": TEMPERATURE,
        "hole_trust": HOLE_TRUST,
        "weights_bytes": {name: path.stat().st_size for name, path in WEIGHTS.items()},
    }


def _listed(photographs: tuple[Photograph, ...]) -> list[PhotographFacts]:
    return [{"name": p.name, "credit": p.credit, "licence": p.licence, "weight": p.weight} for p in photographs]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, help="take over the result of this training run first")
    parser.add_argument("--note", default="", help="a remark on this training, for the card")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if given.run:
        install(given.run)
        training = describe_training(given.run, given.note)
    else:
        training = json.loads(read_text(HERE / "card.json"))["training"]
    rows = measure()
    card: Card = {
        "network": describe(load()),
        "photographs": {"held_out": _listed(HELD_OUT), "training": _listed(TRAINING)},
        "training": training,
        "hole_change_left": hole_change_left(),
        "quality": {row: {name: claim(s) for name, s in metrics.items()} for row, metrics in rows.items()},
        "comparisons": {name: claim(difference(rows, *which)) for name, *which in COMPARISONS},
    }
    write_atomic(HERE / "card.json", json.dumps(card, indent=1, ensure_ascii=False) + "\n")
    write_atomic(HERE / "CARD.md", card_text.render(card))


if __name__ == "__main__":
    main()
