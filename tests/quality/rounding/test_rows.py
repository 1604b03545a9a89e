"""Weights and inputs as rows: their products are the layer's outputs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from codesign.quality.rounding.moments import inputs_of
from codesign.quality.rounding.rows import is_transposed, rows_of, weight_of
from codesign.workload import Product, ProductInterceptor

LAYERS: dict[str, Callable[[], tuple[nn.Module, tuple[int, ...]]]] = {
    "linear": lambda: (nn.Linear(6, 4, bias=False), (2, 3, 6)),
    "conv1d": lambda: (nn.Conv1d(4, 6, 3, stride=2, padding=1, bias=False), (2, 4, 9)),
    "conv2d": lambda: (nn.Conv2d(4, 6, 3, padding=1, bias=False), (2, 4, 5, 7)),
    "stride and dilation": lambda: (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), dilation=2, bias=False), (2, 4, 9, 8)),
    "groups": lambda: (nn.Conv2d(4, 6, 3, groups=2, padding=1, bias=False), (2, 4, 5, 5)),
    "depthwise": lambda: (nn.Conv2d(4, 4, 3, groups=4, padding="same", bias=False), (2, 4, 5, 5)),
    "conv3d": lambda: (nn.Conv3d(2, 3, 2, bias=False), (1, 2, 3, 4, 3)),
}
TRANSPOSED: dict[str, Callable[[], tuple[nn.Module, tuple[int, ...]]]] = {
    "transposed": lambda: (nn.ConvTranspose2d(4, 6, 3, bias=False), (1, 4, 3, 3)),
    "transposed groups": lambda: (nn.ConvTranspose1d(4, 6, 2, groups=2, bias=False), (1, 4, 5)),
}


class Right(nn.Module):
    """x @ W, the weight [in, out]."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 4))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


LAYERS["matmul"] = lambda: (Right(), (2, 3, 6))


def seen(module: nn.Module, x: Tensor) -> tuple[Product, Tensor]:
    """The product of a module of one layer, and its output."""
    products: list[Product] = []
    with torch.no_grad(), ProductInterceptor(module, products.append):
        output = module(x)
    return products[0], output


@pytest.mark.parametrize("name", LAYERS)
def test_rows_of_inputs_times_rows_of_the_weight_are_the_output(name: str) -> None:
    torch.manual_seed(0)
    module, shape = LAYERS[name]()
    product, output = seen(module, torch.randn(shape))
    rows = inputs_of(product)
    products = rows @ rows_of(product).flatten(2).transpose(1, 2)  # [G, rows, N]
    last = output.movedim(1, -1) if product.kind == "conv" else output
    expected = last.reshape(-1, last.shape[-1])
    torch.testing.assert_close(products.transpose(0, 1).reshape(expected.shape), expected)


@pytest.mark.parametrize("name", [*LAYERS, *TRANSPOSED])
def test_a_weight_comes_back_from_its_rows(name: str) -> None:
    module, shape = (LAYERS | TRANSPOSED)[name]()
    product, _ = seen(module, torch.randn(shape))
    weight = product.stationary
    back = weight_of(product, rows_of(product))
    assert torch.equal(back, weight)
    assert back.stride() == weight.stride()


@pytest.mark.parametrize("name", TRANSPOSED)
def test_each_tap_of_a_transposed_convolution_reads_the_pixel_alone(name: str) -> None:
    torch.manual_seed(0)
    module, shape = TRANSPOSED[name]()
    product, _ = seen(module, torch.randn(shape))
    assert is_transposed(product)
    x, rows = product.input, inputs_of(product)
    groups, _, taps, channels = rows_of(product).shape
    pixels = x.flatten(2)[0].T.reshape(-1, groups, channels).transpose(0, 1)  # [G, pixels, C]
    gram = (rows.transpose(1, 2) @ rows).reshape(groups, taps, channels, taps, channels)
    for a in range(taps):
        for b in range(taps):
            expected = pixels.transpose(1, 2) @ pixels if a == b else torch.zeros(groups, channels, channels)
            torch.testing.assert_close(gram[:, a, :, b], expected)
