"""Other people's packages, as pip leaves them."""

from __future__ import annotations

from pathlib import Path


def install_package(site: Path, name: str, module: str, entry_points: str) -> None:
    """A package of one module with entry points, in a folder that stands for site-packages."""
    facts = site / f"{name}-1.0.dist-info"
    facts.mkdir(parents=True)
    (site / f"{name}.py").write_text(module)
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(entry_points)
