"""What compressed-tensors, as transformers runs it, computes otherwise than was scored, in words."""

from __future__ import annotations

from collections.abc import Mapping

from codesign.export.compressed_schemes import NVFP4, Scheme
from codesign.export.networks import deviations as approximations
from codesign.export.scored import ScoredLayer, ScoredNetwork
from codesign.formats.elements import IntElement
from codesign.targets import get_target

TARGET = "vllm"


_SUMS_DB = 90.0  # least SQNR of a layer on the input that was scored, where the library rounds as was scored
_BF16_DB = 45.0  # where its weights are rounded to bfloat16 besides
_ROUNDED_DB = 12.0  # where its inputs are rounded otherwise


def deviations_of(network: ScoredNetwork, schemes: Mapping[str, Scheme]) -> tuple[str, ...]:
    """What the library computes otherwise, one sentence for each kind."""
    names = list(network.layers)
    cast = [name for name in names if _cast(network.layers[name])]
    tokens = [name for name in names if name in schemes and _wide_tokens(network.layers[name])]
    flat = [name for name in names if name in schemes and _flat_tokens(network.layers[name])]
    clipped = [name for name in names if name in schemes and _clipped(network.layers[name])]
    reciprocal = [name for name, scheme in schemes.items() if scheme.format == NVFP4]
    sentences = (
        (tokens, "transformers takes the scales of tokens from amax / 127.5, scored from amax / 127 as in vLLM"),
        (flat, "transformers takes one scale for an input that has other than 3 dimensions, scored one per token"),
        (clipped, "inputs below the calibrated range are clipped at the code -128, scored at -127"),
        (cast, "operands scored in bf16 or fp16 stay in the dtype of the network"),
        (reciprocal, "outer scales of nvfp4 are held as reciprocals, and transformers rounds its weights to bfloat16"),
    )
    more = (f"{said}: {len(layers)} layer{'s' * (len(layers) != 1)}" for layers, said in sentences if layers)
    return (*approximations(get_target(TARGET), network), *more)


def least_db(network: ScoredNetwork, name: str, scheme: Scheme) -> float:
    """The least SQNR of a layer of the library on the input that was scored."""
    layer = network.layers[name]
    approximated = get_target(TARGET).instead(layer.rules, layer.pair) is not None
    if approximated or _wide_tokens(layer) or _flat_tokens(layer) or _clipped(layer) or _cast(layer):
        return _ROUNDED_DB
    return _BF16_DB if scheme.format == NVFP4 else _SUMS_DB


def _cast(layer: ScoredLayer) -> bool:
    """Whether an operand was scored in bf16 or fp16, and is not rounded."""
    formats = (operand.format for operand in layer.operands.values())
    return any(fmt.is_cast and fmt.element_bits < 32 for fmt in formats)


def _wide_tokens(layer: ScoredLayer) -> bool:
    fmt = layer.operands["input"].format
    return fmt.per_token and isinstance(fmt.element, IntElement)


def _flat_tokens(layer: ScoredLayer) -> bool:
    return layer.operands["input"].format.per_token and layer.operands["input"].dims != 3


def _clipped(layer: ScoredLayer) -> bool:
    operand = layer.operands["input"]
    return isinstance(operand.format.element, IntElement) and operand.scale is not None and operand.zero_point is None
