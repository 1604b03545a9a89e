"""Autoencoders of diffusion pipelines: decoder or encoder as a task, and what a sampler's task needs of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from codesign.errors import InputError, nearest
from codesign.models.custom import CustomTask
from codesign.models.directories import data as sources
from codesign.models.directories.data import Split
from codesign.models.directories.diffusers_files import Network
from codesign.models.directories.image_metrics import metrics
from codesign.models.directories.options import TaskOptions
from codesign.models.task import Example, ImageExample, Outputs

KINDS = ("AutoencoderKL", "AutoencoderTiny", "AutoencoderDC")
_OUTPUTS = ("image", "latents")
_IMAGES, _SIZE = 8, 256  # most images that are evaluated; their size where the configuration says none
_SHOWN = 4


class Decoder(nn.Module):
    """The decoder of an autoencoder, under the names that its layers have there: latents -> images [n, 3, H, W]."""

    def __init__(self, whole: nn.Module) -> None:
        super().__init__()
        _take(self, whole, ("post_quant_conv", "decoder"))

    def forward(self, latents: Tensor) -> Tensor:
        for part in self.children():  # in the order in which they run
            latents = part(latents)
        return latents


class Encoder(nn.Module):
    """The encoder of an autoencoder: images in -1..1 -> latents, the mean of their distribution."""

    def __init__(self, whole: nn.Module) -> None:
        super().__init__()
        _take(self, whole, ("encoder", "quant_conv"))
        self.distribution = type(whole).__name__ == "AutoencoderKL"

    def forward(self, image: Tensor) -> Tensor:
        for part in self.children():
            image = part(image)
        return image.chunk(2, dim=1)[0] if self.distribution else image  # the rest is the variance's logarithm


def _take(half: nn.Module, whole: nn.Module, names: Sequence[str]) -> None:
    for name in names:
        part = getattr(whole, name, None)
        if isinstance(part, nn.Module):
            half.add_module(name, part)
    files = getattr(whole, "_codesign_files", None)
    if files is not None:  # weights that are read as they are needed
        half._codesign_files = files


def load_autoencoder(network: Network, name: str, options: TaskOptions, base: Path) -> CustomTask:
    """The task of an autoencoder's decoder or, with output ``latents``, of its encoder."""
    output = options.output or "image"
    if output not in _OUTPUTS:
        raise InputError(f"output: '{output}' is none of an autoencoder's{nearest(output, _OUTPUTS)}")
    decodes = output == "image"
    metrics(options.metric, 0)  # refused before weights are read
    whole = network.weights(options.memory_gib)
    split = _split(network, whole, decodes, options, base)
    loss, more = metrics(options.metric, _side(network, split, decodes))
    return CustomTask(
        name,
        Decoder(whole) if decodes else Encoder(whole),
        split.calibration,
        split.evaluation,
        loss,
        more=more,
        show=show_images if decodes else None,
    )


def _side(network: Network, split: Split, decodes: bool) -> int:
    """The shorter side of the output, in pixels."""
    side = int(min(next(iter(split.evaluation[0].inputs.values())).shape[-2:]))
    return side * factor(network) if decodes else side // factor(network)


def _split(network: Network, whole: nn.Module, decodes: bool, options: TaskOptions, base: Path) -> Split:
    key = "latents" if decodes else "image"
    if not options.data:
        raise InputError(f"data: name a folder of images, or an .npz or .safetensors of '{key}'")
    given = base / Path(options.data).expanduser()
    calibration = base / Path(options.calibration).expanduser() if options.calibration else None
    batch = options.batch or 1
    if given.suffix in sources.ARRAYS:
        if options.size:
            raise InputError(f"size: that of the images is the one of '{given}'; leave it out")
        return sources.split_arrays(given, calibration, [key], options.shared, options.sequences, batch)
    images = [_pictures(network, given, options.size)]
    if calibration is not None:
        images.append(_pictures(network, calibration, options.size))
    count = options.sequences or _IMAGES
    first, second = (images[1], images[0]) if len(images) > 1 else (images[0][::2], images[0][1::2])

    def seen(part: Tensor) -> Tensor:
        return encoded(whole, part[:count]) if decodes else part[:count]

    return Split(*(sources.in_batches({key: seen(part)}, batch) for part in (first, second)))


def _pictures(network: Network, folder: Path, size: int | None) -> Tensor:
    written = network.get("sample_size", _SIZE)
    usual = int(min(written)) if isinstance(written, (list, tuple)) else int(written)
    side = divisible(size or usual, factor(network), "size", network)
    return sources.pictures(folder, side, side, [0.5] * 3, [0.5] * 3)


def divisible(size: int, unit: int, key: str, network: Network) -> int:
    """`size`; raises InputError with the nearest valid one unless it is a multiple of `unit`."""
    if size % unit:
        valid = max(round(size / unit), 1) * unit
        raise InputError(f"{key}: {size} is no multiple of {unit}, as '{network.folder}' needs; nearest: {valid}")
    return size


def factor(network: Network) -> int:
    """Pixels of an image for each element of its latents, along each axis."""
    widths: Sequence[int] = network.get("encoder_block_out_channels") or network.get("block_out_channels") or [0]
    return int(2 ** (len(widths) - 1))


# ---- what the sampler's tasks need -----------------------------------------------------------------


def encoded(whole: nn.Module, images: Tensor) -> Tensor:
    """The float latents of images in -1..1, unscaled, one by one."""
    module: Any = whole
    found: list[Tensor] = []
    with torch.inference_mode():
        for image in images.split(1):
            given = module.encode(image)
            kinds = [key for key in ("latent_dist", "latents", "latent") if hasattr(given, key)]
            latents = getattr(given, kinds[0])
            found.append(latents.mode() if kinds[0] == "latent_dist" else latents)
    return torch.cat(found).clone()


def scaled(network: Network, latents: Tensor) -> Tensor:
    """Latents as the denoiser sees them."""
    return (latents - float(network.get("shift_factor", 0.0))) * float(network.get("scaling_factor", 1.0))


def decoded(network: Network, whole: nn.Module, latents: Tensor) -> Tensor:
    """Images of what the denoiser has made, in -1..1."""
    module: Any = whole
    found = []
    with torch.inference_mode():
        for each in latents.split(1):
            raw = each.float() / float(network.get("scaling_factor", 1.0)) + float(network.get("shift_factor", 0.0))
            found.append(module.decode(raw, return_dict=False)[0])
    return torch.cat(found)


# ---- what is shown ---------------------------------------------------------------------------------

Show = Callable[[Outputs, bool], dict[str, list[Example]]]


def show_images(outputs: Outputs, _: bool = False) -> dict[str, list[Example]]:
    """Images in -1..1 as examples."""
    return {"output": [ImageExample(f"image {i + 1}", _as_bytes(x)) for i, x in enumerate(outputs["output"][:_SHOWN])]}


def show_decoded(network: Network, memory_gib: float | None) -> Show:
    """Samples as images, by the float decoder, which is read when it is first asked for."""
    read: list[nn.Module] = []

    def show(outputs: Outputs, reference: bool) -> dict[str, list[Example]]:
        if not read:
            read.append(network.weights(memory_gib))
        latents = outputs["output"][:_SHOWN].detach().cpu()
        return show_images({"output": decoded(network, read[0], latents)}, reference)

    return show


def _as_bytes(image: Tensor) -> Any:
    """uint8 [H, W, 3] of an image [c, H, W] in -1..1; one of a single channel is grey."""
    colours = image.detach().float().cpu().expand(3, -1, -1) if len(image) == 1 else image.detach().float().cpu()[:3]
    return ((colours / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
