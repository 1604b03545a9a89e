"""Searches of a grid of chips, and the rows and estimates that several questions share."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from codesign.answers.answer import Column, Estimate, Value
from codesign.errors import InputError
from codesign.formats import Assignment, FormatPair
from codesign.hardware import Accelerator, AcceleratorGrid, AssignmentTotals, Cost, cost
from codesign.hardware.chip.accelerator import AXES, check_clock, check_value
from codesign.hardware.chip.memory import dram_bytes_per_s
from codesign.hardware.chip.memory_types import memory_type
from codesign.hardware.schedule.chunks import priced
from codesign.hardware.schedule.operators import operator_pairs
from codesign.hardware.schedule.roofline import bound_shares, roofline
from codesign.hardware.units.coefficients import at_node, table
from codesign.hardware.units.mac import MacUnit
from codesign.workload import Workload

# values of the axes among which the smallest chip is found; what a question asks for replaces them
USUAL: Mapping[str, Sequence[Any]] = {
    "dot": (16, 32),
    "rows": (2, 4, 8, 16, 24, 32, 48, 64, 96, 128),
    "columns": (2, 4, 8, 16, 24, 32, 48, 64, 96, 128),
    "sram_bytes": tuple(kib * 1024 for kib in (256, 512, 1024, 2048, 3072, 4096, 6144, 8192, 12288, 16384)),
    "dram_channels": (4,),
    "clock_hz": (1e9,),
    "vector_lanes": (16, 32, 64, 128, 256, 512, 1024),
}
CHIP = (
    Column("formats", "formats"),
    Column("node_nm", "node, nm"),
    Column("area_mm2", "area", "mm2"),
    Column("area", "interval of the area, mm2"),
    Column("array", "array"),
    Column("macs_per_cycle", "MACs per cycle", "count"),
    Column("sram_kib", "SRAM, KiB"),
    Column("vector_lanes", "vector lanes"),
    Column("energy_j", "energy", "J"),
    Column("dram_bytes", "DRAM traffic", "B"),
    Column("bound", "bound by"),
)


@dataclass(frozen=True)
class Chips:
    """The grids of one search: one for each set of formats and node, as clocks differ that their units reach."""

    nodes: Sequence[float]
    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict)  # in place of USUAL

    def grid(self, pairs: Sequence[FormatPair], node_nm: float) -> AcceleratorGrid:
        """All chips whose units support these pairs; clocks that a unit does not reach are left out.

        Raises InputError if no unit reaches any of the clocks, or a value is out of range.
        """
        listed: dict[str, Any] = {**USUAL, **self.axes}
        for name, values in listed.items():
            for value in values:
                check_value(AXES[name], value)
        clocks, refused = [], ""
        for clock in listed["clock_hz"]:
            try:
                for dot in listed["dot"]:
                    check_clock(MacUnit(tuple(pairs), dot=dot, node_nm=node_nm, clock_ghz=clock / 1e9))
                clocks.append(clock)
            except InputError as error:
                refused = str(error)
        if not clocks:
            raise InputError(refused)
        listed["clock_hz"] = clocks
        return AcceleratorGrid.from_ranges(pair_sets=[pairs], node_nm=[node_nm], **listed)


@dataclass(frozen=True)
class Mix:
    """Formats for the layers of a network, and the name by which tables show them."""

    name: str
    assignment: Assignment
    pairs: tuple[FormatPair, ...]  # that the units support
    main: FormatPair  # of most MACs

    @classmethod
    def of(cls, name: str, workload: Workload, assignment: Assignment, pairs: Sequence[FormatPair] = ()) -> Mix:
        """`assignment` under a name; pairs: that units support, by default those that `workload` needs."""
        macs: Counter[FormatPair] = Counter()
        for op, pair in zip(workload.operators, operator_pairs(workload, assignment), strict=True):
            macs[pair.datapath] += op.macs * workload.repeats.get(op.phase, 1)
        return cls(name, assignment, tuple(pairs) or tuple(macs), macs.most_common(1)[0][0])

    @classmethod
    def uniform(cls, workload: Workload, pair: str) -> Mix:
        """All layers in one pair."""
        return cls.of(pair, workload, Assignment.uniform(workload, pair))


@dataclass(frozen=True)
class Found:
    """A chip with a network on it."""

    mix: Mix
    chip: Accelerator
    cost: Cost
    bounds: Mapping[str, float]  # bound -> share of the latency that it limits

    @classmethod
    def of(cls, workload: Workload, chip: Accelerator, mix: Mix, phase: str = "") -> Found:
        """`chip` with the layers of `workload` in `mix`; phase: that whose bounds are meant, by default all."""
        points = [point for point in roofline(workload, chip, mix.assignment) if phase in ("", point.phase)]
        whole = sum(point.share for point in points)
        shares = {bound: share / whole for bound, share in bound_shares(points).items()}
        return cls(mix, chip, cost(workload, chip, mix.assignment), shares)

    @property
    def formats(self) -> str:
        return self.mix.name

    @property
    def lanes(self) -> int:
        """MACs per cycle, in the pair of most MACs."""
        return self.chip.rows * self.chip.columns * self.chip.dot * self.chip.unit.rate(self.mix.main)

    @property
    def bound(self) -> str:
        return ", ".join(f"{name} {share:.0%}" for name, share in self.bounds.items() if share >= 0.05)

    def row(self, **more: Value) -> dict[str, Value]:
        """The values of the columns CHIP and of `more`."""
        return more | {
            "formats": self.formats,
            "node_nm": self.chip.node_nm,
            "area_mm2": self.cost.area_mm2,
            "area": f"{self.cost.area_low_mm2:.3g} to {self.cost.area_high_mm2:.3g}",
            "area_low_mm2": self.cost.area_low_mm2,
            "area_high_mm2": self.cost.area_high_mm2,
            "array": f"{self.chip.rows} x {self.chip.columns} of dot-{self.chip.dot}",
            "macs_per_cycle": self.lanes,
            "clock_hz": self.chip.reached_hz,
            "sram_kib": self.chip.sram_bytes / 1024,
            "vector_lanes": self.chip.vector_lanes,
            "latency_s": self.cost.latency_s,
            "energy_j": self.cost.energy_j,
            "dram_bytes": self.cost.dram_bytes,
            "bound": self.bound,
        }


@dataclass(frozen=True)
class Smallest:
    """The smallest chips of one mix at one node, and how near the grid comes to a limit that none of it meets."""

    found: tuple[Found | None, ...]  # for each limit
    least: float  # the least value of the limited field in the grid; infinite if the network runs on no chip
    priced: int  # number of chips


def smallest(
    workload: Workload,
    mix: Mix,
    grid: AcceleratorGrid,
    limits: Sequence[float],
    field_name: str = "latency_s",
) -> Smallest:
    """The chip of least area whose `field_name` is at most each of `limits`.

    Args:
        workload: the network.
        mix: formats of its layers.
        grid: chips to choose from, all with units for these formats.
        limits: largest values of the field.
        field_name: latency_s, or latency_per_token_s of a network that writes tokens.
    """
    totals = {"": AssignmentTotals(workload, [mix.assignment])}
    best: list[tuple[float, int]] = [(np.inf, -1)] * len(limits)
    least = np.inf
    for part in priced(grid, totals):
        values, area = part.costs[""][field_name][:, 0], part.areas.value.sum(axis=1)
        least = min(least, float(values.min()))
        for i, limit in enumerate(limits):
            within = np.where(values <= limit, area, np.inf)
            at = int(within.argmin())
            if within[at] < best[i][0]:
                best[i] = float(within[at]), part.start + at
    phase = "decode" if field_name == "latency_per_token_s" else ""
    chips = [None if at < 0 else Found.of(workload, grid[at], mix, phase) for _, at in best]
    return Smallest(tuple(chips), least, len(grid))


def phases(workload: Workload) -> str:
    """MACs of a result, phase by phase, as one writes the sum by hand."""
    each = [(workload.repeats.get(phase, 1), f"{workload.macs(phase) / 1e9:.4g} G") for phase in workload.phases]
    return " + ".join(f"{passes} x {macs}" if passes > 1 else macs for passes, macs in each)


def envelope(workload: Workload, found: Found, limit_s: float) -> list[Estimate]:
    """Estimates by hand of a chip that is to give a result in `limit_s`: its lanes, array, SRAM and memory."""
    chip, name = found.chip, f" ({found.formats})"
    clock, macs = chip.reached_hz, workload.macs()
    lanes = macs / (clock * limit_s)
    of = {part.name: part.area_mm2 for part in found.cost.components}
    area = table("system.yaml", "area")
    unit = chip.unit.area_um2.value
    each = unit / (found.lanes / (chip.rows * chip.columns)) / area["placement"].value * area["array_overhead"].value
    cell = at_node("memory.yaml", "bitcell_um2", chip.node_nm).value
    efficiency = table("memory.yaml", "sram")["array_efficiency"].value
    weights = found.cost.weight_bytes
    bandwidth = float(dram_bytes_per_s(AcceleratorGrid.of([chip]))[0])
    return [
        Estimate(
            "MACs per cycle" + name, lanes, found.lanes, "count",
            f"{phases(workload)} = {macs / 1e12:.3g} T MACs in {limit_s:g} s at {clock / 1e9:g} GHz, all lanes busy",
        ),
        Estimate(
            "array" + name, lanes * each * 1e-6, of["mac_array"], "mm2",
            f"those lanes of {each:.3g} um2: {unit / found.lanes * chip.rows * chip.columns:.3g} um2 of cells "
            f"(codesign mac) over {area['placement'].value:g} placed, times {area['array_overhead'].value:g}",
        ),
        Estimate(
            "SRAM" + name, chip.sram_bytes * 8 * cell * 1e-6 / efficiency, of["sram"], "mm2",
            f"{chip.sram_bytes / 2**20:g} MiB of {cell:g} um2 a bit, {efficiency:.0%} of it cells",
        ),
        Estimate(
            "DRAM time" + name, found.cost.dram_bytes / bandwidth, found.cost.latency_s, "s",
            f"{found.cost.dram_bytes / 1e9:.3g} GB over {bandwidth / 1e9:.3g} GB/s (weights of {weights / 1e9:.3g} GB "
            "are read again in every pass): what the latency would be if only DRAM counted",
        ),
    ]  # fmt: skip


def energy_by_hand(workload: Workload, found: Found) -> Estimate:
    """DRAM and units alone, which most of the energy is."""
    chip, macs = found.chip, workload.macs()
    per_bit, each = memory_type("dram", chip.dram).pj_per_bit.value, chip.unit.energy_pj(found.mix.main).value
    return Estimate(
        f"energy: {found.formats} at {chip.node_nm:g} nm",
        (found.cost.dram_bytes * 8 * per_bit + macs * each) * 1e-12, found.cost.energy_j, "J",
        f"{found.cost.dram_bytes / 1e9:.3g} GB of DRAM traffic at {per_bit:g} pJ a bit and {macs / 1e12:.3g} T MACs of "
        f"{each:.3g} pJ (codesign mac); SRAM and vector unit are left out",
    )  # fmt: skip


def described(axes: Mapping[str, Sequence[Any]]) -> str:
    """How many chips a search compares, and along which axes."""
    listed = {**USUAL, **axes}
    names = ", ".join(f"{len(values)} of {name}" for name, values in listed.items() if len(values) > 1)
    return f"{prod(map(len, listed.values())):,} chips for each pair of formats and node: {names}"


def pairs_and_nodes(pairs: Sequence[str], nodes: Sequence[float]) -> list[tuple[str, float]]:
    return list(itertools.product(pairs, nodes))
