"""Prescreening of formats of the grammar: what is worth a search, by the error of layers and the area of a unit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from codesign.errors import EnvironmentProblem, InputError
from codesign.folders import user_cache
from codesign.formats import FormatPair, get_format
from codesign.formats.enumerated import format_names_of
from codesign.hardware import MacUnit
from codesign.quality.cache import ResultCache
from codesign.quality.screen import LayerErrors
from codesign.search.space.loading import load_written
from codesign.search.space.prices import cost_version
from codesign.search.space.written import GrammarSpec, HardwareSpec, SpaceFile, UnitSpec
from codesign.yamlio import naming

_ERRORS, _AREAS = "layer-errors", "unit-areas"  # folders of what was found of formats
_WORTH_DB = 6.02  # above the smallest error, what a bit less costs: formats up to here are priced


@dataclass(frozen=True)
class Screened:
    """A format that was tried for weights and activations alike."""

    name: str
    bits: float  # stored for an element, scales included
    error_db: float  # of the layers' sampled outputs over their signal: the mean of all layers, in decibels
    area_um2: float | None  # of a product of its unit at 7 nm; None: not priced, as the error is too large
    kept: bool
    why: str


def screened(path: Path, spec: SpaceFile) -> tuple[SpaceFile, tuple[Screened, ...]]:
    """The space with the formats that its grammar keeps as pairs, each with a unit of its own; and all that were tried.

    Raises InputError with file and line if the grammar has no such format, or a task cannot be loaded.
    """
    grammar = spec.formats.grammar if spec.formats is not None else None
    if grammar is None:
        return spec, ()
    with naming(path, "formats", "grammar"):
        names = candidates(grammar)
        if not names:
            low, high = grammar.bits
            raise InputError(f"no format of these elements, blocks and scales takes {low:g} to {high:g} bits")
    tasks = [load_written(written, name, path.parent) for name, written in spec.tasks.items() if written.task]
    found = screen(names, [LayerErrors(task, user_cache() / _ERRORS) for task in tasks], grammar, user_cache() / _AREAS)
    kept = [str(FormatPair(each.name, each.name)) for each in found if each.kept]
    update: dict[str, object] = {"pairs": list(dict.fromkeys([*spec.pairs, *kept]))}
    if spec.hardware is not None:
        update["hardware"] = _with_sets(spec.hardware, kept)
    return spec.model_copy(update=update), found


def candidates(grammar: GrammarSpec) -> list[str]:
    """Every format of the grammar whose stored bits lie in its range."""
    low, high = grammar.bits
    names = format_names_of(grammar.elements, (2, int(high)), grammar.blocks, grammar.scales)
    return [name for name in names if low <= get_format(name).bits_per_element <= high]


def screen(
    names: Iterable[str], networks: Sequence[LayerErrors], grammar: GrammarSpec, cache: Path | None = None
) -> tuple[Screened, ...]:
    """All candidates with their errors, the smallest first; those kept are no worse than others in error and area.

    cache: folder that keeps the areas of units.
    """
    errors = {name: error_db(name, networks) for name in names}
    order = sorted(errors, key=lambda name: (errors[name], name))
    priced: dict[str, float] = {}
    for name in order:
        if errors[name] > errors[order[0]] + _WORTH_DB:
            break
        if (area := _area(name, grammar.dot, cache)) is not None:
            priced[name] = area
    front = [name for name in priced if not any(_better(other, name, errors, priced) for other in priced)]
    chosen = set(_spread(front, grammar.keep))
    found = []
    for name in order:
        kept, area = name in chosen, priced.get(name)
        why = "on the front of error and area" if kept else "on the front, between others" if name in front else ""
        if not why:
            why = "another has a smaller error and unit" if area is not None else "its error is too large"
        found.append(Screened(name, get_format(name).bits_per_element, errors[name], area, kept, why))
    return tuple(found)


def error_db(name: str, networks: Sequence[LayerErrors]) -> float:
    """Mean over all layers of the error of sampled outputs in a format, in decibels below the outputs."""
    return fmean(error for layers in networks for error in layers(name))


def _area(name: str, dot: int, cache: Path | None) -> float | None:
    """Of a product of the format's unit, um2; None if its blocks do not fit the step, or nothing multiplies it."""
    kept = ResultCache(cache, {"cost": cost_version(), "dot": str(dot)}) if cache is not None else None
    known = kept.get(name, _AREAS) if kept is not None else None
    if known is not None:
        return known["area_um2"]  # type: ignore[no-any-return]  # JSON, whose sum was checked
    found: float | None = None
    with suppress(InputError):
        found = MacUnit((FormatPair(name, name),), dot=dot).area_um2.value / dot
    if kept is not None:
        with suppress(EnvironmentProblem):  # it is priced again where nothing can be written
            kept.put(name, _AREAS, {"area_um2": found})
    return found


def _better(one: str, other: str, errors: dict[str, float], areas: dict[str, float]) -> bool:
    """Whether `one` is no worse than `other` in error and area, and better in one of them."""
    a, b = (errors[one], areas[one]), (errors[other], areas[other])
    return a != b and a[0] <= b[0] and a[1] <= b[1]


def _spread(front: Sequence[str], count: int) -> list[str]:
    """At most `count` evenly spread members of a front that is ordered by error, the first and the last among them."""
    if len(front) <= count:
        return list(front)
    return [front[round(i * (len(front) - 1) / max(1, count - 1))] for i in range(count)]


def _with_sets(hardware: HardwareSpec, pairs: Sequence[str]) -> HardwareSpec:
    units = hardware.units
    sets = [*units.sets, *([pair] for pair in pairs)]
    made = UnitSpec(sets=sets, subsets_of=units.subsets_of, largest=units.largest)
    copied: HardwareSpec = hardware.model_copy(update={"units": made})
    return copied
