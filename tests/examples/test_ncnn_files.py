"""Networks in ncnn's format become torch modules."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import codesign
from examples.public.ncnn_files import HALF, read_ncnn

PARAM = """7767517
9 10
Input        input  0 1 data
MemoryData   mean   0 1 mean 0=1 1=1 2=3
BinaryOp     sub    2 1 data mean centred 0=1
BinaryOp     scale  1 1 centred scaled 0=2 1=1 2=2.550000e+02
Convolution  conv/1 1 1 scaled a 0=12 1=3 4=1 5=1 6=324
Split        split  1 2 a b c
Swish        act    1 1 b d
BinaryOp     add    2 1 c d e 0=0
PReLU        slope  1 1 e f 0=12
PixelShuffle up     1 1 f output 0=2
"""


def written(folder: Path, rng: np.random.Generator, kind: str) -> tuple[Path, Path, dict[str, Tensor]]:
    weight, bias = rng.normal(size=(12, 3, 3, 3)).astype("<f2"), rng.normal(size=12).astype("<f4")
    mean, slope = rng.random(3).astype("<f4"), rng.random(12).astype("<f4")
    stored = weight if kind == "half" else weight.astype("<f4")
    tag = struct.pack("<I", HALF if kind == "half" else 0)
    (folder / "net.param").write_text(PARAM)
    (folder / "net.bin").write_bytes(mean.tobytes() + tag + stored.tobytes() + bias.tobytes() + slope.tobytes())
    arrays = {"weight": weight.astype(np.float32), "bias": bias, "mean": mean, "slope": slope}
    return folder / "net.param", folder / "net.bin", {name: torch.from_numpy(a.copy()) for name, a in arrays.items()}


def computed(w: dict[str, Tensor], image: Tensor, activations: torch.dtype = torch.float32) -> Tensor:
    """What the layers of PARAM say, with the convolution's input rounded."""
    scaled = ((image - w["mean"].view(1, 3, 1, 1)) * 255).to(activations).float()
    a = F.conv2d(scaled, w["weight"], w["bias"], padding=1)
    return F.pixel_shuffle(F.prelu(a + F.silu(a), w["slope"]), 2)


@pytest.mark.parametrize("kind", ["half", "single"])
def test_a_network_computes_what_its_layers_say(kind: str, tmp_path: Path) -> None:
    param, weights, w = written(tmp_path, np.random.default_rng(0), kind)
    image = torch.rand(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(read_ncnn(param, weights)(image), computed(w, image), atol=1e-4)


def test_a_network_can_be_traced_and_quantized(tmp_path: Path) -> None:
    param, weights, w = written(tmp_path, np.random.default_rng(0), "half")
    network, image = read_ncnn(param, weights), torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    workload = codesign.trace(network, image)
    assert workload.layers == ("conv_1",)
    quantized = codesign.quantize(network, codesign.Assignment.uniform(workload, "int4:fp16"), image)
    int4 = codesign.get_format("int4").fake_quantize(w["weight"].flatten(1), axis=1).view(12, 3, 3, 3)
    with torch.no_grad():
        assert torch.allclose(quantized(image), computed(w | {"weight": int4}, image, torch.float16), atol=1e-4)
        assert not torch.allclose(quantized(image), network(image), atol=1)


def test_an_unknown_layer_is_refused_by_its_name(tmp_path: Path) -> None:
    param, weights, _ = written(tmp_path, np.random.default_rng(0), "half")
    param.write_text(PARAM.replace("Swish        act", "GELU         act"))
    with pytest.raises(ValueError, match=r"net.param:9: layer 'act' is a GELU; known are"):
        read_ncnn(param, weights)


@pytest.mark.parametrize(
    ("line", "changed", "message"),
    [
        ("4=1 5=1 6=324", "4=1 5=1 6=324 9=1", "layer 'conv/1': option 9=1 of a Convolution is not known here"),
        ("4=1 5=1 6=324", "4=1 5=1 6=324 15=2", "layer 'conv/1': padding that differs from side to side"),
        ("0=2 1=1 2=2.55", "0=9 1=1 2=2.55", "net.param:6: layer 'scale': a BinaryOp of type 9 is not known here"),
        ("1 1 b d", "1 1 z d", "layer 'act' takes 'z', which no layer before it gives"),
        ("7767517", "7767518", "net.param: not a .param of ncnn: it begins with '7767518'"),
    ],
)
def test_what_is_not_understood_is_refused_by_its_place(line: str, changed: str, message: str, tmp_path: Path) -> None:
    param, weights, _ = written(tmp_path, np.random.default_rng(0), "half")
    param.write_text(PARAM.replace(line, changed))
    with pytest.raises(ValueError, match=message):
        read_ncnn(param, weights)


def test_kernels_strides_and_groups_are_those_of_the_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(4, 1, 3, 5)).astype("<f2")  # 60 numbers of two bytes
    (tmp_path / "net.param").write_text(
        "7767517\n2 2\nInput data 0 1 data\n"
        "ConvolutionDepthWise conv 1 1 data out 0=4 1=5 11=3 3=2 13=1 4=2 14=1 5=0 6=60 7=4\n"
    )
    (tmp_path / "net.bin").write_bytes(struct.pack("<I", HALF) + weight.tobytes())
    image = torch.rand(1, 4, 7, 9)
    with torch.no_grad():
        found = read_ncnn(tmp_path / "net.param", tmp_path / "net.bin")(image)
    filters = torch.from_numpy(weight.astype(np.float32))
    assert torch.allclose(found, F.conv2d(image, filters, None, (1, 2), (1, 2), groups=4), atol=1e-5)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    param, weights, _ = written(tmp_path, np.random.default_rng(0), "half")
    weights.write_bytes(weights.read_bytes() + bytes(4))
    with pytest.raises(ValueError, match="4 bytes belong to no layer"):
        read_ncnn(param, weights)
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(ValueError, match="ends too early: 48 bytes are wanted where 44 are left"):
        read_ncnn(param, weights)


def test_weights_of_an_unknown_type_are_refused(tmp_path: Path) -> None:
    param, weights, _ = written(tmp_path, np.random.default_rng(0), "half")
    weights.write_bytes(weights.read_bytes().replace(struct.pack("<I", HALF), struct.pack("<I", 0x000D4B38)))
    with pytest.raises(ValueError, match="weights of type 0x000D4B38 are not known here"):
        read_ncnn(param, weights)
