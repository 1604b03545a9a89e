"""Stable Diffusion's U-Nets by name: 1.5, its latent consistency model, inpainting, and XL."""

from __future__ import annotations

import torch

from codesign.workload.networks.registry import register
from codesign.workload.networks.unet import UNet, UNetConfig
from codesign.workload.tracing import trace
from codesign.workload.types import Workload

TEXT_TOKENS = 77  # context length of CLIP's text encoder
SD15 = UNetConfig()
SD15_INPAINT = UNetConfig(in_channels=9)  # latent, masked latent, mask
SDXL = UNetConfig(
    widths=(320, 640, 1280),
    depths=(0, 2, 10),
    heads=(5, 10, 20),
    mid_depth=10,
    text_width=2048,
    linear_projection=True,
    added_width=2816,
)


def unet_workload(name: str, config: UNetConfig, *, latent: int, steps: int, batch: int = 1) -> Workload:
    """`steps` denoising passes at `latent` x `latent`; guidance with two prompts is ``batch=2``."""
    with torch.device("meta"):
        module = UNet(config)
        inputs = {
            "latent": torch.empty(batch, config.in_channels, latent, latent),
            "timestep": torch.empty(batch),
            "text": torch.empty(batch, TEXT_TOKENS, config.text_width),
        }
        if config.added_width:
            inputs["added"] = torch.empty(batch, config.added_width)
    return trace(module, inputs, name=name, phase="denoise", repeats=steps)


@register("sd15-unet")
def sd15() -> Workload:
    """50 steps of one prompt at 512 x 512 pixels."""
    return unet_workload("sd15-unet", SD15, latent=64, steps=50)


@register("lcm-sd15")
def lcm_sd15() -> Workload:
    """The latent consistency model: the same U-Net in 4 steps (Luo et al., 2023)."""
    return unet_workload("lcm-sd15", SD15, latent=64, steps=4)


@register("sd15-inpaint-unet")
def sd15_inpaint() -> Workload:
    """Inpainting and outpainting: 9 input channels."""
    return unet_workload("sd15-inpaint-unet", SD15_INPAINT, latent=64, steps=50)


@register("sdxl-unet")
def sdxl() -> Workload:
    """50 steps of one prompt at 1024 x 1024 pixels."""
    return unet_workload("sdxl-unet", SDXL, latent=128, steps=50)


@register("lcm-sdxl")
def lcm_sdxl() -> Workload:
    """The latent consistency model of SDXL, 4 steps."""
    return unet_workload("lcm-sdxl", SDXL, latent=128, steps=4)
