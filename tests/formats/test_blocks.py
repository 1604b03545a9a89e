"""Block formats agree with gfloat and with exact references, for each scale rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gfloat.block import compute_scale_amax, quantize_block

from codesign.formats import Format, IntElement, get_format, sqnr_db
from codesign.formats.elements import E8M0
from codesign.formats.scaling import Scaling, asymmetric_scale
from tests.formats import gaussian
from tests.formats.oracles import MX, blocks_of, count_mismatches, exact_scale, grid_of, mx_reference, nearest_on

RULES = ["floor", "rceil", "even"]


def wide_blocks(count: int, size: int = 32) -> torch.Tensor:
    """Gaussian blocks whose magnitudes spread over float32's exponents, some blocks of zeros among them."""
    generator = torch.Generator().manual_seed(1)
    exponents = torch.randint(-100, 100, (count, 1), generator=generator)
    x = torch.randn(count, size, generator=generator) * torch.exp2(exponents.float())
    x[::17] = 0
    return x


def threshold_blocks(name: str) -> torch.Tensor:
    """Blocks whose largest magnitude sits on, or one ulp beside, each place where a scale rule may switch."""
    grid = grid_of(name)
    top = 2.0 ** np.floor(np.log2(grid[-1]))
    carry = top * 2 - (grid[-1] - grid[-2]) / 2
    points = np.array([top, grid[-1], carry, 2 * top, 1.0, 8.0, (grid[-1] + 2 * top) / 2], dtype=np.float32)
    scales = np.float32(2.0) ** np.array([-126, -125, -60, -3, 0, 5, 60, 100, 110], dtype=np.float32)
    amax = np.outer(points, scales).ravel()
    amax = amax[amax >= 2.0**-126]
    amax = np.concatenate([amax, np.nextafter(amax, np.float32(0)), np.nextafter(amax, np.float32(np.inf))])
    rest = gaussian(len(amax), 32).clamp(-0.999, 0.999) * torch.from_numpy(amax)[:, None]
    rest[:, 7] = torch.from_numpy(amax)
    return rest


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", MX)
def test_blocks_are_those_of_gfloat(name: str, rule: str) -> None:
    x = torch.cat([wide_blocks(40), gaussian(40, 32, seed=3)])
    grid = grid_of(name)

    def scale(emax: float, block: np.ndarray) -> float:
        return compute_scale_amax(emax, block) if rule == "floor" else exact_scale(rule, grid, np.abs(block).max())

    expected = np.stack([quantize_block(MX[name], block, scale) for block in x.double().numpy()])
    ours = get_format(name).with_rule(rule).fake_quantize(x, axis=1).double().numpy()
    assert int((ours != expected).sum()) == 0


@pytest.mark.parametrize("bits_below_one", [2, 4])
def test_elements_below_one_of_the_largest_numbers_have_the_largest_scale(bits_below_one: int) -> None:
    element = IntElement(2, fraction_bits=bits_below_one)
    fmt = Format("below one", element, Scaling("block", E8M0, "floor", 2))
    x = torch.tensor([3e38, -3e38])
    assert fmt.quantize(x, axis=0).scales.tolist() == [2.0**127]
    assert fmt.fake_quantize(x, axis=0).tolist() == [element.max_value * 2.0**127, element.min_value * 2.0**127]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", MX)
def test_scales_switch_exactly_where_the_rule_says(name: str, rule: str) -> None:
    x = threshold_blocks(name)
    quantized = get_format(name).with_rule(rule).quantize(x, axis=1)
    expected = [exact_scale(rule, grid_of(name), float(a)) for a in x.abs().amax(1)]
    assert quantized.scales is not None
    assert quantized.scales[:, 0].tolist() == expected


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", MX)
def test_many_blocks_agree_with_the_exact_reference(name: str, rule: str, dtype: torch.dtype) -> None:
    x = torch.cat([wide_blocks(2000), gaussian(2000, 32), threshold_blocks(name)]).to(dtype)
    ours = get_format(name).with_rule(rule).fake_quantize(x, axis=1)
    expected = torch.from_numpy(mx_reference(name, rule, x.double().numpy())).to(dtype)
    sign_of_zero_counts = name != "mxint8"
    mismatches = count_mismatches(ours.double().numpy(), expected.double().numpy())
    assert (mismatches if sign_of_zero_counts else int((ours != expected).sum())) == 0


@pytest.mark.slow
def test_a_million_gaussians_agree_with_the_exact_reference_in_mxfp4() -> None:
    x = gaussian(31_250, 32, seed=5)
    for rule in RULES:
        ours = get_format("mxfp4").with_rule(rule).fake_quantize(x, axis=1).double().numpy()
        assert count_mismatches(ours, mx_reference("mxfp4", rule, x.double().numpy())) == 0


@pytest.mark.parametrize("name", MX)
def test_float32_subnormals_and_the_smallest_scale_are_exact(name: str) -> None:
    tiny = torch.linspace(-1, 1, 32) * 2.0 ** torch.arange(-149, -110).view(-1, 1)
    for rule in RULES:
        ours = get_format(name).with_rule(rule).fake_quantize(tiny, axis=1).double().numpy()
        expected = mx_reference(name, rule, tiny.double().numpy()).astype(np.float32)
        assert int((ours != expected).sum()) == 0


@pytest.mark.parametrize("name", [*(f"{n}{s}" for n in MX for s in ("", "_rceil", "_even")), "nvfp4", "int4_g32"])
def test_the_largest_float32_stays_finite(name: str) -> None:
    x = torch.full((1, 32), torch.finfo(torch.float32).max)
    assert bool(get_format(name).fake_quantize(x, axis=1).isfinite().all())


def test_a_block_of_zeros_has_scale_one() -> None:
    quantized = get_format("mxfp4").quantize(torch.zeros(1, 64), axis=1)
    assert quantized.scales is not None
    assert quantized.scales.tolist() == [[1.0, 1.0]]
    assert quantized.scale_codes().tolist() == [[127, 127]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["mxfp8_e4m3", "mxfp8_e5m2", "mxfp4"])
def test_blocks_are_those_of_torchao(name: str, rule: str, dtype: torch.dtype) -> None:
    mx = pytest.importorskip("torchao.prototype.mx_formats.mx_tensor", reason="torchao is in no extra of codesign")
    native = {"mxfp8_e4m3": "float8_e4m3fn", "mxfp8_e5m2": "float8_e5m2", "mxfp4": "float4_e2m1fn_x2"}[name]
    x = torch.cat([wide_blocks(4000), gaussian(4000, 32, seed=7)]).to(dtype)
    mode = mx.ScaleCalculationMode[rule.upper()]
    theirs = mx.MXTensor.to_mx(x, getattr(torch, native), block_size=32, scaling_mode=mode).dequantize(dtype)
    assert int((get_format(name).with_rule(rule).fake_quantize(x, axis=1) != theirs).sum()) == 0


def nvfp4_reference(x: np.ndarray) -> np.ndarray:
    """Two-level scales as the notes define them: float32 where they are float32, exact elsewhere."""
    blocks = blocks_of(x, 16)
    s2 = np.float32(np.abs(x).max()) / np.float32(6 * 448)
    per_block = (np.abs(blocks).max(-1).astype(np.float32) / np.float32(6)) / s2
    s1 = np.maximum(nearest_on(grid_of("fp8_e4m3"), per_block.astype(np.float64)), 2.0**-9)
    total = (s1.astype(np.float32) * s2)[..., None]
    scaled = (blocks.astype(np.float32) / total).astype(np.float64)
    rounded = nearest_on(grid_of("nvfp4"), scaled).astype(np.float32) * total
    return rounded.reshape(*x.shape[:-1], -1)[..., : x.shape[-1]]


def test_nvfp4_agrees_with_its_reference() -> None:
    x = gaussian(500, 72)
    x[3, :16] = 0
    x[4, 16:32] *= 1e-6  # its block scale would round to 0
    q = get_format("nvfp4").quantize(x, axis=1)
    assert count_mismatches(q.dequantize().double().numpy(), nvfp4_reference(x.double().numpy())) == 0
    assert q.scales is not None
    assert q.tensor_scale is not None
    assert float(q.scales[4, 1]) == float(q.scales[3, 0]) == 2.0**-9
    assert float(q.tensor_scale) == pytest.approx(float(x.abs().max()) / 2688, rel=1e-6)


@pytest.mark.parametrize(("rule", "divisor"), [("absmax", 7.0), ("absmid", 7.5), ("absmin", 8.0)])
@pytest.mark.parametrize("group", [32, 64, 128])
def test_int4_groups_agree_with_their_reference(group: int, rule: str, divisor: float) -> None:
    x = gaussian(200, 256) * torch.logspace(-3, 3, 200)[:, None]
    blocks = blocks_of(x.numpy(), group)
    scale = (np.abs(blocks).max(-1, keepdims=True) / np.float32(divisor)).astype(np.float16).astype(np.float32)
    expected = (np.rint(blocks / scale).clip(-8, 7) * scale).reshape(x.shape)
    ours = get_format(f"int4_g{group}").with_rule(rule).fake_quantize(x, axis=1).numpy()
    assert int((ours != expected).sum()) == 0


@pytest.mark.slow
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_integer_groups_with_zero_point_agree_with_their_reference(bits: int) -> None:
    x = gaussian(200, 128) + torch.linspace(-2, 2, 200)[:, None]
    x[0] = x[0].abs() + 1  # a range that excludes 0 is widened to it
    blocks, top = blocks_of(x.numpy(), 32), np.float32(2**bits - 1)
    low, high = blocks.min(-1, keepdims=True).clip(None, 0), blocks.max(-1, keepdims=True).clip(0, None)
    scale = (high / top - low / top).astype(np.float16).astype(np.float32)
    zero_point = np.rint(-low / scale).clip(0, top)
    expected = ((np.rint(blocks / scale) + zero_point).clip(0, top) - zero_point) * scale
    ours = get_format(f"int{bits}_g32_zp").fake_quantize(x, axis=1).numpy()
    assert int((ours != expected.reshape(x.shape)).sum()) == 0


@pytest.mark.parametrize(
    ("name", "decibels"),
    [
        ("mxfp4", 18.79),
        ("mxfp4_even", 19.03),
        ("mxfp4_rceil", 18.76),
        ("int4_g32_absmax", 20.26),
        ("int4_g32", 20.46),
        ("int4_g32_absmin", 20.56),
        ("int4_g32_zp", 21.85),
    ],
)
def test_gaussians_lose_what_was_measured_for_each_rule(name: str, decibels: float) -> None:
    assert sqnr_db(gaussian(1 << 15, 32), get_format(name), axis=-1) == pytest.approx(decibels, abs=0.1)


@pytest.mark.parametrize(("rule", "share"), [("floor", 0.296), ("even", 0.127), ("rceil", 0.0)])
def test_mxfp4_clips_the_measured_share_of_gaussian_blocks(rule: str, share: float) -> None:
    x = gaussian(1 << 15, 32)
    scales = get_format("mxfp4").with_rule(rule).quantize(x, axis=1).scales
    assert scales is not None
    assert float((x.abs().amax(1, keepdim=True) > 6 * scales).float().mean()) == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize(
    ("name", "bits"), [("int8", 0), ("mxfp4", 8), ("nvfp4", 8), ("int4_g32", 16), ("int4_g32_zp", 20)]
)
def test_a_block_stores_its_scale_and_its_zero_point_besides_its_elements(name: str, bits: int) -> None:
    fmt = get_format(name)
    assert fmt.scaling is not None
    assert fmt.scaling.shared_bits(fmt.element) == bits


@pytest.mark.parametrize(("signed", "zero"), [(False, 85.0), (True, -43.0)])
def test_the_zero_point_is_the_code_of_zero_also_among_signed_codes(signed: bool, zero: float) -> None:
    """-1 .. 2 over the 255 steps of 8 bits: a third of them lie below 0."""
    scaling = get_format("int8_zp").scaling
    assert scaling is not None
    low, high = torch.tensor([-1.0]), torch.tensor([2.0])
    scale, zero_point = asymmetric_scale(low, high, IntElement(8, signed=signed), scaling)
    assert float(scale) == pytest.approx(3 / 255)
    assert float(zero_point) == zero
