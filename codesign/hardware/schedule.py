"""One operator on many accelerators in many format pairs: time, traffic and energy.

The rules, all of them per operator, so that the cost of a network is the sum over its layers:

1. Compute. A unit consumes `dot * rate` of K per cycle. The array spreads N over its columns and
   either M (outputs stay) or more of K (weights stay) over its rows; ceilings are the losses.
2. SRAM. It feeds one operand per lane to every row and column and takes one result per column each
   cycle, in the widest formats of the unit; a mapping that reads more waits. The faster of the two
   mappings is taken. What DRAM moves goes through the SRAM once more.
3. DRAM. SRAM is split in fixed shares (data/system.yaml). A tensor between operators stays on chip
   if it fits half of the activation share (one half is read while the other is written). What does not is cut
   into tiles, those of a spilled input in that half, those of weights and sums under way in the tiles' share, double
   buffered, in the sizes and loop order that move least (`tiling`). Outputs are written in the layer's activation
   format.
4. Residence. The resident share is given to weights and KV cache in proportion to their element
   counts: that fraction of a layer's weights is read once per result, the rest on every pass; of a
   mixture of experts the resident part of all experts once, the rest of those that have a token.
5. Attention scores never leave the chip (the two products are fused); a KV cache lives in DRAM, but
   for its resident fraction.
6. What follows a product elementwise (activations, additions, scales) passes the bf16 vector unit on its way out; norms
   and softmax wait for it to end, and read and write a spilled tensor once more.
7. An operator takes as long as the slowest of these, and then its norms and softmax.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from codesign.formats import FormatPair
from codesign.hardware.accelerator import AcceleratorGrid
from codesign.hardware.coefficients import at_node, table
from codesign.hardware.mac import VECTOR_PAIR, vector_mac
from codesign.hardware.operands import operands
from codesign.hardware.tiling import LEAST, Sizes, best_tiling
from codesign.workload.types import Operator

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BOUNDS = ("compute", "sram", "dram", "vector")
_WAITING = ("norm", "softmax")  # vector work that needs whole rows
_RESULT_BYTES = 2  # bf16 towards the vector unit


@dataclass(frozen=True)
class OperatorCost:
    """Per pass of the phase, all calls: arrays [E], one entry per (pair, accelerator) of the Machine.

    times: compute, SRAM, DRAM, and of the vector unit beside and after them. cycles: of the array.
    """

    compute_s: Floats
    sram_s: Floats
    dram_s: Floats
    passing_s: Floats
    waiting_s: Floats
    cycles: Floats
    dram_bytes: Floats
    sram_bytes: Floats
    mac_j: Floats
    sram_j: Floats
    dram_j: Floats
    vector_j: Floats

    @property
    def latency_s(self) -> Floats:
        slowest = np.maximum.reduce([self.compute_s, self.sram_s, self.dram_s, self.passing_s])
        return np.asarray(slowest + self.waiting_s)

    @property
    def vector_s(self) -> Floats:
        return self.passing_s + self.waiting_s

    @property
    def energy_j(self) -> Floats:
        return self.mac_j + self.sram_j + self.dram_j + self.vector_j


def supported_pairs(grid: AcceleratorGrid, pairs: Sequence[FormatPair]) -> npt.NDArray[np.bool_]:
    """Which accelerator runs which pair, bool [A, C]."""
    return np.array([[unit.supports(pair) for pair in pairs] for unit in grid.units])[grid.unit]


@dataclass(frozen=True, eq=False)
class Kinds:
    """The distinct SRAM sizes and operand widths among the entries of a Machine: what traffic depends on, [kinds].

    Bytes an element of both operands; bytes of half the activations' share and of that of tiles; the
    fraction of weights and KV cache that stays on chip.
    """

    weight_bytes: Floats
    input_bytes: Floats
    activation_half: Floats
    tile: Floats
    resident: Floats


@lru_cache(maxsize=1024)
def _kinds(distinct: bytes, resident_elements: int) -> Kinds:
    """distinct: float64 rows of SRAM bytes, bytes a weight and bytes an input."""
    sram, weight, activation = np.frombuffer(distinct).reshape(3, -1)
    shares = table("system.yaml", "shares")
    per_element = sram * shares["resident"].value / max(resident_elements, 1)
    return Kinds(
        weight_bytes=weight,
        input_bytes=activation,
        activation_half=sram * (shares["activations"].value / 2),
        tile=sram * shares["tiles"].value,
        resident=np.minimum(per_element / weight, 1.0),
    )


class Machine:
    """Everything of rules 1-6 that does not depend on the operator, for E pairs on accelerators.

    pair, accelerator: int [E], indices into `pairs` and `grid`; each accelerator must support its
    pair. All other arrays are [E] as well.
    """

    def __init__(
        self,
        grid: AcceleratorGrid,
        pairs: Sequence[FormatPair],
        resident_elements: int,
        pair: Ints,
        accelerator: Ints,
    ) -> None:
        shapes = [operands(p) for p in pairs]
        self.weight_bytes = np.array([w.stored_bits / 8 for w, _ in shapes])[pair]  # per element
        self.input_bytes = np.array([a.stored_bits / 8 for _, a in shapes])[pair]
        self.rows, self.columns = grid.rows[accelerator], grid.columns[accelerator]
        self.clock_hz = grid.clock_hz[accelerator]
        self.vector_lanes = grid.vector_lanes[accelerator]
        self.sram_bytes = grid.sram_bytes[accelerator]
        self._units(grid, pairs, pair, accelerator)
        self._memories(grid, accelerator)
        rows = np.stack([self.sram_bytes, self.weight_bytes, self.input_bytes])
        distinct, kind = np.unique(rows, axis=1, return_inverse=True)
        self.kinds, self.kind = _kinds(distinct.tobytes(), resident_elements), kind.reshape(-1)

    def _units(self, grid: AcceleratorGrid, pairs: Sequence[FormatPair], pair: Ints, accelerator: Ints) -> None:
        rate, energy = np.zeros((len(pairs), len(grid.units))), np.zeros((len(pairs), len(grid.units)))
        for u, unit in enumerate(grid.units):
            for c in [c for c, p in enumerate(pairs) if unit.supports(p)]:
                rate[c, u], energy[c, u] = unit.rate(pairs[c]), unit.energy_pj(pairs[c]).value * 1e-12
        unit_of = grid.unit[accelerator]
        lane = [vector_mac(unit).energy_pj(VECTOR_PAIR).value * 1e-12 for unit in grid.units]
        self.lane_j = np.array(lane)[unit_of]
        self.depth = rate[pair, unit_of] * grid.dot[accelerator]  # of K per cycle and unit
        self.mac_j = energy[pair, unit_of]
        widest = [[operands(p) for p in unit.pairs] for unit in grid.units]
        weight = np.array([max(w.bits for w, _ in shapes) / 8 for shapes in widest])[unit_of]
        activation = np.array([max(a.bits for _, a in shapes) / 8 for shapes in widest])[unit_of]
        operand_ports = grid.dot[accelerator] * (self.columns * weight + self.rows * activation)
        self.sram_bytes_per_s = (operand_ports + self.columns * self.partial_bytes) * self.clock_hz

    def _memories(self, grid: AcceleratorGrid, accelerator: Ints) -> None:
        sram, dram = table("memory.yaml", "sram"), table("memory.yaml", "dram")
        bank = np.minimum(self.sram_bytes / 1024, sram["largest_bank_kib"].value)
        read = sram["read_floor_pj_per_byte"].value + sram["read_slope_pj_per_byte"].value * np.sqrt(bank)
        scale = np.array([at_node("nodes.yaml", "logic_energy", unit.node_nm).value for unit in grid.units])
        self.sram_j = read * scale[grid.unit[accelerator]] * 1e-12
        peak, energy = table("memory.yaml", "dram_gb_per_s"), table("memory.yaml", "dram_pj_per_bit")
        kind = grid.dram[accelerator]
        channel = np.array([peak[name].value for name in grid.drams])[kind]
        self.dram_bytes_per_s = channel * grid.dram_channels[accelerator] * 1e9 * dram["efficiency"].value
        self.dram_j = np.array([energy[name].value for name in grid.drams])[kind] * 8e-12

    @cached_property
    def partial_bytes(self) -> float:
        return table("system.yaml", "accumulator")["partial_sum_bytes"].value

    def run(self, op: Operator, passes: int) -> OperatorCost:
        """The operator's cost; `passes` is how often its layer runs for one result."""
        traffic = dram_traffic(self, op, passes) * op.calls + self._vector_traffic(op)
        cycles, feed = _mapping(self, op, traffic)
        sram_bytes = feed + traffic
        passing, waiting = self._vector_cycles(op)
        lane_seconds = 1 / (self.vector_lanes * self.clock_hz)
        return OperatorCost(
            compute_s=cycles / self.clock_hz,
            sram_s=sram_bytes / self.sram_bytes_per_s,
            dram_s=traffic / self.dram_bytes_per_s,
            passing_s=passing * lane_seconds,
            waiting_s=waiting * lane_seconds,
            cycles=cycles,
            dram_bytes=traffic,
            sram_bytes=sram_bytes,
            mac_j=op.macs * self.mac_j,
            sram_j=sram_bytes * self.sram_j,
            dram_j=traffic * self.dram_j,
            vector_j=(passing + waiting) * self.lane_j,
        )

    def _vector_cycles(self, op: Operator) -> tuple[float, float]:
        """Cycles of one lane, of what passes it on the way out and of what waits for whole rows."""
        each = table("system.yaml", "vector")
        cycles = {kind: elements * each[kind].value for kind, elements in op.vector_elements.items()}
        waiting = sum(count for kind, count in cycles.items() if kind in _WAITING)
        return sum(cycles.values()) - waiting, waiting

    def _vector_traffic(self, op: Operator) -> Floats:
        """DRAM bytes of norms over tensors that do not fit: read and written once more. Scores stay on chip."""
        elements = dict(op.vector).get("norm", 0)
        kinds = self.kinds
        one = elements / op.calls * kinds.input_bytes
        return np.asarray(2 * op.calls * _spilled(one, kinds.activation_half))[self.kind]


def _mapping(machine: Machine, op: Operator, traffic: Floats) -> tuple[Floats, Floats]:
    """(cycles, bytes between array and SRAM) of the faster mapping, all products and calls."""
    repeat = float(op.count * op.calls)
    n_tiles = np.ceil(op.n / machine.columns)
    m_tiles = np.ceil(op.m / machine.rows)
    weights = op.n * op.k * machine.weight_bytes
    inputs = op.m * op.k * machine.input_bytes * n_tiles
    results = float(op.m * op.n * _RESULT_BYTES)
    outputs_stay = np.ceil(op.k / machine.depth) * (m_tiles * n_tiles)
    outputs_feed = inputs + weights * m_tiles + results
    k_tiles = np.ceil(op.k / (machine.depth * machine.rows))
    weights_stay = k_tiles * (op.m * n_tiles)
    spills = (k_tiles - 1) * (2.0 * op.m * op.n * machine.partial_bytes)
    weights_feed = inputs + weights + results + spills

    def time(cycles: Floats, feed: Floats) -> Floats:
        moved = (feed * repeat + traffic) / machine.sram_bytes_per_s
        return np.asarray(np.maximum(cycles * repeat / machine.clock_hz, moved), dtype=np.float64)

    first = time(outputs_stay, outputs_feed) <= time(weights_stay, weights_feed)
    return np.where(first, outputs_stay, weights_stay) * repeat, np.where(first, outputs_feed, weights_feed) * repeat


def dram_traffic(machine: Machine, op: Operator, passes: int) -> Floats:
    """DRAM bytes of one call, [E] (rules 3-5); infinite where no tile fits."""
    return _traffic(op, passes, machine.kinds, machine.partial_bytes)[machine.kind]


@lru_cache(maxsize=65536)
def _traffic(op: Operator, passes: int, kinds: Kinds, partial_bytes: float) -> Floats:
    """`dram_traffic` of every kind."""
    inputs, outputs = tensor_elements(op)
    half, away = kinds.activation_half, 1.0 - kinds.resident
    if op.is_attention:
        fresh = (op.stationary_elements - op.kv_read_elements) * kinds.weight_bytes
        stationary = away * (op.kv_read_elements * kinds.weight_bytes) + _spilled(fresh, half)
        once = away * (op.kv_write_elements * kinds.weight_bytes)
    else:
        weights = op.stationary_elements * kinds.weight_bytes
        stationary = away * weights
        once = kinds.resident * (op.weight_elements * kinds.weight_bytes / passes)
    gemm = np.array([op.m * op.k, op.k * op.n, op.m * op.n], dtype=np.float64) * op.count
    read = _spilled(inputs * kinds.input_bytes, half) / gemm[0]  # an implicit GEMM stores less than m x k
    sizes = Sizes(
        input=read,
        weight=stationary / gemm[1],
        output=_spilled(outputs * kinds.input_bytes, half) / gemm[2],
        input_tile=read,
        weight_tile=op.stationary_elements * kinds.weight_bytes / gemm[1],
        partial=np.full_like(half, partial_bytes),
        input_room=half,
        room=kinds.tile,
    )
    moved = best_tiling(op.m, op.n, op.k, sizes).total * op.count
    return np.asarray(moved + once)


def least_sram_bytes(weight_bytes: float, input_bytes: float) -> float:
    """SRAM that holds the smallest tiles of operands of so many bytes an element."""
    shares, partial = table("system.yaml", "shares"), table("system.yaml", "accumulator")["partial_sum_bytes"].value
    m, n, k = LEAST
    inputs = 2 * m * k * input_bytes / (shares["activations"].value / 2)
    return max(inputs, (2 * n * k * weight_bytes + m * n * partial) / shares["tiles"].value)


def tensor_elements(op: Operator) -> tuple[int, int]:
    """(input, output) elements that exist outside of the operator: fused attention scores do not."""
    inputs = 0 if op.kind == "attention_pv" else op.input_elements
    outputs = 0 if op.kind == "attention_qk" else op.output_elements
    return inputs, outputs


def _spilled(size: Floats, room: Floats) -> Floats:
    """Bytes of a tensor that go through DRAM: all of it, or none where it fits its room."""
    return np.where(size <= room, 0.0, size)
