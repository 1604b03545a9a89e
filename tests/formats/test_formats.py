"""The Format interface: names, bits, axes, memory layouts, calibrated ranges, packing, errors."""

from __future__ import annotations

import pytest
import torch

from codesign.errors import InputError
from codesign.formats import Format, IntElement, Scaling, format_names, get_format, layout, sqnr_db
from tests.formats import gaussian
from tests.formats.oracles import same_bits

EVERY = [*format_names(), "mxfp4_rceil", "mxfp4_even", "mxint8_rceil", "int4_g32_absmin", "int7", "int12_g64_zp"]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EVERY)
def test_fake_quantize_is_dequantize_of_quantize_bit_for_bit(name: str, dtype: torch.dtype) -> None:
    fmt = get_format(name)
    x = (gaussian(3, 5, 70) * torch.logspace(-4, 3, 70)).to(dtype)
    x[0, 0] = -0.0
    for axis in (0, 1, 2) if fmt.is_block else (None, 0, 1, 2):
        fake = fmt.fake_quantize(x, axis)
        assert same_bits(fake, fmt.quantize(x, axis).dequantize())
        assert fake.shape == x.shape


@pytest.mark.slow
@pytest.mark.parametrize("tile", [7, 1000, 5000])
@pytest.mark.parametrize("name", ["int8", "int8_zp", "fp8_e4m3", "mxfp4", "nvfp4", "int4_g32_zp"])
def test_the_pieces_that_a_tensor_is_worked_on_in_do_not_show(
    name: str, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fmt = get_format(name)
    x = gaussian(6, 80, 10)
    x[0, 0, 0] = torch.inf
    axes = (0, 1, 2) if fmt.is_block else (None, 0, 1, 2)
    whole = [fmt.fake_quantize(t, axis) for t in (x, x.bfloat16()) for axis in axes]
    monkeypatch.setattr(layout, "_TILE", tile)
    pieces = [fmt.fake_quantize(t, axis) for t in (x, x.bfloat16()) for axis in axes]
    assert all(same_bits(a, b) for a, b in zip(whole, pieces, strict=True))


@pytest.mark.parametrize("name", EVERY)
def test_any_axis_is_the_last_axis_of_the_transposed_tensor(name: str) -> None:
    fmt = get_format(name)
    x = gaussian(40, 9, 6)
    for axis in range(3):
        last = fmt.fake_quantize(x.movedim(axis, -1).contiguous(), -1).movedim(-1, axis)
        assert same_bits(fmt.fake_quantize(x, axis), last)
        assert same_bits(fmt.fake_quantize(x, axis - 3), last)


@pytest.mark.parametrize("name", ["int8", "fp8_e4m3", "mxfp4", "nvfp4", "int4_g32_zp", "bf16"])
def test_memory_layout_changes_nothing_but_itself(name: str) -> None:
    fmt = get_format(name)
    x = gaussian(2, 48, 5, 6)
    plain = fmt.fake_quantize(x, 1)
    last = fmt.fake_quantize(x.to(memory_format=torch.channels_last), 1)
    assert same_bits(plain, last)
    assert last.is_contiguous(memory_format=torch.channels_last)
    holes = torch.zeros(2, 96, 5, 7)[:, ::2, :, :6]
    holes.copy_(x)
    assert same_bits(plain, fmt.fake_quantize(holes, 1))
    spread = x[:, :, :1, :1].expand(2, 48, 5, 6)
    assert same_bits(fmt.fake_quantize(spread.contiguous(), 1), fmt.fake_quantize(spread, 1))


@pytest.mark.parametrize(("name", "block"), [("mxfp4", 32), ("mxfp8_e4m3", 32), ("int4_g32", 32), ("int4_g64_zp", 64)])
def test_a_ragged_last_block_is_a_short_block(name: str, block: int) -> None:
    fmt = get_format(name)
    for length in (1, 3, block - 1, block + 1, 2 * block + 7):
        x = gaussian(4, length)
        parts = [fmt.fake_quantize(part, 1) for part in x.split(block, dim=1)]
        assert same_bits(fmt.fake_quantize(x, 1), torch.cat(parts, dim=1))
        assert fmt.quantize(x, 1).codes.shape == x.shape


def test_a_plain_format_takes_one_scale_per_slice_along_the_axis() -> None:
    q = get_format("int8").quantize(torch.tensor([[1.27, -0.634], [-254.0, 63.4]]), axis=1)
    assert q.scales is not None
    torch.testing.assert_close(q.scales, torch.tensor([[0.01], [2.0]]))
    assert q.codes.tolist() == [[127, -63], [-127, 32]]


def test_a_plain_format_takes_one_scale_for_the_tensor_without_an_axis() -> None:
    q = get_format("fp8_e4m3").quantize(torch.tensor([[224.0, -1.0], [0.5, 3.0]]))
    assert q.scales is not None
    assert q.scales.shape == ()
    assert float(q.scales) == 0.5  # the largest number of E4M3 is 448


@pytest.mark.parametrize("name", ["int8", "int4_zp", "fp8_e4m3", "nvfp4", "mxfp4", "int4_g32"])
def test_zeros_stay_zeros(name: str) -> None:
    x = torch.zeros(2, 64)
    assert torch.equal(get_format(name).fake_quantize(x, 1), x)


def test_an_all_zero_tensor_has_scale_one() -> None:
    scales = get_format("int8").quantize(torch.zeros(3)).scales
    assert scales is not None
    assert float(scales) == 1


@pytest.mark.parametrize("name", ["int8", "int4", "fp8_e4m3", "fp4_e2m1"])
def test_a_calibrated_range_replaces_the_measured_one(name: str) -> None:
    fmt = get_format(name)
    x = gaussian(8, 16)
    measured = float(x.abs().max())
    assert same_bits(fmt.fake_quantize(x, amax=measured), fmt.fake_quantize(x))
    clipped = fmt.fake_quantize(x, amax=1.0)
    assert float(clipped.abs().max()) == pytest.approx(1.0)
    assert same_bits(clipped, fmt.quantize(x, amax=1.0).dequantize())
    rows = x.abs().amax(1, keepdim=True)
    assert same_bits(fmt.fake_quantize(x, 1, amax=rows), fmt.fake_quantize(x, 1))
    assert same_bits(fmt.quantize(x, 1, amax=rows).dequantize(), fmt.fake_quantize(x, 1))
    assert same_bits(fmt.quantize(x, 1, amax=2.0).dequantize(), fmt.fake_quantize(x, 1, amax=2.0))


def test_a_calibrated_pair_replaces_the_range_of_a_zero_point() -> None:
    fmt = get_format("int8_zp")
    x = gaussian(8, 16)
    pair = (float(x.min()), float(x.max()))
    assert same_bits(fmt.fake_quantize(x, amax=pair), fmt.fake_quantize(x))
    columns = (x.amin(0, keepdim=True), x.amax(0, keepdim=True))
    assert same_bits(fmt.fake_quantize(x, 0, amax=columns), fmt.fake_quantize(x, 0))
    q = fmt.quantize(torch.tensor([0.0, 1.0, 2.0, 9.0]), amax=(0.5, 2.55))
    assert q.codes.tolist() == [0, 100, 200, 255]


def test_zero_is_exact_under_a_zero_point() -> None:
    x = torch.tensor([[-0.7, 0.0, 1.9, 0.3]])
    for name in ("int2_zp", "int4_zp", "int8_zp", "int4_g32_zp"):
        assert float(get_format(name).fake_quantize(x, 1)[0, 1]) == 0


@pytest.mark.parametrize("name", EVERY)
def test_packed_codes_come_back(name: str) -> None:
    fmt = get_format(name)
    for shape in ((1,), (7,), (5, 33), (2, 3, 32)):
        codes = fmt.quantize(gaussian(*shape), -1).codes
        data = fmt.pack(codes)
        assert data.dtype == torch.uint8
        assert data.numel() == -(-codes.numel() * fmt.element_bits // 8)
        back = fmt.unpack(data, shape)
        assert back.dtype == codes.dtype
        assert torch.equal(back, codes)


def test_every_code_survives_packing() -> None:
    for bits in range(2, 17):
        fmt = get_format(f"int{bits}_g32")
        codes = fmt.element.codes().to(fmt.quantize(torch.ones(1), 0).codes.dtype)
        assert torch.equal(fmt.unpack(fmt.pack(codes), tuple(codes.shape)), codes)


def test_packing_is_little_endian_with_the_first_element_in_the_low_nibble() -> None:
    fp4, int3 = get_format("fp4_e2m1"), get_format("int3_g32")
    assert fp4.pack(torch.tensor([0x1, 0xE, 0x7], dtype=torch.uint8)).tolist() == [0xE1, 0x07]
    # codes 1, 2, 3, -4, -1 of three bits: 001 010 011 100 111 from the lowest bit up
    packed = int3.pack(torch.tensor([1, 2, 3, -4, -1], dtype=torch.int8))
    assert packed.tolist() == [0b11_010_001, 0b0_111_100_0]


def test_a_wrong_number_of_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="take 2 bytes, not 3"):
        get_format("fp4_e2m1").unpack(torch.zeros(3, dtype=torch.uint8), (4,))


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("int8", 8),
        ("int4_zp", 4),
        ("int4_g32", 4.5),
        ("int4_g128", 4.125),
        ("int4_g32_zp", 4.625),
        ("fp8_e4m3", 8),
        ("mxfp8_e5m2", 8.25),
        ("mxfp6_e2m3", 6.25),
        ("mxfp4", 4.25),
        ("mxfp4_rceil", 4.25),
        ("mxint8", 8.25),
        ("nvfp4", 4.5),
        ("bf16", 16),
        ("fp32", 32),
    ],
)
def test_bits_per_element_count_the_scales_of_blocks(name: str, bits: float) -> None:
    assert get_format(name).bits_per_element == bits


@pytest.mark.parametrize("name", EVERY)
def test_a_format_is_found_by_its_own_name(name: str) -> None:
    assert get_format(name).name == name


def test_a_default_rule_adds_nothing_to_the_name() -> None:
    assert get_format("mxfp4_floor") == get_format("mxfp4")
    assert get_format("mxfp4").with_rule("even").name == "mxfp4_even"
    assert get_format("mxfp4_even").with_rule("rceil") == get_format("mxfp4_rceil")
    assert get_format("mxfp4_even").with_rule("floor") == get_format("mxfp4")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("mxfp5", "mxfp4"), ("int4_g1", "int4_g2"), ("fp8_e4m4", "fp8_e4m3"), ("nvfp", "nvfp4"), ("bf61", "bf16")],
)
def test_an_unknown_name_is_answered_with_the_nearest_one(wrong: str, right: str) -> None:
    with pytest.raises(InputError, match=f"unknown format '{wrong}'.*{right}"):
        get_format(wrong)


@pytest.mark.parametrize("name", ["", "int1", "int17", "int8_floor", "bf16_even", "nvfp4_rceil", "int4_g32_zp_absmin"])
def test_names_that_mean_nothing_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="unknown format"):
        get_format(name)


def test_a_rule_that_a_format_lacks_is_refused() -> None:
    with pytest.raises(InputError, match="no scale rule 'rceill'; did you mean 'rceil'"):
        get_format("mxfp4").with_rule("rceill")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("mxfp4", {}, "needs the axis"),
        ("mxfp4", {"axis": 1, "amax": 1.0}, "accepts no amax"),
        ("bf16", {"amax": 1.0}, "accepts no amax"),
        ("int8", {"axis": 2}, "outside of a tensor of 2 dimensions"),
        ("int8", {"amax": -1.0}, "not negative"),
        ("int8", {"amax": float("nan")}, "finite"),
        ("int8", {"amax": torch.ones(3)}, "does not broadcast"),
        ("int8", {"amax": (0.0, 1.0)}, "one magnitude"),
        ("int8_zp", {"amax": 1.0}, "pair"),
        ("int8_zp", {"amax": (1.0, -1.0)}, "low <= high"),
        ("int8_zp", {"amax": (float("nan"), 1.0)}, "finite"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(name: str, arguments: dict[str, object], message: str) -> None:
    fmt, x = get_format(name), gaussian(4, 32)
    for method in (fmt.quantize, fmt.fake_quantize):
        with pytest.raises(InputError, match=message):
            method(x, **arguments)


@pytest.mark.parametrize("name", ["int8", "int4_zp", "fp4_e2m1", "mxfp4", "nvfp4", "int4_g32"])
def test_quantizing_nan_is_refused_where_no_code_means_it(name: str) -> None:
    x = gaussian(2, 32)
    x[0, 3] = torch.nan
    with pytest.raises(InputError, match="contains NaN"):
        get_format(name).quantize(x, axis=1)


def test_other_dtypes_are_refused() -> None:
    with pytest.raises(InputError, match="int64"):
        get_format("int8").fake_quantize(torch.arange(3))


def test_gradients_are_neither_needed_nor_made() -> None:
    x = gaussian(4, 32).requires_grad_()
    assert not get_format("mxfp4").fake_quantize(x, 1).requires_grad


def test_an_own_format_needs_only_an_element_and_a_scaling() -> None:
    fmt = Format("int5_b8", IntElement(5), Scaling("block", get_format("fp16").element, "absmid", block=8))
    x = gaussian(4, 20)
    assert fmt.bits_per_element == 7
    assert same_bits(fmt.fake_quantize(x, 1), fmt.quantize(x, 1).dequantize())


def test_sqnr_grows_by_six_decibels_a_bit() -> None:
    x = torch.rand(1 << 14, generator=torch.Generator().manual_seed(0)) * 2 - 1
    gain = sqnr_db(x, get_format("int10")) - sqnr_db(x, get_format("int8"))
    assert gain == pytest.approx(12.04, abs=0.2)
    assert sqnr_db(x, get_format("fp32")) == float("inf")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", EVERY)
def test_cuda_gives_the_same_bits(name: str) -> None:
    fmt = get_format(name)
    for dtype in DTYPES:
        x = (gaussian(64, 200) * torch.logspace(-4, 3, 200)).to(dtype)
        assert same_bits(fmt.fake_quantize(x, 1), fmt.fake_quantize(x.cuda(), 1).cpu())
        assert torch.equal(fmt.quantize(x, 1).codes, fmt.quantize(x.cuda(), 1).codes.cpu())


def test_a_layer_of_an_assignment_is_found_by_its_name() -> None:
    from codesign.formats import Assignment, LayerFormats

    assignment = Assignment.of({f"layer{i}": LayerFormats("int8", f"int{i}") for i in range(2, 9)})
    assert assignment["layer4"].weight == "int4"
    with pytest.raises(KeyError, match="layer99"):
        assignment["layer99"]
