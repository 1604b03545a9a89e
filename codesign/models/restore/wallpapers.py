"""Photographs from Debian's wallpaper packages, for training alone: ``python -m codesign.models.restore.wallpapers``.

The packages are fetched from a Debian mirror by the package manager, compared with their SHA-256 and unpacked, never
installed. The product does not need them: crops that it evaluates on are in data/samples.npz.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from codesign.errors import EnvironmentProblem

FOLDER = Path(os.environ.get("CODESIGN_WALLPAPERS", "build/wallpapers"))  # where packages are kept


@dataclass(frozen=True)
class Package:
    """A package of Debian 12 and the folder of its pictures."""

    version: str
    sha256: str
    pictures: str = "usr/share/backgrounds"

    def file(self, name: str) -> str:
        """The name under which the package manager stores it."""
        return f"{name}_{self.version}_all.deb"


PACKAGES = {
    "mate-backgrounds": Package(
        "1.26.0-1", "7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04", "usr/share/backgrounds/mate"
    ),
    "lomiri-wallpapers-16.04": Package("20.04.0-2", "a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab"),
    "lomiri-wallpapers-20.04": Package("20.04.0-2", "d44e89b8473aafe64a5b678f014862dc31335aaaf18665c544d985d854f1a709"),
}


def unpacked(name: str, folder: Path = FOLDER) -> Path:
    """The folder with the pictures of package `name`, fetched on first use.

    Raises EnvironmentProblem if the package cannot be fetched or unpacked, or is not the one that was trained on.
    """
    package, target = PACKAGES[name], folder / name
    if not target.exists():
        archive = folder / package.file(name)
        if not archive.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _run(["apt-get", "download", f"{name}={package.version}"], folder)
        check(archive, package)
        partial = target.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        _run(["dpkg-deb", "--extract", archive.name, partial.name], folder)
        partial.rename(target)
    return target / package.pictures


def check(archive: Path, package: Package) -> None:
    """Raises EnvironmentProblem if the file is not the package that was trained on."""
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != package.sha256:
        raise EnvironmentProblem(f"{archive}: SHA-256 is {found}, expected {package.sha256}; delete the file")


def _run(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise EnvironmentProblem(f"{command[0]} is missing: the wallpapers need a Debian or Ubuntu system") from None
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no message"])[-1]
        raise EnvironmentProblem(f"{' '.join(command)}: {last}") from None


def main(arguments: list[str] | None = None) -> None:
    """Fetch, check and unpack all packages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"where packages are kept (default {FOLDER})")
    given = parser.parse_args(arguments)
    for name in PACKAGES:
        print(unpacked(name, given.folder))


if __name__ == "__main__":
    main()
