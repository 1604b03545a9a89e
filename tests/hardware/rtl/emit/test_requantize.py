"""Verilog of requantizers against the quantizers of `codesign.formats`, bit for bit."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from codesign.errors import InputError
from codesign.formats import FloatElement, get_format
from codesign.formats.elements import Element
from codesign.formats.scaling import divisor_of
from codesign.hardware.rtl.analyse.elaborate import gates
from codesign.hardware.rtl.analyse.gates import LOGIC
from codesign.hardware.rtl.emit.requantize import Requantizer, build_requantizer
from codesign.hardware.rtl.verify.requantize import RequantizeCheck, numbers
from codesign.hardware.rtl.verify.simulate import simulate
from tests.programs import needed

PLAIN = ["int8", "int4", "int2", "int16", "fp8_e4m3", "fp8_e5m2", "fp6_e3m2", "fp6_e2m3", "fp4_e2m1"]
BLOCKS = ["mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp4", "mxfp4_rceil", "mxfp4_even", "mxint8", "mxint8_rceil"]
STORED = ["int4_g32", "nvfp4"]


def wrong(unit: Requantizer, outputs: tuple[str, ...], folder: Path, steps: int, **more: float) -> list[int]:
    needed("iverilog")
    built = build_requantizer(unit)
    checks = [RequantizeCheck(built, numbers(unit.lanes, steps), output, **more) for output in outputs]
    found = simulate("iverilog", checks, {"requantize.v": built.text}, folder)
    assert all(verdict.steps == steps for verdict in found)
    return [verdict.wrong for verdict in found]


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAIN)
def test_a_given_scale_gives_the_codes_of_the_quantizer(name: str, tmp_path: Path) -> None:
    assert wrong(Requantizer(name, 2), ("code",), tmp_path, 1000, range=0.7310585) == [0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["int8_token", "int4_token", "fp8_e4m3_token"])
def test_a_range_that_is_found_gives_scale_and_codes_of_the_quantizer(name: str, tmp_path: Path) -> None:
    for turn, amax in enumerate((None, 0.3333333, 1e-37)):
        more = {} if amax is None else {"range": amax}
        found = wrong(Requantizer(name, 2), ("largest", "scale", "code"), tmp_path / str(turn), 200, **more)
        assert found == [0, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["int8", "int4", "int16", "fp8_e4m3", "fp8_e5m2", "fp6_e2m3", "fp4_e2m1"])
def test_quotients_beside_a_tie_are_rounded_to_fp32_first_as_the_quantizer_does(name: str, tmp_path: Path) -> None:
    form = get_format(name)
    for turn, amax in enumerate((0.7310585, 1.9999999, 1.0000001)):
        scale = np.float32(amax) / np.float32(divisor_of(form.element, "absmax"))
        x = beside_ties(form.element, scale)
        built = build_requantizer(Requantizer(name, 1))
        check = RequantizeCheck(built, x[:, None], range=amax)
        assert simulate("iverilog", [check], {"requantize.v": built.text}, tmp_path / str(turn))[0].wrong == 0


@pytest.mark.slow
def test_scales_and_codes_of_blocks_beside_a_tie_are_those_of_the_quantizer(tmp_path: Path) -> None:
    scales = np.float16(1.0) + np.arange(1, 12) * np.float16(2**-10)  # neighbours in FP16
    ties = (scales.astype(np.float32) + np.float32(2**-11)) * np.float32(7.5)
    largest = np.concatenate([np.nextafter(ties, np.float32(way)) for way in (0, 9)] + [ties])
    form = get_format("int4_g32")
    blocks = [np.resize(beside_ties(form.element, np.float32(scale)), 31) for scale in np.resize(scales, len(largest))]
    x = np.concatenate([largest[:, None], np.stack(blocks)], axis=1).astype(np.float32)
    built = build_requantizer(Requantizer("int4_g32", 32))
    checks = [RequantizeCheck(built, x, output) for output in ("scale", "code")]
    assert [found.wrong for found in simulate("iverilog", checks, {"requantize.v": built.text}, tmp_path)] == [0, 0]


def beside_ties(element: Element, scale: np.float32) -> npt.NDArray[np.float32]:
    """Numbers whose quotients lie in the middle of two values of the element, and up to two places beside it."""
    codes = torch.arange(1 << element.bits)
    values = np.unique(
        element.decode(codes if isinstance(element, FloatElement) else codes - (1 << element.bits - 1)).numpy()
    )
    middles = values[:-1] / 2 + values[1:] / 2
    x = (np.resize(middles[:: max(1, len(middles) // 200)], 200) * scale).astype(np.float32)
    near = [x]
    for way in (np.float32(-np.inf), np.float32(np.inf)):
        once = np.nextafter(x, way)
        near += [once, np.nextafter(once, way)]
    found = np.concatenate(near)
    return found[np.abs(found) >= 2.0**-126]


@pytest.mark.slow
@pytest.mark.parametrize("name", BLOCKS + STORED)
def test_blocks_have_scales_and_codes_of_the_quantizer(name: str, tmp_path: Path) -> None:
    steps = 40 if name in STORED else 150  # 32 dividers take long to simulate
    assert wrong(Requantizer(name, 16 if name == "nvfp4" else 32), ("scale", "code"), tmp_path, steps) == [0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["int8", "fp8_e4m3_token", "mxfp4_rceil", "nvfp4", "bf16"])
def test_pipeline_registers_change_the_latency_alone(name: str, tmp_path: Path) -> None:
    scaling = get_format(name).scaling
    whole = Requantizer(name, (scaling.block if scaling is not None else None) or 1)
    steps = list(build_requantizer(whole).boundaries)
    cut = replace(whole, cuts=frozenset(steps[::2]))
    assert build_requantizer(cut).latency["code"] > build_requantizer(whole).latency["code"]
    outputs = {"range": ("code", "scale", "largest"), "block": ("code", "scale")}.get(whole.kind, ("code",))
    assert sum(wrong(cut, outputs, tmp_path, 40)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("range", [700.0, 1.7])  # that of the tensor was calibrated: blocks lie below and above it
def test_two_levels_of_scales_are_those_of_the_quantizer(range: float, tmp_path: Path) -> None:
    assert wrong(Requantizer("nvfp4", 16), ("scale", "code"), tmp_path, 60, range=range) == [0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_casts_saturate_as_the_quantizer_does(name: str, tmp_path: Path) -> None:
    assert wrong(Requantizer(name, 2), ("code",), tmp_path, 3000) == [0]


def test_a_wrong_scale_is_noticed(tmp_path: Path) -> None:
    needed("iverilog")
    built = build_requantizer(Requantizer("int8", 1))
    check = RequantizeCheck(built, numbers(1, 50), range=3.0)
    text = built.text.replace("10'h200", "10'h1ff")  # halves every quotient
    assert text != built.text
    assert simulate("iverilog", [check], {"requantize.v": text}, tmp_path)[0].wrong > 10


def test_a_power_of_two_scale_needs_no_divider() -> None:
    built = (build_requantizer(Requantizer(name, 32)) for name in ("mxint8", "int8_g32"))
    mx, group = ((gates(one.assignments).logic == LOGIC.index("sum")).sum() for one in built)
    assert 4 * mx < group


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PLAIN[::3], "int8_token", "fp8_e4m3_token", *BLOCKS[::3], *STORED, "bf16"])
def test_verilator_has_nothing_to_say(name: str, tmp_path: Path) -> None:
    needed("verilator")
    scaling = get_format(name).scaling
    lanes = (scaling.block if scaling is not None else None) or 1
    (tmp_path / "requantize.v").write_text(build_requantizer(Requantizer(name, lanes)).text)
    found = subprocess.run(["verilator", "--lint-only", "-Wall", "requantize.v"], cwd=tmp_path, capture_output=True)
    assert found.returncode == 0, found.stderr.decode()[:600]


@pytest.mark.parametrize(
    ("name", "lanes", "message"),
    [
        ("int8_zp", 1, "zero points"),
        ("fp32", 1, "results have it already"),
        ("mxfp4", 8, "32 lanes, not 8"),
    ],
)
def test_a_format_without_a_requantizer_is_refused_in_one_line(name: str, lanes: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Requantizer(name, lanes)


def test_numbers_reach_every_kind_of_input() -> None:
    x = numbers(32, 600)
    magnitudes = np.abs(x[x != 0])
    assert (x == 0).all(axis=1).any()
    assert magnitudes.min() < 1e-36
    assert magnitudes.max() > 1e36
