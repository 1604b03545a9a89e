"""Configurations of the named networks, as written in catalogue.yaml."""

from __future__ import annotations

from typing import Literal

from codesign.yamlio import Written


class UNetConfig(Written):
    """Tuples have one entry per resolution, finest first; depth 0 means no attention at that resolution."""

    in_channels: int = 4
    out_channels: int = 4
    widths: tuple[int, ...]
    depths: tuple[int, ...]  # transformer blocks per attention
    heads: tuple[int, ...]
    mid_depth: int = 1
    layers_per_block: int = 2
    text_width: int
    linear_projection: bool = False
    added_width: int = 0  # width of the pooled text and image size that SDXL adds to the time embedding; 0: none


class AutoencoderConfig(Written):
    """Widths are finest first; the decoder has one more residual block per resolution than the encoder."""

    latent_channels: int = 4
    image_channels: int = 3
    widths: tuple[int, ...]
    layers_per_block: int = 2


class TextEncoderConfig(Written):
    hidden: int
    intermediate: int
    layers: int
    heads: int
    vocabulary: int = 49408
    positions: int = 77
    projection: int = 0  # width of the projection of the last state; 0: none


class SuperResolutionConfig(Written):
    scale: int = 4
    features: int
    blocks: int


class LanguageModelConfig(Written):
    """A decoder-only transformer with rotary position embedding, RMS norms and a gated feed-forward network."""

    hidden: int
    intermediate: int  # of one expert in a mixture of experts
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    tied: bool = False  # the output projection shares the embedding's weight
    rope_base: float = 10000.0
    qkv_bias: bool = False
    qk_norm: bool = False  # RMS norms over all heads of the queries and of the keys
    post_norms: bool = False  # further norms after attention and feed-forward
    activation: Literal["silu", "gelu"] = "silu"
    window: int = 0  # sliding attention window of every other layer, beginning with the first, in tokens; 0: none
    experts: int = 0
    experts_per_token: int = 0

    def is_local(self, layer: int) -> bool:
        """Whether the layer uses sliding-window attention."""
        return self.window > 0 and layer % 2 == 0
