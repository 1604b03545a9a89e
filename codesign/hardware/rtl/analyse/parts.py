"""Bill of materials of a module: its gates by kind and by the logic that they belong to. Area is a sum over it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from codesign.hardware.rtl.analyse.elaborate import unit_gates
from codesign.hardware.rtl.analyse.gates import AND, AND_OR, LOGIC, MAJORITY, REGISTER, SELECT, XOR, Gates
from codesign.hardware.rtl.emit.unit import Unit
from codesign.hardware.rtl.emit.verilog import SECTIONS

# part -> (kind of gate, logic that it is built for); another gate of the kind counts as the first part that is named
_MADE_OF = {
    "register": (REGISTER, "state"),  # operand, pipeline and accumulator flip-flops
    "detect_and": (AND, "detect"),  # detection of zeros, ones and equality, sticky bits
    "partial_product": (AND, "product"),
    "compress_and": (AND, "compress"),  # carries of half adders
    "carry_and": (AND, "carry"),  # generated and propagated carries
    "select_and": (AND, "select"),  # selectors of a number or zero
    "compress_xor": (XOR, "compress"),  # sums of carry-save adders
    "carry_xor": (XOR, "carry"),  # half sums of adders with a carry tree
    "sum_xor": (XOR, "sum"),
    "invert_xor": (XOR, "invert"),  # signs applied to magnitudes
    "select": (SELECT, "select"),  # two-way selectors
    "compress_majority": (MAJORITY, "compress"),  # carries of full adders
    "carry_and_or": (AND_OR, "carry"),
}
PARTS = tuple(_MADE_OF)
# usual areas of cells, in areas of a NAND of two inputs: what a fit assumes of parts that it cannot tell apart
_CELL = {REGISTER: 5.0, AND: 1.0, XOR: 2.0, SELECT: 2.0, MAJORITY: 2.0, AND_OR: 1.5}
TYPICAL_NAND2 = tuple(_CELL[kind] for kind, _ in _MADE_OF.values())

Counts = npt.NDArray[np.float64]


def _parts() -> npt.NDArray[np.int64]:
    """Index of PARTS by kind and logic; -1 for what takes no area."""
    found = np.full((AND_OR + 1, len(LOGIC)), -1)
    kinds = [kind for kind, _ in _MADE_OF.values()]
    for kind in kinds:
        found[kind] = kinds.index(kind)
    for part, (kind, logic) in enumerate(_MADE_OF.values()):
        found[kind, LOGIC.index(logic)] = part
    return found


_PART = _parts()


def counts_of(gates: Gates) -> Counts:
    """The bill of materials in the order of PARTS, by section of the datapath, float64 [SECTIONS, parts]."""
    part = _PART[gates.kind, gates.logic]
    found = np.zeros((len(SECTIONS), len(PARTS)))
    np.add.at(found, (gates.section[part >= 0], part[part >= 0]), 1)
    return found


@lru_cache(maxsize=65536)
def unit_parts(unit: Unit) -> Counts:
    """The bill of materials of a unit by section, read-only as it is shared."""
    counts = counts_of(unit_gates(unit))
    counts.setflags(write=False)
    return counts


def bill_of_materials(unit: Unit) -> dict[str, int]:
    """Part -> how many of it a unit has, without those that it lacks."""
    counts = unit_parts(unit).sum(axis=0).astype(int).tolist()
    return {part: count for part, count in zip(PARTS, counts, strict=True) if count}
