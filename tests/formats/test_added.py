"""Formats of installed packages: quantized, listed, priced and built like ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packages import install_package

MODULE = """
from codesign.formats import FloatElement, Format, get_format
from codesign.formats.elements import FP32
from codesign.formats.scaling import Scaling

whole = Format("custom7", FloatElement(4, 2, 7), Scaling("slice", FP32, "absmax"))
ours = get_format("int8")
"""
POINTS = """[codesign.formats]
custom7 = seven:whole
fp8_e4m3 = seven:ours
"""
SCRIPT = """
import torch
from codesign.formats import FormatPair, format_names, get_format
from codesign.hardware import MacUnit

seven, eight = get_format("custom7"), get_format("fp8_e4m3")
assert "custom7" in format_names()
assert eight.name == "fp8_e4m3"  # a name of ours is not taken
x = torch.tensor([[1.0, 1.1, 1.2, 448.0]])
assert seven.fake_quantize(x, axis=-1).tolist() == [[1.0, 1.0, 1.25, 448.0]]
areas = [MacUnit((FormatPair(name, name),), dot=4).area_um2.value for name in ("fp6_e3m2", "custom7", "fp8_e4m3")]
assert areas == sorted(areas), areas
assert MacUnit((FormatPair("custom7", "custom7"),), dot=4).energy_pj(FormatPair("custom7", "custom7")).value > 0
"""


@pytest.fixture(autouse=True)
def kernels() -> None:
    """Once is enough: other processes do the work."""


def _run(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    repository = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(repository)])}
    return subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_an_installed_package_adds_a_format(tmp_path: Path) -> None:
    install_package(tmp_path, "seven", MODULE, POINTS)
    found = _run(tmp_path, "-c", SCRIPT)
    assert found.returncode == 0, found.stderr
    verified = _run(tmp_path, "-m", "codesign", "rtl", "custom7", "custom7", "--dot", "4", "-o", "unit")
    assert verified.returncode == 0, verified.stderr
    assert (tmp_path / "unit").is_dir()


@pytest.mark.slow
def test_what_is_no_format_of_its_name_is_refused(tmp_path: Path) -> None:
    install_package(tmp_path, "seven", MODULE, "[codesign.formats]\nfp7 = seven:whole\n")
    found = _run(tmp_path, "-m", "codesign", "formats", "fp7")
    assert found.returncode == 2
    assert "entry point 'fp7' of codesign.formats: 'seven:whole' is no Format of that name" in found.stderr
    assert "Traceback" not in found.stderr
