"""Blocks that are shorter than a format's: what they take in memory and in time, against the quantized tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from codesign.formats import Format, FormatPair, format_names, get_format
from codesign.hardware import AcceleratorGrid, AssignmentTotals, cost, cost_tables
from codesign.hardware.arithmetic.operands import Stored, operand
from codesign.hardware.rtl.verify.codes import OperandCodes
from codesign.hardware.schedule.footprint import Footprint, network_sizes
from codesign.hardware.schedule.machine import Machine
from codesign.quality.quantized import quantized_weight
from codesign.workload import Product, ProductInterceptor, trace
from codesign.workload.types import Operator, Workload
from tests.hardware.cases import FP8, INT8, chip, linear, uniform

MXFP8, NVFP4, W4 = (FormatPair(name, name) for name in ("mxfp8_e4m3", "nvfp4", "int4_g32"))
BLOCK_FORMATS = [name for name in format_names() if get_format(name).is_block]
IMAGE = torch.ones(1, 6, 5, 5)
LAYERS = {
    "convolution": (nn.Conv2d(40, 24, 3), torch.ones(1, 40, 5, 5)),
    "rgb": (nn.Conv2d(3, 8, 3), torch.ones(1, 3, 5, 5)),
    "depthwise": (nn.Conv2d(6, 12, 3, groups=6), IMAGE),
    "grouped": (nn.Conv1d(80, 20, 2, groups=2), torch.ones(1, 80, 7)),
    "transposed": (nn.ConvTranspose2d(40, 6, 3), torch.ones(1, 40, 5, 5)),
    "transposed with groups": (nn.ConvTranspose2d(6, 10, (2, 3), groups=2), IMAGE),
    "linear": (nn.Linear(64, 8), torch.ones(3, 64)),
    "ragged linear": (nn.Linear(100, 8), torch.ones(3, 100)),
}


def depthwise(channels: int = 64) -> Operator:
    layer = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
    return trace(layer, torch.ones(1, channels, 8, 8)).operators[0]


def mobile() -> Workload:
    """RGB input, a depthwise and a pointwise convolution, upsampling, and a linear layer of 100 features."""
    layers = (
        nn.Conv2d(3, 20, 3, padding=1),
        nn.Conv2d(20, 20, 3, padding=1, groups=20),
        nn.Conv2d(20, 10, 1),
        nn.ConvTranspose2d(10, 4, 2, stride=2, groups=2),
        nn.Flatten(2),
        nn.Linear(100, 7),
    )
    return trace(nn.Sequential(*layers), torch.ones(1, 3, 5, 5), name="mobile")


def weight_bits(op: Operator, name: str) -> float:
    """Stored bits per element of the weight of one operator."""
    workload = Workload("one", (op,))
    stored = sum(network_sizes(workload, [FormatPair(name, "int8")]).weight_bytes.values())
    return 8 * stored / op.weight_elements


def machine(*pairs: FormatPair) -> Machine:
    """One entry for each pair; no weight stays on chip."""
    entries = np.arange(len(pairs))
    footprint = Footprint(10**12, 0, 1, 0)
    return Machine(AcceleratorGrid.of([chip(*pairs)]), pairs, footprint, entries, np.zeros_like(entries))


@pytest.mark.parametrize(
    ("op", "name", "bits"),
    [
        (depthwise(), "nvfp4", 4 + 8),
        (depthwise(), "int4_g32", 4 + 16),
        (depthwise(), "int4_g32_zp", 4 + 16 + 4),
        (depthwise(), "mxfp4", 4 + 8),
        (depthwise(), "int8", 8),
        (trace(*LAYERS["rgb"]).operators[0], "nvfp4", 4 + 8 / 3),
        (trace(*LAYERS["rgb"]).operators[0], "int4_g32", 4 + 16 / 3),
        (trace(*LAYERS["linear"]).operators[0], "nvfp4", 4.5),
        (trace(*LAYERS["linear"]).operators[0], "mxfp4", 4.25),
        (trace(*LAYERS["ragged linear"]).operators[0], "int4_g32", 4 + 16 * 4 / 100),
        (linear("hand-made", 1, 8, 100), "mxfp8_e4m3", 8 + 8 * 4 / 100),
    ],
)
def test_each_started_block_of_a_weight_has_a_scale(op: Operator, name: str, bits: float) -> None:
    assert weight_bits(op, name) == pytest.approx(bits, rel=1e-12)


def test_full_blocks_take_the_bits_that_the_format_states() -> None:
    for name in format_names():
        assert 8 * operand(name).stored.bytes_per_element(1280) == get_format(name).bits_per_element


@dataclass
class Counted:
    """Bits of the tensors that were quantized."""

    bits: int = 0

    def add(self, form: Format, x: Tensor, axis: int | None = None, amax: object = None) -> Tensor:
        q = form.quantize(x, axis=axis)
        assert form.scaling is not None
        assert q.scales is not None
        self.bits += q.codes.numel() * form.element.bits + q.scales.numel() * form.scaling.scale.bits
        self.bits += 0 if q.zero_points is None else q.zero_points.numel() * form.element.bits
        return q.dequantize()


@contextmanager
def counting(found: Counted) -> Iterator[None]:
    with mock.patch.object(Format, "fake_quantize", lambda *args, **kwargs: found.add(*args, **kwargs)):
        yield


@pytest.mark.parametrize("layer", LAYERS)
def test_charged_bytes_are_those_of_the_quantized_tensors(layer: str) -> None:
    module, x = LAYERS[layer]
    products: list[Product] = []
    with torch.no_grad(), ProductInterceptor(module, products.append):
        output = module(x)
    op, axis = trace(module, x).operators[0], products[0].input_axis
    elements = op.weight_elements, op.input_elements, op.output_elements
    for name in BLOCK_FORMATS:
        form = get_format(name)
        stored = [Counted(), Counted(), Counted()]
        with counting(stored[0]):
            quantized_weight(products[0], form)
        with counting(stored[1]):
            form.fake_quantize(x, axis=axis)
        with counting(stored[2]):
            form.fake_quantize(output, axis=axis)
        charged = [
            8 * n * operand(name).stored.bytes_per_element(run) for n, run in zip(elements, op.runs, strict=True)
        ]
        assert charged == pytest.approx([found.bits for found in stored], rel=1e-12), name


def test_the_array_reads_each_tap_as_whole_blocks() -> None:
    """64 groups of 64 rows and one column on 8 x 8 units of 16 lanes: nine taps of 32 in mxfp8 are 18 steps for each of
    8 tiles of rows, all taps in int8 one step. The energy of MACs is that of real elements."""
    op, units = depthwise(), machine(MXFP8, INT8, FP8)
    found = units.run(op, 1)
    assert found.cycles.tolist() == [64 * 18 * 8, 64 * 8, 64 * 8]
    assert found.mac_j == pytest.approx(64 * 64 * 9 * units.mac_j)


def test_the_larger_block_of_a_pair_sets_the_time() -> None:
    """K 16: half of a block of 32, a whole one of 16; 8 x 8 rows and columns are one tile."""
    mixed = FormatPair("nvfp4", "mxfp8_e4m3")
    op = linear("x", 8, 8, 16)
    cycles = [float(machine(pair).run(op, 1).cycles[0] * machine(pair).depth[0]) for pair in (NVFP4, mixed, MXFP8)]
    assert cycles == [16, 32, 32]


@pytest.mark.parametrize("layer", ["convolution", "rgb", "depthwise", "grouped", "ragged linear"])
def test_time_is_that_of_the_codes_which_a_unit_reads(layer: str) -> None:
    module, x = LAYERS[layer]
    op = trace(module, x).operators[0]
    weight = module.weight.detach().flatten(2).movedim(1, -1) if module.weight.ndim > 2 else module.weight
    for pair in (MXFP8, NVFP4, W4, INT8):
        form = get_format(pair.weight)
        block = form.scaling.block or 0 if form.scaling else 0
        codes = OperandCodes.of(form, weight, None, True, block).codes
        assert op.taps * machine(pair).blocks.padded(op.runs[0]).tolist()[0] == codes.shape[1], pair


def test_a_short_run_moves_its_scales() -> None:
    """A weight of 64 x 9 elements from DRAM: 12 bits each in nvfp4; tensors stay on chip."""
    moved = machine(NVFP4, INT8).run(depthwise(), 1).dram_bytes
    assert moved == pytest.approx([64 * 9 * 12 / 8, 64 * 9], rel=1e-3)


def test_bitops_are_of_elements_alone() -> None:
    op = depthwise()
    assert network_sizes(Workload("one", (op,)), [NVFP4]).bitops == op.macs * 16


@pytest.mark.parametrize("pair", [MXFP8, NVFP4, W4, INT8], ids=str)
def test_three_ways_to_price_agree_on_short_runs(pair: FormatPair) -> None:
    network, accelerator = mobile(), partial(chip, pair, vector_lanes=8)
    chips = [accelerator(sram_bytes=size) for size in (4 * 1024, 256 * 1024)]
    assignment, grid = uniform(network, pair), AcceleratorGrid.of(chips)
    tables = cost_tables(network, grid, [pair], dtype=np.float64)
    of_tables = tables.evaluate(np.zeros((1, len(network.layers)), int))
    of_totals = AssignmentTotals(network, [assignment]).on(grid)
    for a, one in enumerate(chips):
        found = cost(network, one, assignment)
        for field, values in of_totals.items():
            assert values[a, 0] == pytest.approx(getattr(found, field), rel=1e-12), field
            assert of_tables[field][a, 0] == pytest.approx(getattr(found, field), rel=1e-12), field


def test_weight_bytes_of_a_network_by_hand() -> None:
    """nvfp4: (4 + 8 x scales / run) bits; runs of 3, 1, 20 (two scales), 5 and 100 (seven)."""
    network = mobile()
    sizes = network_sizes(network, [NVFP4] * len(network.operators))
    elements = [20 * 3 * 9, 20 * 9, 10 * 20, 10 * 2 * 4, 700]
    bits = [4 + 8 / 3, 12, 4 + 16 / 20, 4 + 8 / 5, 4 + 56 / 100]
    assert sum(sizes.weight_bytes.values()) == pytest.approx(
        sum(n * b for n, b in zip(elements, bits, strict=True)) / 8
    )


def test_stored_bytes_of_one_short_block() -> None:
    assert Stored(4, 8, 16).bytes_per_element(1) == 1.5
    assert Stored(4, 0, 0).bytes_per_element(1) == 0.5
