"""Cost of one operator on many accelerators in many format pairs (rules 1, 2, 6 and 7 of `schedule`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codesign.formats import FormatPair, get_format
from codesign.hardware.arithmetic.operands import Stored, operands
from codesign.hardware.chip import memory
from codesign.hardware.chip.axes import ENERGIES, RATES
from codesign.hardware.chip.grid import AcceleratorGrid
from codesign.hardware.schedule.footprint import Footprint
from codesign.hardware.schedule.traffic import Kinds, Memory, kinds_of, partial_sum_bytes, traffic
from codesign.hardware.units.coefficients import table
from codesign.hardware.units.mac import VECTOR_PAIR, MacUnit, vector_mac
from codesign.hardware.units.requantizers import requantizer_cost
from codesign.workload.types import Operator

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BOUNDS = ("compute", "sram", "dram", "flash", "vector")
_AFTER = ("norm", "softmax")  # vector work that needs whole rows, and so starts after the product
_RESULT_BYTES = 2  # bf16, to the vector unit


@dataclass(frozen=True)
class OperatorCost:
    """Cost of an operator per pass, all calls: arrays [E], one entry per (pair, accelerator) of the Machine."""

    compute_s: Floats
    sram_s: Floats
    dram_s: Floats
    flash_s: Floats
    passing_s: Floats  # vector unit, while the product runs
    after_s: Floats  # vector unit, beside the product: norms and softmax after it, ranges of convolutions before it
    cycles: Floats  # of the array
    dram_bytes: Floats
    sram_bytes: Floats
    mac_j: Floats
    sram_j: Floats
    dram_j: Floats
    flash_j: Floats
    vector_j: Floats

    @property
    def latency_s(self) -> Floats:
        slowest = np.maximum.reduce([self.compute_s, self.sram_s, self.dram_s, self.flash_s, self.passing_s])
        return np.asarray(slowest + self.after_s)

    @property
    def vector_s(self) -> Floats:
        return self.passing_s + self.after_s

    @property
    def energy_j(self) -> Floats:
        return self.mac_j + self.sram_j + self.dram_j + self.flash_j + self.vector_j


def supported_pairs(grid: AcceleratorGrid, pairs: Sequence[FormatPair]) -> npt.NDArray[np.bool_]:
    """Whether each accelerator supports each pair, bool [A, C]."""
    return np.array([[unit.supports(pair) for pair in pairs] for unit in grid.units])[grid.unit]


class _Blocks:
    """How the formats of E entries divide runs of elements into blocks."""

    def __init__(self, pairs: Sequence[FormatPair], pair: Ints) -> None:
        self._stored = [tuple(operand.stored for operand in operands(p)) for p in pairs]
        self._pair = pair
        self._found: dict[tuple[str, int], Floats] = {}

    def weight_bytes(self, run: int) -> Floats:
        """Bytes per element of a stationary operand in runs of `run` elements, [E]."""
        return self._each("weight", run, lambda weight, _: weight.bytes_per_element(run))

    def input_bytes(self, run: int) -> Floats:
        """Bytes per element of an input in runs of `run` elements, [E]."""
        return self._each("input", run, lambda _, activation: activation.bytes_per_element(run))

    def padded(self, run: int) -> Floats:
        """Elements of a run after it is filled up to whole blocks, of the format with the larger ones, [E]."""
        return self._each("padded", run, lambda weight, activation: run + -run % max(weight.block, activation.block, 1))

    def _each(self, name: str, run: int, of_pair: Callable[[Stored, Stored], float]) -> Floats:
        if (name, run) not in self._found:
            self._found[name, run] = np.array([of_pair(*stored) for stored in self._stored], np.float64)[self._pair]
        return self._found[name, run]


class _Tokens:
    """Cycles of a lane for the scales per token of E entries (rule 10 of `schedule`); 0 in other formats."""

    def __init__(self, pairs: Sequence[FormatPair], pair: Ints) -> None:
        each = table("system.yaml", "token")
        stationary = np.array([_bounds(p.weight) for p in pairs])
        streamed = np.array([_bounds(p.activation) for p in pairs])
        self._any = bool(stationary.any() or streamed.any())
        self._stationary = (stationary * each["bound"].value)[pair]  # per element
        self._streamed = (streamed * each["bound"].value)[pair]
        self._rescale = np.where(streamed > 0, each["rescale"].value, 0.0)[pair]  # per result

    def cycles(self, op: Operator) -> tuple[Floats | float, Floats | float]:
        """Cycles for an operator, all calls: (while the product runs, before it)."""
        if not self._any:
            return 0.0, 0.0
        ranges = self._streamed * op.input_elements
        if op.is_attention:  # those of the cache were scaled when they were written to it
            ranges = ranges + self._stationary * (op.stationary_elements - op.kv_read_elements)
        rescaled = self._rescale * (op.m * op.n * op.count)
        if op.kind == "conv":
            return rescaled * op.calls, ranges * op.calls
        return (ranges + rescaled) * op.calls, 0.0


def _bounds(name: str) -> int:
    """How many bounds of a range are taken from the data: 0 with other scales, 2 with a zero point."""
    form = get_format(name)
    return (2 if form.has_zero_point else 1) if form.per_token else 0


def _places(formats: Sequence[Stored]) -> Ints:
    """For each of `formats`, the place of the first one equal to it."""
    return np.array([formats.index(one) for one in formats])


class Machine:
    """Precomputed rates and energies of E (pair, accelerator) entries, independent of the operator.

    pair, accelerator: int [E], indices into `pairs` and `grid`; each accelerator must support its pair. All array
    attributes have shape [E].
    """

    def __init__(
        self,
        grid: AcceleratorGrid,
        pairs: Sequence[FormatPair],
        footprint: Footprint,
        pair: Ints,
        accelerator: Ints,
    ) -> None:
        self.blocks, self._tokens = _Blocks(pairs, pair), _Tokens(pairs, pair)
        self.rows, self.columns = grid.rows[accelerator], grid.columns[accelerator]
        self.clock_hz = grid.reached_hz[accelerator]
        self.vector_lanes = grid.vector_lanes[accelerator]
        self._footprint, self._kinds = footprint, dict[tuple[int, int, int], Kinds]()
        self._units(grid, pairs, pair, accelerator)
        self._memories(grid, pairs, pair, accelerator)
        for part in (*RATES, *ENERGIES):
            factor = grid.factors(part)
            if isinstance(factor, np.ndarray):
                setattr(self, part, getattr(self, part) * factor[accelerator])

    def _units(self, grid: AcceleratorGrid, pairs: Sequence[FormatPair], pair: Ints, accelerator: Ints) -> None:
        rate, energy = np.zeros((len(pairs), len(grid.units))), np.zeros((len(pairs), len(grid.units)))
        for u, unit in enumerate(grid.units):
            for c in [c for c, p in enumerate(pairs) if unit.supports(p)]:
                rate[c, u], energy[c, u] = unit.rate(pairs[c]), unit.energy_pj(pairs[c]).value * 1e-12
        unit_of = grid.unit[accelerator]
        lane = [vector_mac(unit).energy_pj(VECTOR_PAIR).value * 1e-12 for unit in grid.units]
        self.lane_j = np.array(lane)[unit_of]
        self.quantize_j = _quantizing([p.activation for p in pairs], grid.units)[pair, unit_of]
        self.quantize_stationary_j = _quantizing([p.weight for p in pairs], grid.units)[pair, unit_of]
        self.depth = rate[pair, unit_of] * grid.dot[accelerator]  # K consumed per cycle by a unit
        self.mac_j = energy[pair, unit_of]

    def _memories(self, grid: AcceleratorGrid, pairs: Sequence[FormatPair], pair: Ints, accelerator: Ints) -> None:
        self.sram_bytes_per_s = (memory.sram_bytes_per_cycle(grid) * grid.reached_hz)[accelerator]
        self.sram_j = memory.sram_j_per_byte(grid)[accelerator]
        self.dram_bytes_per_s = memory.dram_bytes_per_s(grid)[accelerator]
        self.dram_j = memory.dram_j_per_byte(grid)[accelerator]
        self.flash_bytes_per_s = memory.flash_bytes_per_s(grid)[accelerator]
        self.flash_j = memory.flash_j_per_byte(grid)[accelerator]
        ratio = memory.compression_ratios(grid, pairs)[grid.codec[accelerator], pair]
        room = np.where(grid.has_flash, grid.dram_gib * 2.0**30, np.inf)[accelerator]
        weights, activations = zip(*([operand.stored for operand in operands(p)] for p in pairs), strict=True)
        waits = np.array([_bounds(p.activation) > 0 for p in pairs], np.float64)[pair]
        sizes = grid.sram_bytes[accelerator], _places(weights)[pair], _places(activations)[pair]
        columns = (*sizes, ratio, room, waits)
        distinct, kind = np.unique(np.stack(columns), axis=1, return_inverse=True)
        self._memory = tuple(
            Memory(sram, weights[int(w)], activations[int(a)], *rest) for sram, w, a, *rest in distinct.T.tolist()
        )
        self.kind = kind.reshape(-1)

    def kinds(self, op: Operator) -> Kinds:
        """The distinct memories for the operands of an operator; `kind`, int [E], says which each entry has."""
        if op.runs not in self._kinds:
            self._kinds[op.runs] = kinds_of(self._memory, self._footprint, op.runs)
        return self._kinds[op.runs]

    def run(self, op: Operator, passes: int) -> OperatorCost:
        """Cost of an operator; `passes`: how often its layer runs for one result."""
        found = traffic(op, passes, self.kinds(op))
        dram, flash = found.dram[self.kind], found.flash[self.kind]
        cycles, feed = _mapping(self, op, dram)
        sram_bytes = feed + dram
        passing, after = self._vector_cycles(op)
        lane_seconds = 1 / (self.vector_lanes * self.clock_hz)
        return OperatorCost(
            compute_s=cycles / self.clock_hz,
            sram_s=sram_bytes / self.sram_bytes_per_s,
            dram_s=dram / self.dram_bytes_per_s,
            flash_s=flash / self.flash_bytes_per_s,
            passing_s=passing * lane_seconds,
            after_s=after * lane_seconds,
            cycles=cycles,
            dram_bytes=dram,
            sram_bytes=sram_bytes,
            mac_j=op.macs * self.mac_j,
            sram_j=sram_bytes * self.sram_j,
            dram_j=dram * self.dram_j,
            flash_j=flash * self.flash_j,
            vector_j=(passing + after) * self.lane_j + self._quantize_j(op),
        )

    def _quantize_j(self, op: Operator) -> Floats:
        """Energy of requantizing the input, and new keys or values of an attention product, all calls."""
        found = op.input_elements * self.quantize_j
        if op.is_attention:
            found = found + (op.stationary_elements - op.kv_read_elements) * self.quantize_stationary_j
        return np.asarray(found * op.calls, np.float64)

    def _vector_cycles(self, op: Operator) -> tuple[Floats | float, Floats | float]:
        """Cycles of one lane: (while the product runs, before and after it)."""
        each = table("system.yaml", "vector")
        cycles = {kind: elements * each[kind].value for kind, elements in op.vector_elements.items()}
        after = sum(count for kind, count in cycles.items() if kind in _AFTER)
        passing, before = self._tokens.cycles(op)
        return sum(cycles.values()) - after + passing, after + before


def _quantizing(names: Sequence[str], units: Sequence[MacUnit]) -> Floats:
    """Energy of requantizing one number to each format beside each unit, [formats, units] in J; casts are free."""
    found = np.zeros((len(names), len(units)))
    for f, name in enumerate(names):
        for u, unit in enumerate(units):
            cost = requantizer_cost(name, unit)
            if cost is not None and cost.kind != "cast":
                found[f, u] = cost.energy_pj.value * 1e-12
    return found


def _mapping(machine: Machine, op: Operator, dram: Floats) -> tuple[Floats, Floats]:
    """(cycles, bytes between array and SRAM) of the faster of the two mappings, all products and calls.

    Output-stationary or weight-stationary, where the latter spills partial sums between tiles of K.
    """
    repeat = float(op.count * op.calls)
    n_tiles = np.ceil(op.n / machine.columns)
    m_tiles = np.ceil(op.m / machine.rows)
    of_weight, of_input, _ = op.runs
    weights = op.n * op.k * machine.blocks.weight_bytes(of_weight)
    inputs = op.m * op.k * machine.blocks.input_bytes(of_input) * n_tiles
    results = float(op.m * op.n * _RESULT_BYTES)
    k = op.taps * machine.blocks.padded(of_weight)
    output_stationary = np.ceil(k / machine.depth) * (m_tiles * n_tiles)
    output_feed = inputs + weights * m_tiles + results
    partial = partial_sum_bytes()
    k_tiles = np.ceil(k / (machine.depth * machine.rows))
    weight_stationary = k_tiles * (op.m * n_tiles)
    spills = (k_tiles - 1) * (2.0 * op.m * op.n * partial)
    weight_feed = inputs + weights + results + spills

    def time(cycles: Floats, feed: Floats) -> Floats:
        moved = (feed * repeat + dram) / machine.sram_bytes_per_s
        return np.asarray(np.maximum(cycles * repeat / machine.clock_hz, moved), dtype=np.float64)

    first = time(output_stationary, output_feed) <= time(weight_stationary, weight_feed)
    cycles = np.where(first, output_stationary, weight_stationary)
    return cycles * repeat, np.where(first, output_feed, weight_feed) * repeat
