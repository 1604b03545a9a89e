"""Accelerators in YAML files, and the presets that ship with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field

from codesign.errors import InputError, nearest
from codesign.files import read_text, write_atomic
from codesign.formats import FormatPair
from codesign.hardware.chip.accelerator import AXES, Accelerator, all_axes, check_clock, check_value
from codesign.hardware.chip.axes import Axis
from codesign.hardware.chip.memory_types import is_file
from codesign.hardware.units.coefficients import DATA
from codesign.hardware.units.mac import MacUnit
from codesign.yamlio import Written, load_yaml, naming, with_fields


class _Other(Written):
    """The keys of an accelerator file other than the axes."""

    name: str
    pairs: list[str] = Field(min_length=1)
    accumulator: str = "auto"
    unit_model: str = ""  # path of a file written by `codesign calibrate`, relative to this one


def written_value(axis: Axis) -> Any:
    """Type of an axis's value in a file: a name, or a number that is positive (or 0, where allowed)."""
    if axis.kind is str:
        return str
    whole = axis.kind is int and axis.scale == 1
    return Annotated[int if whole else float, Field(ge=0) if axis.zero else Field(gt=0)]


def memory_name(path: Path, axis: Axis, written: str) -> str:
    """The name of a shipped memory type, or the absolute path of a file named in the file `path`."""
    return beside(path, written) if axis.memory and is_file(written) else written


_AcceleratorFile = with_fields(
    _Other,
    "AcceleratorFile",
    {
        axis.key: (written_value(axis), ... if axis.default is None else axis.default)
        for axis in all_axes().values()
        if axis.key not in _Other.model_fields
    },
)


def presets() -> dict[str, Path]:
    """Name -> file of the accelerators that ship with the package."""
    return {path.stem: path for path in sorted((DATA / "accelerators").glob("*.yaml"))}


def load_accelerator(source: Path | str) -> Accelerator:
    """The accelerator in a YAML file, or the preset with that name.

    Raises InputError naming file, line, key and the nearest valid spelling.
    """
    path = Path(source)
    if not path.exists():
        known = presets()
        if str(source) in known:
            path = known[str(source)]
        elif path.suffix not in (".yaml", ".yml"):
            raise InputError(f"no accelerator file or preset '{source}'{nearest(str(source), known)}")
    written = load_yaml(path, _AcceleratorFile)
    pairs = tuple(FormatPair.parse(text) for text in written.pairs)
    values = {axis.name: _checked(path, axis, getattr(written, axis.key)) for axis in all_axes().values()}
    model = beside(path, written.unit_model)
    _check_unit(path, written, pairs, model)
    others = {name: values.pop(name) for name in list(values) if name not in AXES}
    return Accelerator(
        name=written.name,
        pairs=pairs,
        unit_model=model,
        others=tuple(sorted((name, value) for name, value in others.items() if value != all_axes()[name].usual)),
        **values,
    )


def write_accelerator(path: Path, accelerator: Accelerator) -> None:
    """Write an accelerator as a file that `load_accelerator` reads, with copies of the files that it names beside it.

    Raises EnvironmentProblem if a file cannot be read or written.
    """
    written: dict[str, Any] = {"name": accelerator.name, "pairs": [str(pair) for pair in accelerator.pairs]}
    others = dict(accelerator.others)
    for name, axis in all_axes().items():
        value = getattr(accelerator, name, others.get(name, axis.usual))
        if axis.memory and is_file(value):
            value = _copied(value, path.with_name(f"{axis.memory}.yaml"))
        number = value / axis.scale if axis.scale != 1 else value
        written[axis.key] = int(number) if isinstance(number, float) and number.is_integer() else number
    if accelerator.unit_model:
        written["unit_model"] = _copied(accelerator.unit_model, path.with_name("unit_model.yaml"))
    write_atomic(path, yaml.safe_dump(written, sort_keys=False))


def _copied(source: str, target: Path) -> str:
    """Copy a file; returns the name of the copy."""
    write_atomic(target, read_text(Path(source)))
    return target.name


def beside(path: Path, name: str) -> str:
    """The absolute path of a file named in the file `path`; empty if `name` is empty."""
    return str((path.parent / name).resolve()) if name else ""


def _checked(path: Path, axis: Axis, written: Any) -> Any:
    """An axis's value for `Accelerator`; raises InputError with the line of an invalid value."""
    with naming(path, axis.key):
        found = axis.value(memory_name(path, axis, written) if axis.memory else written)
        check_value(axis, found)
    return found


def _check_unit(path: Path, written: Any, pairs: tuple[FormatPair, ...], model: str) -> None:
    """Check each key that a unit depends on separately, so that the error can name its line."""
    for i, pair in enumerate(pairs):
        with naming(path, "pairs", i):
            MacUnit((pair,))
    with naming(path, "dot"):
        MacUnit(pairs, dot=written.dot)
    with naming(path, "node_nm"):
        MacUnit(pairs, node_nm=written.node_nm)
    with naming(path, "unit_model"):
        assert MacUnit(pairs, unit_model=model).model
    with naming(path, "accumulator"):
        MacUnit(pairs, written.accumulator)
    with naming(path, "clock_mhz"):
        clock_ghz = written.clock_mhz / 1e3
        check_clock(MacUnit(pairs, written.accumulator, written.dot, written.node_nm, clock_ghz, model))
