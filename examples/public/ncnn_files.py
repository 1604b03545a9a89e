"""A network in ncnn's format as a torch module: its .param says the layers, its .bin holds their weights.

    module = read_ncnn("spanx4_ch48.param", "spanx4_ch48.bin")
    output = module(image)  # [n, 3, H, W] -> [n, 3, 4 H, 4 W]

The layers that convolutional super-resolution networks have are known; another one, and an option of a layer that is
not understood, is refused by its name. The .param begins with a magic number and the numbers of layers and tensors;
then a line a layer: kind, name, how many tensors it takes and gives, their names, and its options as number=value. The
.bin holds the weights in that order, float32; the weight of a convolution begins with four bytes that say its type
(0x01306B47: float16, 0: float32) and is filled up to four bytes. All weights are read as float32.
The numbers of the options: https://github.com/Tencent/ncnn/blob/master/docs/developer-guide/operators.md
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAGIC, HALF = "7767517", 0x01306B47
# Kinds of layers, with the options that are understood; another option must be 0.
OPTIONS: dict[str, set[int]] = {
    "Input": {0, 1, 2},  # width, height, channels
    "MemoryData": {0, 1, 2},  # the same
    "Convolution": {0, 1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16},  # see _convolution
    "ConvolutionDepthWise": {0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 14, 15, 16},
    "PReLU": {0},  # channels
    "ReLU": {0},  # slope of the negative side
    "Swish": set(),
    "Sigmoid": set(),
    "Split": set(),
    "Concat": {0},  # axis
    "BinaryOp": {0, 1, 2},  # operation, whether its second operand is a number, the number
    "PixelShuffle": {0},  # factor
    "Interp": {0, 1, 2},  # rule, factors of height and width
}
BINARY: dict[int, Callable[[Tensor, Tensor], Tensor]] = dict(
    enumerate((torch.add, torch.sub, torch.mul, torch.div, torch.maximum, torch.minimum, torch.pow))
)
INTERP = {1: "nearest", 2: "bilinear", 3: "bicubic"}


@dataclass(frozen=True)
class Layer:
    """One line of the .param."""

    kind: str
    name: str
    takes: list[str]
    gives: list[str]
    options: dict[int, float]

    def number(self, key: int, default: int = 0) -> int:
        return int(self.options.get(key, default))

    @property
    def attribute(self) -> str:
        """The name as one of a submodule: "/block_1/c1_r/Conv" is block_1_c1_r_Conv."""
        return self.name.strip("/").replace("/", "_").replace(".", "_")


class NcnnNetwork(nn.Module):
    """Runs the layers one after another; those with weights are submodules called like the layer."""

    def __init__(self, layers: list[Layer], weights: Path) -> None:
        super().__init__()
        self._layers = layers
        data = _Bytes(weights)
        for layer in layers:
            made = _weighted(layer, data)
            if made is not None:
                self.add_module(layer.attribute, made)
        if data.left:
            raise ValueError(f"{weights}: {data.left} bytes belong to no layer")

    def forward(self, image: Tensor) -> Tensor:
        found: dict[str, Tensor] = {}
        for layer in self._layers:
            inputs = [found[name] for name in layer.takes]
            found |= dict.fromkeys(layer.gives, image if layer.kind == "Input" else self._run(layer, inputs))
        return found[self._layers[-1].gives[0]]

    def _run(self, layer: Layer, inputs: list[Tensor]) -> Tensor:
        x = inputs[0] if inputs else torch.empty(0)
        match layer.kind:
            case "Split":
                return x
            case "Swish":
                return F.silu(x)
            case "Sigmoid":
                return x.sigmoid()
            case "ReLU":
                return F.leaky_relu(x, layer.options.get(0, 0.0))
            case "Concat":
                return torch.cat(inputs, dim=1 + layer.number(0))
            case "PixelShuffle":
                return F.pixel_shuffle(x, layer.number(0, 1))
            case "Interp":
                factors, mode = (layer.options.get(1, 1.0), layer.options.get(2, 1.0)), INTERP[layer.number(0)]
                return F.interpolate(x, scale_factor=factors, mode=mode)
            case "BinaryOp":
                other = torch.tensor(layer.options.get(2, 0.0)) if layer.number(1) else inputs[1]
                return BINARY[layer.number(0)](x, other)
            case _:
                made: Tensor = self.get_submodule(layer.attribute)(x)
                return made


def read_ncnn(param: Path | str, weights: Path | str) -> NcnnNetwork:
    """The network in eval mode.

    Raises ValueError on a layer or option that is not known here, or a file of another format or length.
    """
    lines = Path(param).read_text(encoding="utf-8", errors="replace").split("\n")
    if lines[0].strip() != MAGIC:
        raise ValueError(f"{param}: not a .param of ncnn: it begins with '{lines[0][:20]}'")
    layers, known = list[Layer](), set[str]()
    for number, line in enumerate(lines[2:], 3):
        if line.strip():
            try:
                layers.append(_layer(line, known))
            except ValueError as error:
                raise ValueError(f"{param}:{number}: {error}") from None
            known.update(layers[-1].gives)
    return NcnnNetwork(layers, Path(weights)).eval()


def _layer(line: str, known: set[str]) -> Layer:
    """The layer of a line; `known` are the tensors of the lines before."""
    kind, name, takes, gives, *rest = line.split()
    if kind not in OPTIONS:
        raise ValueError(f"layer '{name}' is a {kind}; known are {', '.join(OPTIONS)}")
    names, options = rest[: int(takes) + int(gives)], rest[int(takes) + int(gives) :]
    inputs, outputs = names[: int(takes)], names[int(takes) :]
    for tensor in inputs:
        if tensor not in known:
            raise ValueError(f"layer '{name}' takes '{tensor}', which no layer before it gives")
    found = {}
    for key, _, value in (option.partition("=") for option in options):
        if int(key) not in OPTIONS[kind] and value not in ("0", "0.000000e+00"):
            raise ValueError(f"layer '{name}': option {key}={value} of a {kind} is not known here")
        found[int(key)] = float(value)
    layer = Layer(kind, name, inputs, outputs, found)
    for wanted, table in (("BinaryOp", BINARY), ("Interp", INTERP)):
        if kind == wanted and layer.number(0) not in table:
            raise ValueError(f"layer '{name}': a {kind} of type {layer.number(0)} is not known here")
    return layer


class _Bytes:
    """The .bin, read from its beginning on."""

    def __init__(self, file: Path) -> None:
        self._file, self._data = file, memoryview(file.read_bytes())

    @property
    def left(self) -> int:
        return len(self._data)

    def take(self, count: int, kind: str) -> Tensor:
        """So many numbers of a kind; what is stored is filled up to four bytes."""
        size = count * np.dtype(kind).itemsize
        if size > self.left:
            raise ValueError(f"{self._file}: ends too early: {size} bytes are wanted where {self.left} are left")
        values = np.frombuffer(self._data[:size], kind).astype(np.float32)
        self._data = self._data[-(-size // 4) * 4 :]
        return torch.from_numpy(values)

    def tagged(self, count: int) -> Tensor:
        """Numbers behind the four bytes that say their type."""
        tag = int(self.take(4, "u1").to(torch.int64) @ torch.tensor([1, 1 << 8, 1 << 16, 1 << 24]))
        if tag not in (0, HALF):
            raise ValueError(f"{self._file}: weights of type 0x{tag:08X} are not known here: float32 and float16 are")
        return self.take(count, "<f2" if tag else "<f4")


class _Constant(nn.Module):
    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value)

    def forward(self, _: Tensor) -> Tensor:
        value: Tensor = self.value
        return value


def _weighted(layer: Layer, data: _Bytes) -> nn.Module | None:
    """The module of a layer that has weights, filled."""
    if layer.kind == "MemoryData":
        shape = [n for n in (layer.number(2), layer.number(1), layer.number(0)) if n]
        return _Constant(data.take(prod(shape), "<f4").reshape(1, *shape))
    if layer.kind == "PReLU":
        prelu = nn.PReLU(layer.number(0))
        prelu.weight.data = data.take(layer.number(0), "<f4")
        return prelu
    return _convolution(layer, data) if layer.kind.startswith("Convolution") else None


def _convolution(layer: Layer, data: _Bytes) -> nn.Conv2d:
    """Options: 0 outputs, 1 kernel, 2 dilation, 3 stride, 4 padding (of the width; + 10: of the height), 5 whether it
    has a bias, 6 the number of weights, 7 groups, 15 and 16 padding on the right and below."""
    outputs, count, groups = layer.number(0), layer.number(6), layer.number(7, 1)
    kernel, dilation, stride, padding = (
        (layer.number(10 + key, layer.number(key, default)), layer.number(key, default))
        for key, default in ((1, 0), (2, 1), (3, 1), (4, 0))
    )
    if (layer.number(16, padding[0]), layer.number(15, padding[1])) != padding or min(padding) < 0:
        raise ValueError(f"layer '{layer.name}': padding that differs from side to side is not known here")
    inputs = groups * count // (outputs * prod(kernel))
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=bool(layer.number(5)))
    conv.weight.data = data.tagged(count).reshape(conv.weight.shape)
    if conv.bias is not None:
        conv.bias.data = data.take(outputs, "<f4")
    return conv
