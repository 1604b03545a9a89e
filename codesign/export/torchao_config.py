"""The configuration of torchao for each module (`FqnToConfig`) that a network's formats are."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch

from codesign.export.scored import ScoredLayer, ScoredNetwork
from codesign.export.torchao_tensors import PER_TOKEN, float8_type, mx_type, quantized_layers


def config_of(network: ScoredNetwork) -> Any:
    """A `FqnToConfig` with the configuration of every quantized module by its name.

    It says what kind of numbers a module has. The numbers are not in it: ``quantize_`` with it rounds to the nearest
    and takes the scales that torchao chooses.
    """
    from torchao.quantization import FqnToConfig

    return FqnToConfig(OrderedDict((layer.name, _of_layer(layer)) for layer in quantized_layers(network)))


def _of_layer(layer: ScoredLayer) -> Any:
    from torchao.prototype.mx_formats import MXDynamicActivationMXWeightConfig, NVFP4WeightOnlyConfig
    from torchao.prototype.mx_formats.config import ScaleCalculationMode
    from torchao.quantization import (
        Float8DynamicActivationFloat8WeightConfig,
        Float8WeightOnlyConfig,
        Int8StaticActivationInt8WeightConfig,
        PerRow,
        PerTensor,
    )
    from torchao.quantization.quantize_.common import KernelPreference

    fmt, operand = layer.weight_format, layer.operands["input"]
    if fmt.name.startswith("fp8"):
        if operand.format.is_cast:
            return Float8WeightOnlyConfig(float8_type(fmt), set_inductor_config=False)
        return Float8DynamicActivationFloat8WeightConfig(granularity=PerRow(), set_inductor_config=False)
    if fmt.name.startswith("nvfp4"):
        return NVFP4WeightOnlyConfig()
    if fmt.name.startswith("mx"):
        kind, mode = mx_type(fmt), ScaleCalculationMode.FLOOR
        return MXDynamicActivationMXWeightConfig(32, kind, kind, KernelPreference.EMULATED, mode)
    if operand.range is not None:
        mapping = _mapping(operand.format.has_zero_point)
        return Int8StaticActivationInt8WeightConfig(
            granularity=[PerTensor(), PerRow()], act_mapping_type=mapping, set_inductor_config=False
        )
    return _integers(layer)


def _integers(layer: ScoredLayer) -> Any:
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig, IntxWeightOnlyConfig
    from torchao.quantization.granularity import PerAxis, PerGroup

    fmt = layer.weight_format
    kind, mapping = getattr(torch, f"int{fmt.element.bits}"), _mapping(fmt.has_zero_point)
    block = fmt.scaling.block if fmt.scaling is not None else None
    granularity = PerAxis(0) if block is None else PerGroup(block)
    if layer.operands["input"].format.name in PER_TOKEN:
        return Int8DynamicActivationIntxWeightConfig(kind, granularity, mapping)
    return IntxWeightOnlyConfig(kind, granularity, mapping)


def _mapping(asymmetric: bool) -> Any:
    from torchao.quantization import MappingType

    return MappingType.ASYMMETRIC if asymmetric else MappingType.SYMMETRIC
