"""Measure the float network and write its model card: ``python -m codesign.models.restore.card [--run DIR]``.

``--run DIR`` first installs the weights and reads the log of a training run; without it, the facts about the training
in `card.json` are kept. Needs scikit-image for the biharmonic fill and Debian's wallpapers for the second comparison.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from codesign.errors import EnvironmentProblem
from codesign.files import read_text, write_atomic
from codesign.models.card import claim
from codesign.models.restore import card_text, photographs
from codesign.models.restore.card_text import Card, NetworkFacts, PhotographFacts, TrainingFacts
from codesign.models.restore.dataset import DATA, Batch, load_samples, samples_of
from codesign.models.restore.diffusion import KAPPA, MANY_STEPS, STEPS
from codesign.models.restore.network import TASKS, RestoreUNet
from codesign.models.restore.photographs import Photograph
from codesign.models.restore.task import RestoreTask, chain_noise, load, load_network, restore, to_unit, truth_metrics
from codesign.models.restore.train import IMAGES
from codesign.models.task import Samples

HERE = Path(__file__).parent
WEIGHTS = DATA / "restore.safetensors"
SEED = 0  # of the noise, and of the crops of wallpapers
WALLPAPER_CROPS = 16  # of each held-out wallpaper
# Comparisons: (claim, row, baseline row, metric, least value that was aimed at)
COMPARISONS = (
    ("super-resolution against bicubic", "steps_4", "input", "psnr_super_resolution", 1.0),
    ("deblurring against the blurred image", "steps_4", "input", "psnr_deblur", 1.5),
    ("inpainting against biharmonic, hole only", "steps_4", "biharmonic", "psnr_inpaint_hole", 0.5),
    ("inpainting against its own prefill, hole only", "steps_4", "input", "psnr_inpaint_hole", 0.5),
    ("outpainting against biharmonic, hole only", "steps_4", "biharmonic", "psnr_outpaint_hole", None),
    ("outpainting against its own prefill, hole only", "steps_4", "input", "psnr_outpaint_hole", None),
)
STEP_COMPARISONS = tuple((f"4 steps against 50: {task}", "steps_4", "steps_50", f"psnr_{task}", -0.3) for task in TASKS)
Rows = dict[str, dict[str, Samples]]


def held_out() -> Batch:
    return Batch.of(load_samples()["held_out"])


def held_out_wallpapers() -> Batch:
    """Crops of the held-out wallpapers, at random sizes as in training."""
    from codesign.models.restore.pool import crops_of  # needs the packages of codesign[train]

    rng = np.random.default_rng(SEED)
    crops = [c for p in photographs.HELD_OUT_WALLPAPERS for c in crops_of(p, WALLPAPER_CROPS, rng)]
    return Batch.of(samples_of(crops, SEED))


@torch.inference_mode()
def restored(network: RestoreUNet, steps: int, batch: Batch) -> Tensor:
    """Images [n,3,H,W] in 0..1 after `steps` steps."""
    return restore(network, batch, chain_noise(len(batch), steps, SEED)).clamp(0, 1)


def biharmonic(batch: Batch) -> Tensor:
    """Images [n,3,H,W] in 0..1 with holes filled from the known pixels by scikit-image; others unchanged."""
    try:
        from skimage.restoration import inpaint_biharmonic
    except ImportError as error:
        hint = "the biharmonic fill needs scikit-image: pip install 'codesign[train]'"
        raise EnvironmentProblem(f"{hint} ({error})") from None
    images = to_unit(batch.degraded)
    for image, mask in zip(images, batch.mask, strict=True):
        if bool(mask.any()):
            filled = inpaint_biharmonic(image.permute(1, 2, 0).numpy(), mask[0].numpy() > 0, channel_axis=-1)
            image.copy_(torch.from_numpy(filled).permute(2, 0, 1).clamp(0, 1))
    return images


def measure_row(images: Tensor, batch: Batch) -> dict[str, Samples]:
    return {s.name: s for s in truth_metrics(images, batch)}


def measure(batch: Batch, steps: tuple[int, ...]) -> Rows:
    """PSNR and SSIM of each restoration method on `batch`, the network's with each number of `steps`."""
    network = load_network(WEIGHTS)
    images = {"input": to_unit(batch.degraded), "biharmonic": biharmonic(batch)}
    images |= {f"steps_{n}": restored(network, n, batch) for n in steps}
    return {name: measure_row(x, batch) for name, x in images.items()}


def difference(rows: Rows, ours: str, other: str, metric: str) -> Samples:
    """Gain of `ours` over `other`, per crop."""
    a, b = rows[ours][metric], rows[other][metric]
    return Samples(metric, a.unit, a.direction, a.values - b.values, a.reduce)


def describe_training(run: Path, note: str) -> TrainingFacts:
    """Facts about a training run from the end of its log."""
    last = json.loads(read_text(run / "log.jsonl").splitlines()[-1])
    return {
        "seed": last["seed"],
        "images_per_step": IMAGES,
        "steps": last["step"],
        "minutes": last["minutes"],
        "cpu_minutes": last["cpu_minutes"],
        "note": note,
        "torch": torch.__version__.partition("+")[0],
        "machine": platform.machine(),
    }


def install(run: Path) -> None:
    """Store the averaged weights of a finished run in the package, as float16."""
    weights = load_file(run / "restore.safetensors")
    save_file({name: tensor.to(torch.float16).contiguous() for name, tensor in weights.items()}, WEIGHTS)
    WEIGHTS.chmod(0o644)


def describe(task: RestoreTask) -> NetworkFacts:
    """Size and shape of the network."""
    workload = task.workload()
    return {
        "parameters": workload.parameters,
        "layers": dict(Counter(workload.layer_kinds().values())),
        "macs_per_image": workload.macs(),
        "kappa": KAPPA,
        "weights_bytes": WEIGHTS.stat().st_size,
    }


def listed() -> dict[str, list[PhotographFacts]]:
    """All photographs by use."""
    uses = {
        "held out, crops committed": photographs.HELD_OUT,
        "held out": photographs.HELD_OUT_WALLPAPERS,
        "training": (*photographs.TRAINING, *photographs.TRAINING_WALLPAPERS),
        "first training run only": photographs.FIRST_RUN_ONLY,
    }
    return {use: [_listed(p) for p in chosen] for use, chosen in uses.items()}


def _listed(photograph: Photograph) -> PhotographFacts:
    return {"name": photograph.name, "credit": photograph.credit, "licence": photograph.licence}


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
    rows, wallpapers = measure(held_out(), (1, STEPS, MANY_STEPS)), measure(held_out_wallpapers(), (STEPS,))
    goals = (*COMPARISONS, *STEP_COMPARISONS)
    card: Card = {
        "network": describe(load()),
        "photographs": listed(),
        "training": training,
        "quality": {row: {name: claim(s) for name, s in metrics.items()} for row, metrics in rows.items()},
        "comparisons": {name: claim(difference(rows, *which)) for name, *which, _ in goals},
        "wallpapers": {name: claim(difference(wallpapers, *which)) for name, *which, _ in COMPARISONS},
        "goals": {name: goal for name, *_, goal in goals if goal is not None},
    }
    write_atomic(HERE / "card.json", json.dumps(card, indent=1, ensure_ascii=False) + "\n")
    write_atomic(HERE / "CARD.md", card_text.render(card))


if __name__ == "__main__":
    main()
