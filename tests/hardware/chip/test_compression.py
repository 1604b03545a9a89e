"""The ratios of lossless compression are of weights as networks store them."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

import codesign
from codesign.formats import get_format
from codesign.quality.quantized import quantize_weight

SCRIPT = Path(codesign.__file__).parent.parent / "reports" / "validation" / "compression.py"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


@pytest.mark.parametrize("name", ["int8", "int4_g32", "int4_g32_zp", "mxfp4", "nvfp4"])
@pytest.mark.parametrize("shape", [(8, 40, 3, 3), (8, 64)])
def test_what_is_compressed_is_what_the_network_runs(script: dict[str, Any], name: str, shape: tuple[int, ...]) -> None:
    weight, form = torch.randn(shape, generator=torch.Generator().manual_seed(0)), get_format(name)
    q, _ = script["stored"](form, weight)
    kind = "conv" if len(shape) == 4 else "linear"
    assert torch.equal(q.dequantize().reshape(shape), quantize_weight(weight, form, 1, kind=kind))


def test_every_block_that_a_tap_starts_has_a_scale(script: dict[str, Any]) -> None:
    _, bits = script["stored"](get_format("mxfp4"), torch.randn(8, 40, 3, 3))
    assert bits == 8 * (8 * 9 * 2)  # 40 channels are two blocks of 32
