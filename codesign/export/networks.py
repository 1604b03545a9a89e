"""Exporting the networks of a design, each to a folder of its own, with what the foreign library makes of them."""

from __future__ import annotations

import contextlib
import importlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

from safetensors import SafetensorError

from codesign.errors import CodesignError, EnvironmentProblem, InputError
from codesign.export.origin import Origin
from codesign.export.proof import PROVENANCE, Proof, provenance, write_provenance
from codesign.export.scored import ScoredNetwork
from codesign.export.study import ChosenDesign, read_design
from codesign.models.directories.imports import calm
from codesign.targets import Target, get_target
from codesign.targets.target import check_layers

Writer = Callable[[ScoredNetwork, Origin, Path], Proof]


class WrittenNetwork(TypedDict):
    """An exported network in the JSON of ``codesign export``."""

    path: str  # its folder
    layers: int  # quantized layers
    opened_by: str  # the library that opened the files again
    sqnr_db: float | None  # of its outputs against those of the scored network; None if it was not run
    deviations: list[str]


class WrittenNetworks(TypedDict):
    """The exported networks of a design in the JSON of ``codesign export``."""

    to: NotRequired[str]  # the exporter's name, which `export_design` adds
    design: str
    tasks: dict[str, WrittenNetwork]


@dataclass(frozen=True)
class NetworkExporter:
    """Writes every network of a design; an `Exporter` for ``codesign export --to``.

    What it writes is complete or absent: a network is written beside its folder, opened again by the foreign library
    and compared with the scored one, and put in its place then.
    """

    name: str
    writer: str  # module:function, a Writer, imported at first use
    target: str | None = None  # whose rules it keeps, see `codesign.targets`
    packages: tuple[str, ...] = ()  # modules that it imports
    extra: str = ""  # of the package, which installs them

    def __call__(self, study_dir: Path, design_id: str, out_dir: Path) -> WrittenNetworks:
        """Write the networks of a design to ``out_dir/<task>``.

        Raises:
            InputError: unknown design; a layer that the target cannot hold, with those that can; a
                folder ``out_dir/<task>`` that holds anything but an earlier export by the same exporter.
            CodesignError: what was written is not what was scored.
            EnvironmentProblem: `out_dir` cannot be written, or a package is missing.
        """
        self.require()
        design = read_design(Path(study_dir), design_id)
        found = {name: self._export(design, name, Path(out_dir)) for name in design.assignments}
        return {"design": design.id, "tasks": found}

    def require(self) -> None:
        """Raise EnvironmentProblem, with what to install, unless the foreign library can be imported."""
        for package in self.packages:
            try:
                with calm():
                    importlib.import_module(package)
            except ImportError as error:
                install = f"pip install 'codesign[{self.extra}]'"
                raise EnvironmentProblem(f"{package} is needed to export to {self.name} ({error}): {install}") from None

    def write(self, network: ScoredNetwork, origin: Origin, folder: Path) -> WrittenNetwork:
        """Check a network against the target's rules, and write it to `folder` with its ``PROVENANCE.json``."""
        if self.target is not None:
            check_network(get_target(self.target), network)
        module, _, function = self.writer.partition(":")
        writer: Writer = getattr(importlib.import_module(module), function)
        with staged(folder, self.name) as stage:
            proof = writer(network, origin, stage)
            write_provenance(stage, provenance(origin, network, self.name, stage, proof))
        return written(folder, network, proof)

    def _export(self, design: ChosenDesign, name: str, out_dir: Path) -> WrittenNetwork:
        task = design.load(name)
        try:
            network = ScoredNetwork(task, design.assignments[name], design.evaluator(name, task))
            return self.write(network, design.origin(name), out_dir / name)
        except InputError as error:
            raise InputError(f"design '{design.id}', {name}: {error}") from None
        except CodesignError as error:
            raise type(error)(f"design '{design.id}', {name}: {error}") from None


def written(folder: Path, network: ScoredNetwork, proof: Proof) -> WrittenNetwork:
    """What is told of an exported network."""
    return {
        "path": str(folder),
        "layers": len(network.layers),
        "opened_by": proof.opened_by,
        "sqnr_db": proof.sqnr_db,
        "deviations": list(proof.deviations),
    }


def check_network(target: Target, network: ScoredNetwork) -> None:
    """Raise InputError with the first layer that a target cannot hold, and the targets that can."""
    for name, layer in network.layers.items():
        if layer.kind == "attention" and layer.formats.key != layer.formats.value:
            raise InputError(f"layer '{name}': {target.name} holds keys and values in one format")
    layers = network.layers.items()
    check_layers(target, {name: layer.rules for name, layer in layers}, {name: layer.pair for name, layer in layers})


def deviations(target: Target, network: ScoredNetwork) -> tuple[str, ...]:
    """What a target computes with other formats than were scored, in words."""
    found: dict[tuple[str, str], int] = {}
    for layer in network.layers.values():
        instead = target.instead(layer.rules, layer.pair)
        if instead is not None:
            key = layer.formats.activation, instead
            found[key] = found.get(key, 0) + 1
    return tuple(
        f"{target.name} rounds the activations of {count} layers to {instead}, scored in {scored}"
        for (scored, instead), count in sorted(found.items())
    )


@contextlib.contextmanager
def staged(folder: Path, to: str) -> Iterator[Path]:
    """A new folder beside `folder`, which takes its place when the context ends without an error.

    Raises InputError, before anything is written, as `check_replaceable`; EnvironmentProblem if a file cannot be
    written.
    """
    check_replaceable(folder, to)
    name = f".{folder.name}.{secrets.token_hex(8)}"
    stage, former = folder.with_name(name), folder.with_name(f"{name}.former")
    try:
        stage.mkdir(parents=True)
        yield stage
        check_replaceable(folder, to)  # an export takes a while
        if folder.exists():
            folder.replace(former)
        try:
            stage.replace(folder)
        except OSError:
            if former.exists():
                former.replace(folder)
            raise
    except EnvironmentProblem:
        raise
    except (OSError, SafetensorError) as error:
        named = getattr(error, "filename", None)
        if named is not None and stage not in Path(str(named)).parents:  # what was to be read
            raise EnvironmentProblem(f"{named}: {getattr(error, 'strerror', None) or error}") from error
        text = getattr(error, "strerror", None) or error
        raise EnvironmentProblem(f"{folder}: cannot be written ({text})") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(former, ignore_errors=True)


def check_replaceable(folder: Path, to: str) -> None:
    """Raise InputError unless `folder` is new or empty, or holds what the exporter `to` wrote and nothing else."""
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir() or folder.is_symlink():
        raise InputError(f"{folder}: is no folder; give another --out")
    held = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()}
    held = {name for name in held if not Path(name).name.startswith(".")}
    if not held:
        return
    try:
        found = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
        owner, known = str(found["to"]), {PROVENANCE, *found["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        owner, known = "", set()
    others = sorted(held - known)
    if others:
        raise InputError(f"{folder}: holds other files than an export ({others[0]}); give another --out")
    if owner != to:
        raise InputError(f"{folder}: holds the export to {owner}; give another --out")
