"""The compiled kernels against their reference in torch, bit for bit."""

from __future__ import annotations

import os
import pickle  # worker processes are sent formats with it; only its own bytes are read here
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from codesign.errors import InputError
from codesign.formats import Format, compiled, format_names, get_format
from codesign.formats.elements import E2M1, E2M3, E3M2, E4M3, E5M2, E8M0, FP16, FP32, FloatElement, IntElement
from codesign.formats.format import Amax
from codesign.formats.scaling import Scaling
from tests.formats.oracles import bits_of

if compiled._loops() is None:
    pytest.skip("numba is not installed", allow_module_level=True)


@pytest.fixture(autouse=True)
def kernels() -> None:
    """In place of the folder's fixture: these tests choose by themselves."""


def both(fmt: Format, x: Tensor, axis: int | None, amax: Amax | None = None) -> tuple[Tensor, Tensor]:
    found = fmt.fake_quantize(x, axis, amax)
    with compiled.switched_off():
        return found, fmt.fake_quantize(x, axis, amax)


def assert_same(found: Tensor, expected: Tensor) -> None:
    """Bits, memory order and dtype agree; any NaN is as good as another."""
    assert found.dtype == expected.dtype
    steps = [zip(x.shape, x.stride(), strict=True) for x in (found, expected)]  # a dimension of one has no step
    assert [step for size, step in steps[0] if size > 1] == [step for size, step in steps[1] if size > 1]
    assert torch.equal(found.isnan(), expected.isnan())
    assert torch.equal(bits_of(found.nan_to_num(nan=7.0)), bits_of(expected.nan_to_num(nan=7.0)))


INTEGERS = st.builds(IntElement, st.integers(2, 16), st.booleans(), st.booleans(), st.integers(0, 6))
MINIFLOATS = st.one_of(
    st.sampled_from([E2M1, E2M3, E3M2, E4M3, E5M2]),
    st.builds(FloatElement, st.integers(2, 4), st.integers(1, 3), st.integers(1, 9)),
)
BLOCKS = st.sampled_from([2, 5, 16, 32, 128])


@st.composite
def formats(draw: st.DrawFn) -> Format:
    """An element with any scaling that suits it, most of which have no name."""
    element = draw(st.one_of(INTEGERS, MINIFLOATS))
    if isinstance(element, IntElement) and not element.signed:
        block = draw(st.none() | BLOCKS)
        scale = FP32 if block is None else draw(st.sampled_from([FP16, FP32, E4M3]))
        return Format("drawn", element, Scaling("block" if block else "slice", scale, "minmax", block))
    kind = draw(st.sampled_from(["slice", "mx", "stored", "two levels"]))
    if kind == "slice":
        return Format("drawn", element, Scaling("slice", FP32, "absmax"))
    block = draw(BLOCKS)
    if kind == "mx":
        return Format(
            "drawn", element, Scaling("block", E8M0, draw(st.sampled_from(["floor", "rceil", "even"])), block)
        )
    if kind == "two levels":
        return Format("drawn", element, Scaling("block", E4M3, "absmax", block, FP32))
    rules = ["absmax", "absmid", "absmin"] if isinstance(element, IntElement) else ["absmax"]
    return Format(
        "drawn", element, Scaling("block", draw(st.sampled_from([FP16, FP32])), draw(st.sampled_from(rules)), block)
    )


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """1 to 4 dimensions in any memory order, dense or not, of any size of numbers, with zeros, infinities and NaN."""
    shape = draw(st.lists(st.integers(1, 40), min_size=1, max_size=3)) + draw(st.lists(st.integers(1, 7), max_size=1))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    every = draw(st.sampled_from([1, 1, 2]))
    x = torch.randn([shape[0] * every, *shape[1:]], generator=generator)
    x = (x * 2.0 ** draw(st.sampled_from([0, 0, 3, -60, -130, 60, 125])))[::every]
    x = x.permute(*draw(st.permutations(range(x.ndim)))) if draw(st.booleans()) else x
    special = draw(st.sampled_from([None, None, 0.0, -0.0, float("inf"), float("-inf"), float("nan")]))
    if special is not None:
        x.masked_fill_(torch.rand(x.shape, generator=generator) < 0.1, special)
    return x.to(draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16])))


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(fmt=formats(), x=tensors(), data=st.data())
def test_both_give_the_same_bits(fmt: Format, x: Tensor, data: st.DataObject) -> None:
    axes = st.integers(-x.ndim, x.ndim - 1)
    axis = data.draw(axes if fmt.is_block else st.none() | axes)
    assert_same(*both(fmt, x, axis))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(fmt=formats().filter(lambda f: f.takes_range), x=tensors(), data=st.data())
def test_both_give_the_same_bits_in_a_calibrated_range(fmt: Format, x: Tensor, data: st.DataObject) -> None:
    size = 2.0 ** data.draw(st.sampled_from([-130, -20, 0, 0, 1, 60, 127]))
    amax = (-data.draw(st.floats(0, 2)) * size / 2, data.draw(st.floats(0, 2)) * size / 2)
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1)) if fmt.is_block else None
    for _ in range(2):  # the second time with a scale that is known
        assert_same(*both(fmt, x, axis, amax if fmt.has_zero_point else amax[1]))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", [*format_names(), "mxfp4_rceil", "mxfp8_e4m3_even", "int4_g32_absmin"])
def test_named_formats_give_the_same_bits_and_codes(name: str, dtype: torch.dtype) -> None:
    fmt = get_format(name)
    x = torch.randn(2, 80, 5, 7, generator=torch.Generator().manual_seed(0)).to(dtype)
    for layout in (x, x.to(memory_format=torch.channels_last)):
        assert_same(*both(fmt, layout, 1 if fmt.is_block else None))
        codes = fmt.quantize(layout, 1).codes
        with compiled.switched_off():
            assert torch.equal(codes, fmt.quantize(layout, 1).codes)


def test_channels_last_blocks_along_channels_are_not_copied() -> None:
    x = torch.randn(2, 64, 8, 8).to(memory_format=torch.channels_last)
    room = torch.full((x.numel(),), 5.0)
    found = get_format("mxfp4").fake_quantize(x, 1, room=room)
    assert found.stride() == x.stride()
    assert found.data_ptr() == room.data_ptr()


@pytest.mark.parametrize("name", ["int8", "fp8_e4m3", "mxfp4", "nvfp4", "int8_zp", "int4_g32"])
@pytest.mark.parametrize("threads", [2, 3])
def test_the_number_of_threads_does_not_matter(name: str, threads: int) -> None:
    fmt = get_format(name)
    x = torch.randn(300, 1000, generator=torch.Generator().manual_seed(0))
    before = torch.get_num_threads()
    try:
        found = []
        for count in (1, threads):
            torch.set_num_threads(count)
            found.append(fmt.fake_quantize(x, -1 if fmt.is_block else None))
    finally:
        torch.set_num_threads(before)
    assert_same(*found)


def test_without_torchs_own_threads_others_share_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    fmt, x = get_format("mxfp4"), torch.randn(300, 1000)
    expected = fmt.fake_quantize(x, -1)
    monkeypatch.setattr(compiled, "_team", lambda: (0, 0, 0))
    monkeypatch.setattr(compiled, "_POOLED", 1 << 15)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert_same(fmt.fake_quantize(x, -1), expected)


@pytest.mark.parametrize("name", ["int8", "fp8_e4m3", "int4_zp"])
def test_a_result_may_take_the_place_of_its_tensor(name: str) -> None:
    fmt, amax = get_format(name), (-1.0, 2.0) if name.endswith("zp") else 2.0
    x = torch.randn(7, 50)
    expected = fmt.fake_quantize(x, amax=amax)
    room = x.clone()
    for place in (room, torch.empty(400)):
        found = fmt.fake_quantize(room.clone() if place is not room else room, amax=amax, room=place)
        assert_same(found, expected)
    assert torch.equal(room, expected)


def run(code: str, **variables: str) -> str:
    environment = {**os.environ, **variables}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


SHOW = """
import sys
import torch
from codesign.formats import get_format
x = torch.arange(64.0)
print(float(get_format("mxfp4").fake_quantize(x, -1).sum()), "numba" in sys.modules)
"""


@pytest.fixture(scope="module")
def shown() -> list[str]:
    return run(SHOW).split()


@pytest.mark.slow
def test_a_variable_and_a_missing_numba_leave_everything_to_torch(shown: list[str]) -> None:
    value, used = shown
    assert used == "True"
    assert run(SHOW, CODESIGN_KERNELS="torch").split() == [value, "False"]
    assert run("import sys; sys.modules['numba'] = None\n" + SHOW).split()[0] == value


@pytest.mark.slow
def test_where_nothing_can_be_kept_on_disk_loops_are_compiled_anew(shown: list[str]) -> None:
    block = "import numba.core.caching as c\nc.CacheImpl._locator_classes = []\n"
    assert run(block + SHOW).split() == shown


@pytest.mark.slow
def test_looking_formats_up_starts_without_numba() -> None:
    assert run("import sys, codesign\ncodesign.get_format('int8')\nprint('numba' in sys.modules)") == "False"


def test_a_room_of_another_type_or_too_small_is_refused() -> None:
    x = torch.randn(4, 8)
    for room in (torch.empty(32, dtype=torch.bfloat16), torch.empty(31)):
        with pytest.raises(InputError, match="room of"):
            get_format("int8").fake_quantize(x, amax=1.0, room=room)


def test_a_tensor_is_left_as_it_was() -> None:
    """Its storage may still be resized, as networks that are larger than memory do."""
    x = torch.randn(8, 64, requires_grad=True)
    for name in ("int8", "mxfp4", "bf16"):
        get_format(name).fake_quantize(x, -1)
    get_format("int8").fake_quantize(x, amax=1.0)
    x.untyped_storage().resize_(0)


def test_a_negated_view_is_read_with_its_sign() -> None:
    x = torch.randn(4, 8)
    view = torch._neg_view(x)
    for _ in range(2):
        assert torch.equal(
            get_format("int8").fake_quantize(view, amax=1.0), -get_format("int8").fake_quantize(x, amax=1.0)
        )


def test_a_tensor_without_numbers_has_calibrated_ranges_too() -> None:
    assert get_format("int6").fake_quantize(torch.empty(4, 5, device="meta"), amax=1.5).shape == (4, 5)


def test_a_used_format_is_copied_without_what_it_remembers() -> None:
    fmt = get_format("int8")
    fresh = len(pickle.dumps(fmt))
    fmt.fake_quantize(torch.randn(4), amax=0.37)
    assert len(pickle.dumps(fmt)) == fresh
    assert pickle.loads(pickle.dumps(fmt)) == fmt  # its own bytes


@pytest.mark.slow
def test_where_numba_compiles_nothing_torch_does_it(shown: list[str]) -> None:
    assert run(SHOW, NUMBA_DISABLE_JIT="1").split()[0] == shown[0]
