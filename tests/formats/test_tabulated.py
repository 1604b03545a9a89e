"""Elements of the grammar round to their nearest value, in blocks of any size and scales of any type."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from codesign.formats import compiled, get_format
from codesign.formats.enumerated import drawn
from codesign.formats.tabulated import NF4, LogElement

NAMES = [
    *("fp5_e2m2", "fp4_e3m0", "fp4_e2m1_flush", "fp8_e4m3_finite_flush_b3", "fp6_e1m4", "fp10_e4m5"),
    *("lns6_i3f2", "lns4_i1f2", "lns8_i3f4", "nf4", "lut3_n9_n4_0_1_3_10_100"),
]
DRAWN = drawn(40, 7)


@pytest.mark.parametrize("name", NAMES)
def test_a_number_is_rounded_to_the_nearest_value_and_a_tie_to_the_even_code(name: str) -> None:
    element = get_format(name).element
    values = element.decode(element.codes()).double()
    ordered = torch.unique(values[values.isfinite()])
    middles = (ordered[1:] + ordered[:-1]) / 2
    points = torch.cat([ordered, middles, middles.nextafter(ordered[1:]), torch.linspace(-1, 1, 999).double()])
    x = (points[points.abs() <= element.max_value]).float()
    found = get_format(name).fake_quantize(x, amax=element.max_value).double()
    distance = (x.double()[:, None] - ordered).abs()
    assert torch.equal((x.double() - found).abs(), distance.amin(1))
    tied = (distance == distance.amin(1, keepdim=True)).sum(1) > 1
    even = element.encode(found[tied].float()) % 2 == 0
    assert bool(even.all()) or getattr(element, "mantissa_bits", 1) == 0


def test_a_tie_of_two_powers_of_two_goes_to_the_larger() -> None:
    found = get_format("fp4_e3m0").fake_quantize(torch.tensor([3.0, -6.0, 0.125, 0.13]), amax=16.0)
    assert found.tolist() == [4.0, -8.0, 0.0, 0.25]


def test_a_logarithm_has_as_many_values_an_octave_as_its_fraction_has_codes() -> None:
    values = LogElement(3, 2).values().numpy()
    octave = values[(values >= 1) & (values < 2)]
    assert np.allclose(octave, 2 ** (np.arange(4) / 4), rtol=2**-7)


def test_normal_float_is_the_published_table_in_steps_of_a_127th() -> None:
    published = [-1.0, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0.0]
    published += [0.0796, 0.1609, 0.2461, 0.3379, 0.4407, 0.5626, 0.7230, 1.0]
    assert np.allclose(np.array(NF4.numbers) / 127, published, atol=0.5 / 127)


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWN)
def test_a_drawn_format_is_quantized_stored_and_read_alike(name: str, kernels: str) -> None:
    fmt = get_format(name)
    x = torch.randn(6, 150, generator=torch.Generator().manual_seed(1)) * torch.logspace(-3, 3, 6)[:, None]
    x[2] = 0
    found = fmt.fake_quantize(x, -1)
    q = fmt.quantize(x, -1)
    assert torch.equal(found, q.dequantize())
    assert torch.equal(fmt.unpack(fmt.pack(q.codes), tuple(q.codes.shape)), q.codes)
    assert fmt.pack(q.codes).numel() == -(-x.numel() * fmt.element_bits // 8)
    assert q.scales is not None
    assert torch.equal(fmt.scaling.scale.decode(q.scale_codes()), q.scales)  # type: ignore[union-attr]  # it has scales
    with compiled.switched_off():
        assert torch.equal(fmt.fake_quantize(x, -1), found)


@pytest.mark.parametrize("name", ["lns6_i3f2", "nf4", "nf4_g16_s2u4", "fp4_e2m1_flush"])
def test_nan_stays_nan_and_infinity_saturates(name: str) -> None:
    fmt = get_format(name)
    found = fmt.fake_quantize(torch.tensor([1.0, float("nan"), float("inf"), -2.0]), 0)
    assert found.isnan().tolist() == [False, True, False, False]
    assert bool(found[[0, 2, 3]].isfinite().all())
