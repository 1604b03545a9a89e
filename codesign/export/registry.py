"""Exporters by name: built in, and of installed packages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Protocol, overload

from codesign.export.bundle import WrittenNetworks, export_brevitas
from codesign.export.networks import NetworkExporter
from codesign.export.rtl import WrittenArray, export_rtl
from codesign.plugins import by_name

GROUP = "codesign.exporters"  # of entry points


class Exporter(Protocol):
    """Writes a design of a study for another tool.

    Returns what was written, as JSON types; raises InputError if the tool cannot represent the design.
    """

    def __call__(self, study_dir: Path, design_id: str, out_dir: Path, /) -> Mapping[str, object]: ...


_NETWORKS = (
    NetworkExporter("assignment", "codesign.export.plain:write_assignment"),
    NetworkExporter("json", "codesign.export.plain:write_json"),
    NetworkExporter(
        "torchao", "codesign.export.torchao:write", target="torchao", packages=("torchao",), extra="torchao"
    ),
    NetworkExporter("gguf", "codesign.export.gguf:write", target="llama.cpp", packages=("gguf",), extra="transformers"),
    NetworkExporter(
        "compressed-tensors",
        "codesign.export.compressed_tensors:write",
        target="vllm",
        packages=("compressed_tensors", "transformers"),
        extra="compressed-tensors",
    ),
    NetworkExporter(
        "diffusers", "codesign.export.diffusers_directory:write", packages=("diffusers",), extra="diffusers"
    ),
    NetworkExporter(
        "onnx",
        "codesign.export.onnx.write:write_onnx",
        target="onnxruntime",
        packages=("onnx", "onnxruntime", "onnxscript"),
        extra="onnx",
    ),
)
OWN: Mapping[str, Exporter] = MappingProxyType(
    {"brevitas": export_brevitas, "rtl": export_rtl, **{each.name: each for each in _NETWORKS}}
)


@overload
def export_design(study_dir: Path, design_id: str, to: Literal["brevitas"], out_dir: Path) -> WrittenNetworks: ...


@overload
def export_design(study_dir: Path, design_id: str, to: Literal["rtl"], out_dir: Path) -> WrittenArray: ...


@overload
def export_design(study_dir: Path, design_id: str, to: str, out_dir: Path) -> Mapping[str, object]: ...


def export_design(study_dir: Path, design_id: str, to: str, out_dir: Path) -> Mapping[str, object]:
    """Export a design.

    Args:
        study_dir: the study's folder.
        design_id: id of a design in its front.json.
        to: name of the exporter.
        out_dir: folder for the exported files.
    Returns:
        What the exporter returns, as JSON types, and `to`.
    Raises:
        InputError: unknown exporter, with the nearest name; and what the exporter raises.
    """
    return {"to": to, **by_name("export", to, OWN, GROUP)(study_dir, design_id, out_dir)}
