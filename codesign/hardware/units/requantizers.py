"""Area and energy of requantizers (`rtl.emit.requantize`), which turn results into codes of the next layer's format."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from codesign.errors import InputError
from codesign.formats import get_format
from codesign.formats.format import datapath
from codesign.hardware.rtl.analyse.parts import PARTS
from codesign.hardware.rtl.emit.requantize import Requantizer, build_requantizer
from codesign.hardware.units.coefficients import Interval, table
from codesign.hardware.units.mac import VECTOR_PAIR, MacUnit, vector_mac


@dataclass(frozen=True)
class RequantizerCost:
    """A requantizer per number that it takes in a cycle."""

    kind: str  # cast, given, range or block, as in `Requantizer`
    area_um2: Interval
    energy_pj: Interval  # per number; without ranges and scales per token, which the vector unit finds


def requantizer_cost(name: str, unit: MacUnit) -> RequantizerCost | None:
    """Cost of requantizing results to a format, in the library and at the node of `unit`; None where none is built.

    A format with zero points costs what it costs without them, which is a lower bound: none is built.

    The area is that of the bill of materials, as of compute units. The energy is this area times the energy density of
    a bf16 MAC of the vector unit (energy of a MAC over its area), within the interval of system.yaml: no requantizer
    was simulated.
    """
    found, converter = _parts(name), _parts(datapath(name))
    if found is None or converter is None:
        return None
    area, converting = (
        float(np.array(counts) @ unit.model.area_um2) / lanes for _, lanes, counts in (found, converter)
    )
    error = unit.model.error("area")
    each = Interval(area, area * max(0.0, 1 - error), area * (1 + error)).scaled(unit.scale("logic_area"))
    mac = vector_mac(unit)
    share = converting / area * each.value / mac.area_um2.value
    density = table("system.yaml", "requantizer")["energy_density"]
    energy = mac.energy_pj(VECTOR_PAIR).value * share
    return RequantizerCost(found[0], each, Interval(energy, energy * density.low, energy * density.high))


@lru_cache(maxsize=1024)
def _parts(name: str) -> tuple[str, int, tuple[int, ...]] | None:
    """(kind, lanes, bill of materials in the order of PARTS); None for a format without a requantizer."""
    form = get_format(name.replace("_zp", ""))
    scaling = form.scaling
    lanes = (scaling.block if scaling is not None else None) or 1
    try:
        unit = Requantizer(form.name, lanes)
    except InputError:
        return None
    parts = build_requantizer(unit).parts
    return unit.kind, lanes, tuple(parts.get(part, 0) for part in PARTS)
