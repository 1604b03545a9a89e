"""The exports that there are, by name: ours, and those of installed packages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Protocol, overload

from codesign.export.bundle import WrittenNetworks, export_brevitas
from codesign.export.rtl import WrittenArray, export_rtl
from codesign.plugins import by_name

GROUP = "codesign.exporters"  # of entry points


class Exporter(Protocol):
    """Writes a design of a study's folder for another tool.

    Returns what was written, as JSON types; raises InputError where the tool cannot hold the design.
    """

    def __call__(self, study_dir: Path, design_id: str, out_dir: Path, /) -> Mapping[str, object]: ...


OWN: Mapping[str, Exporter] = MappingProxyType({"brevitas": export_brevitas, "rtl": export_rtl})


@overload
def export_design(study_dir: Path, design_id: str, to: Literal["brevitas"], out_dir: Path) -> WrittenNetworks: ...


@overload
def export_design(study_dir: Path, design_id: str, to: Literal["rtl"], out_dir: Path) -> WrittenArray: ...


@overload
def export_design(study_dir: Path, design_id: str, to: str, out_dir: Path) -> Mapping[str, object]: ...


def export_design(study_dir: Path, design_id: str, to: str, out_dir: Path) -> Mapping[str, object]:
    """Write a design by the exporter called `to`, and say what was written, `to` included.

    Raises InputError on an unknown one, with the nearest, and what the exporter raises.
    """
    return {"to": to, **by_name("export", to, OWN, GROUP)(study_dir, design_id, out_dir)}
