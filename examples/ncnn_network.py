"""A network in ncnn's format as a torch module: its .param says the layers, its .bin holds their weights.

    module = read_ncnn("spanx4_ch48.param", "spanx4_ch48.bin")
    output = module(image)  # [n, 3, H, W] -> [n, 3, 4 H, 4 W]

The layers that convolutional super-resolution networks have are known; another one is refused by its name. The .param
begins with a magic number and the numbers of layers and tensors; then a line a layer: kind, name, how many tensors it
takes and gives, their names, and its parameters as number=value. The .bin holds the weights in that order; a
convolution's begin with four bytes that say their type (0x01306B47: float16, 0: float32), its bias is float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAGIC, HALF = "7767517", 0x01306B47
BINARY: dict[int, Callable[[Tensor, Tensor], Tensor]] = {0: torch.add, 1: torch.sub, 2: torch.mul, 3: torch.div}


@dataclass(frozen=True)
class Layer:
    """One line of the .param."""

    kind: str
    name: str
    takes: list[str]
    gives: list[str]
    options: dict[int, str]

    def number(self, key: int, default: int = 0) -> int:
        return int(float(self.options.get(key, default)))


class NcnnNetwork(nn.Module):
    """Runs the layers one after another; a convolution is a `Conv2d` called like the layer."""

    def __init__(self, layers: list[Layer], weights: Path) -> None:
        super().__init__()
        self._layers = layers
        data, self._places = _Bytes(weights.read_bytes()), dict[str, str]()
        for layer in layers:
            made = _weighted(layer, data)
            if made is not None:
                self._places[layer.name] = layer.name.strip("/").replace("/", "_").replace(".", "_")
                self.add_module(self._places[layer.name], made)
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
            case "Convolution" | "PReLU" | "MemoryData":
                return self.get_submodule(self._places[layer.name])(x)
            case "Split":
                return x
            case "Swish":
                return F.silu(x)
            case "Sigmoid":
                return x.sigmoid()
            case "Concat":
                return torch.cat(inputs, dim=1)
            case "PixelShuffle":
                return F.pixel_shuffle(x, layer.number(0))
            case "Interp":
                return F.interpolate(x, scale_factor=float(layer.options[1]), mode="nearest")
            case _:  # BinaryOp
                other = torch.tensor(float(layer.options[2])) if layer.number(1) else inputs[1]
                return BINARY[layer.number(0)](x, other)


def read_ncnn(param: Path | str, weights: Path | str) -> NcnnNetwork:
    """The network in eval mode; raises ValueError on a layer that is not known here, or a file of another format."""
    lines = Path(param).read_text().split("\n")
    if lines[0].strip() != MAGIC:
        raise ValueError(f"{param}: not a .param of ncnn: it begins with '{lines[0][:20]}'")
    layers = [_layer(param, number, line) for number, line in enumerate(lines[2:], 3) if line.strip()]
    return NcnnNetwork(layers, Path(weights)).eval()


_KNOWN = (
    *("Input", "MemoryData", "Convolution", "PReLU", "Split", "Swish", "Sigmoid", "Concat", "PixelShuffle", "Interp"),
    "BinaryOp",
)


def _layer(param: Path | str, number: int, line: str) -> Layer:
    kind, name, takes, gives, *rest = line.split()
    if kind not in _KNOWN:
        raise ValueError(f"{param}:{number}: layer '{name}' is a {kind}; known are {', '.join(_KNOWN)}")
    names, options = rest[: int(takes) + int(gives)], rest[int(takes) + int(gives) :]
    pairs = (option.partition("=") for option in options)
    return Layer(kind, name, names[: int(takes)], names[int(takes) :], {int(k): v for k, _, v in pairs})


class _Bytes:
    """The .bin, read from its beginning on."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    @property
    def left(self) -> int:
        return len(self._data)

    def take(self, count: int, kind: str) -> Tensor:
        """So many numbers of a kind; what is stored is filled up to four bytes."""
        size = count * np.dtype(kind).itemsize
        values = np.frombuffer(self._data[:size], kind).astype(np.float32)
        self._data = self._data[-(-size // 4) * 4 :]
        return torch.from_numpy(values)

    def tagged(self, count: int) -> Tensor:
        """Numbers behind the four bytes that say their type."""
        tag = int(np.frombuffer(self._data[:4], "<u4")[0])
        self._data = self._data[4:]
        if tag not in (0, HALF):
            raise ValueError(f"weights of type 0x{tag:08X} are not known here: float32 and float16 are")
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
        return _Constant(data.take(int(np.prod(shape)), "<f4").reshape(1, *shape))
    if layer.kind == "PReLU":
        prelu = nn.PReLU(layer.number(0))
        prelu.weight.data = data.take(layer.number(0), "<f4")
        return prelu
    if layer.kind != "Convolution":
        return None
    outputs, kernel, count = layer.number(0), layer.number(1), layer.number(6)
    inputs = count // (outputs * kernel**2)
    bias = bool(layer.number(5))
    conv = nn.Conv2d(inputs, outputs, kernel, layer.number(3, 1), layer.number(4), layer.number(2, 1), bias=bias)
    conv.weight.data = data.tagged(count).reshape(conv.weight.shape)
    if conv.bias is not None:
        conv.bias.data = data.take(outputs, "<f4")
    return conv
