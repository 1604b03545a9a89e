"""Accelerators in YAML files, and the presets that ship with the package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from codesign.errors import InputError, nearest
from codesign.formats import FormatPair
from codesign.hardware.chip.accelerator import (
    CODECS,
    FLASHES,
    Accelerator,
    check_clock,
    check_name,
    check_node,
    dram_types,
)
from codesign.hardware.units.coefficients import DATA
from codesign.hardware.units.mac import MacUnit
from codesign.yamlio import Written, line_of, load_yaml


class _AcceleratorFile(Written):
    """What a person writes."""

    name: str
    pairs: list[str] = Field(min_length=1)
    accumulator: str = "auto"
    dot: PositiveInt
    rows: PositiveInt
    columns: PositiveInt
    sram_kib: PositiveFloat
    dram: str
    dram_channels: PositiveInt
    clock_mhz: PositiveFloat
    node_nm: PositiveFloat
    vector_lanes: NonNegativeInt = 0
    dram_gib: NonNegativeFloat = 0
    flash: str = ""
    codec: str = ""
    unit_model: str = ""  # a file that `codesign calibrate` wrote, beside this one


def presets() -> dict[str, Path]:
    """Name -> file of the accelerators that ship with the package."""
    return {path.stem: path for path in sorted((DATA / "accelerators").glob("*.yaml"))}


def load_accelerator(source: Path | str) -> Accelerator:
    """The accelerator in a YAML file, or the preset of that name.

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
    _check(path, written, pairs)
    return Accelerator(
        name=written.name,
        pairs=pairs,
        accumulator=written.accumulator,
        dot=written.dot,
        rows=written.rows,
        columns=written.columns,
        sram_bytes=round(written.sram_kib * 1024),
        dram=written.dram,
        dram_channels=written.dram_channels,
        clock_hz=written.clock_mhz * 1e6,
        node_nm=written.node_nm,
        unit_model=beside(path, written.unit_model),
        vector_lanes=written.vector_lanes,
        dram_gib=written.dram_gib,
        flash=written.flash,
        codec=written.codec,
    )


def beside(path: Path, name: str) -> str:
    """The absolute path of a file that the file `path` names; empty for none."""
    return str((path.parent / name).resolve()) if name else ""


def _check(path: Path, written: _AcceleratorFile, pairs: tuple[FormatPair, ...]) -> None:
    """Try each key that a unit depends on by itself, so that the error can name its line."""
    for i, pair in enumerate(pairs):
        with _naming(path, "pairs", i):
            MacUnit((pair,))
    with _naming(path, "dot"):
        MacUnit(pairs, dot=written.dot)
    with _naming(path, "node_nm"):
        check_node(written.node_nm)
        MacUnit(pairs, node_nm=written.node_nm)
    model = beside(path, written.unit_model)
    with _naming(path, "unit_model"):
        assert MacUnit(pairs, unit_model=model).model
    with _naming(path, "accumulator"):
        MacUnit(pairs, written.accumulator)
    with _naming(path, "clock_mhz"):
        clock_ghz = written.clock_mhz / 1e3
        check_clock(MacUnit(pairs, written.accumulator, written.dot, written.node_nm, clock_ghz, model))
    for key, known in (("dram", dram_types()), ("flash", FLASHES), ("codec", CODECS)):
        with _naming(path, key):
            check_name(key, getattr(written, key), known)


@contextmanager
def _naming(path: Path, *key: str | int) -> Iterator[None]:
    """Puts file, line and key in front of an InputError raised inside."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}:{line_of(path, *key)}: {'.'.join(map(str, key))}: {error}") from None
