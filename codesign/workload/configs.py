"""What makes one named network differ from another of its kind: the entries of catalogue.yaml."""

from __future__ import annotations

from typing import Literal

from codesign.yamlio import Written


class UNetConfig(Written):
    """One entry of each tuple per resolution, finest first; depth 0 means no attention there."""

    in_channels: int = 4
    out_channels: int = 4
    widths: tuple[int, ...]
    depths: tuple[int, ...]  # transformer blocks in each attention
    heads: tuple[int, ...]
    mid_depth: int = 1
    layers_per_block: int = 2
    text_width: int
    linear_projection: bool = False
    added_width: int = 0  # pooled text and image size, as SDXL adds them to the time embedding


class AutoencoderConfig(Written):
    """Widths finest first; the decoder has one more residual block a resolution than the encoder."""

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
    projection: int = 0  # width of the projected last state; 0: there is none


class SuperResolutionConfig(Written):
    scale: int = 4
    features: int
    blocks: int


class LanguageModelConfig(Written):
    """A decoder-only transformer with rotary positions, RMS norms and a gated feed-forward."""

    hidden: int
    intermediate: int  # of one expert, where there are experts
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    tied: bool = False  # the output projection is the embedding
    rope_base: float = 10000.0
    qkv_bias: bool = False
    qk_norm: bool = False  # RMS norms over all heads of the queries and of the keys
    post_norms: bool = False  # norms also behind attention and feed-forward
    activation: Literal["silu", "gelu"] = "silu"
    window: int = 0  # tokens that every other layer sees, the first one included; 0: all see all
    experts: int = 0
    experts_per_token: int = 0

    def is_local(self, layer: int) -> bool:
        """Whether the layer sees its window only."""
        return self.window > 0 and layer % 2 == 0
