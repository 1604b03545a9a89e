"""`cost_tables`: the cost of every (layer, format pair) on every accelerator of a grid.

All rules of `schedule` apply to one operator at a time, so that the cost of an assignment is the sum of its layers'
entries; it equals `cost`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from codesign.errors import InputError
from codesign.formats import FormatPair
from codesign.hardware.arithmetic.operands import operands
from codesign.hardware.chip.area import areas
from codesign.hardware.chip.grid import AcceleratorGrid
from codesign.hardware.chip.memory import compression_ratios
from codesign.hardware.schedule.footprint import (
    Footprint,
    cache_elements,
    largest,
    layer_passes,
    other_bytes,
    stored_weights,
    tensor_bytes,
)
from codesign.hardware.schedule.machine import Machine, supported_pairs
from codesign.workload.types import Operator, Workload

_CHUNK = 8192  # entries priced at once, so that their arrays stay in cache
_FEW = 256  # largest number of accelerators for which the table is copied
FIELDS = (
    "area_mm2",
    "latency_s",
    "latency_per_token_s",
    "energy_j",
    "dram_bytes",
    "dram_capacity_bytes",
    "weight_bytes",
    "bitops",
)


@dataclass(frozen=True)
class CostTables:
    """Additive costs of one workload on A accelerators; infinite where an accelerator does not support a pair."""

    phases: tuple[str, ...]  # P
    layers: tuple[str, ...]  # L
    pairs: tuple[FormatPair, ...]  # C
    repeats: Mapping[str, int]  # phase -> passes per result
    _latency: np.ndarray  # [P, L, C, A] seconds per pass
    _energy: np.ndarray  # [L, C, A] J per result
    _dram: np.ndarray  # [L, C, A] bytes of DRAM traffic per result
    weight_bytes: np.ndarray  # [L, C], before compression
    kv_bytes: np.ndarray  # [L, C]
    activation_bytes: np.ndarray  # [L, C], largest input and output of an operator of the layer
    bitops: np.ndarray  # [L, C]
    other_bytes: float  # parameters that are not weights of a layer
    supported: np.ndarray  # bool [A, C]
    area_mm2: np.ndarray  # [A]
    ratios: np.ndarray  # [codecs, C], compression ratios of weights
    codec: np.ndarray  # int [A], index into ratios
    dram_room: np.ndarray  # [A] bytes of DRAM for networks
    has_flash: np.ndarray  # bool [A]

    @property
    def latency_s(self) -> np.ndarray:
        """Seconds per pass, [P, A, L, C] (a view)."""
        return self._latency.transpose(0, 3, 1, 2)

    @property
    def energy_j(self) -> np.ndarray:
        """Joules per result, [A, L, C] (a view)."""
        return self._energy.transpose(2, 0, 1)

    @property
    def dram_bytes(self) -> np.ndarray:
        """Bytes of DRAM traffic per result, [A, L, C] (a view)."""
        return self._dram.transpose(2, 0, 1)

    @property
    def result_latency_s(self) -> np.ndarray:
        """Seconds per result, all phases times their repeats, [A, L, C] (a view)."""
        return self._total_latency.transpose(2, 0, 1)

    @cached_property
    def _total_latency(self) -> np.ndarray:
        times = [self.repeats.get(phase, 1) for phase in self.phases]
        return np.asarray(sum(n * part for n, part in zip(times, self._latency, strict=True)))

    def evaluate(self, choice: np.ndarray, accelerators: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """All of FIELDS that the workload has, float64 [A, S], for choices int [S, L]."""
        fields = [f for f in FIELDS if f != "latency_per_token_s" or "decode" in self.phases]
        return self.totals(fields, choice, accelerators)

    def totals(
        self,
        fields: Sequence[str],
        choice: np.ndarray,
        accelerators: np.ndarray | None = None,
        *,
        paired: bool = False,
    ) -> dict[str, np.ndarray]:
        """The given fields for all combinations of accelerators and assignments.

        choice: int [S, L], pair index per layer; accelerators: int [A'], indices (default: all).
        Returns float64 [A', S] per field, or [S] if ``paired``: accelerator i with choice i.
        Raises InputError on an unknown field or a choice of the wrong shape.
        """
        choice = np.asarray(choice)
        if choice.ndim != 2 or choice.shape[1] != len(self.layers):
            raise InputError(f"choice must have shape [assignments, {len(self.layers)}], not {list(choice.shape)}")
        members = np.arange(len(self.area_mm2)) if accelerators is None else np.asarray(accelerators)
        return {field: self._field(field, choice, members, paired) for field in fields}

    def additive(self, field: str, accelerators: np.ndarray | None = None) -> np.ndarray:
        """The additive entries of a field, [A', L, C]; infinite where a pair is not supported.

        Of dram_capacity_bytes, activations are left out, whose maximum counts and not their sum.
        Raises InputError on a field that is not a sum over layers.
        """
        members = np.arange(len(self.area_mm2)) if accelerators is None else np.asarray(accelerators)
        parts = {"latency_s": self._total_latency, "energy_j": self._energy, "dram_bytes": self._dram}
        if field == "latency_per_token_s" and "decode" in self.phases:
            parts[field] = self._latency[self.phases.index("decode")]
        if field in parts:
            return parts[field][:, :, members].transpose(2, 0, 1)
        sizes = {"weight_bytes": self.weight_bytes, "bitops": self.bitops}
        if field == "dram_capacity_bytes":
            ratios = self.ratios[self.codec[members]][:, None, :]
            sizes[field] = self.weight_bytes / ratios + self.kv_bytes
        if field not in sizes:
            raise InputError(f"'{field}' is no sum over the layers of this workload")
        return np.where(self.supported[members][:, None, :], sizes[field], np.inf)

    def fits(self, choice: np.ndarray, accelerators: np.ndarray | None = None, *, paired: bool = False) -> np.ndarray:
        """Whether the DRAM holds the network (with flash: all but its weights): bool, shaped as in `totals`."""
        members = np.arange(len(self.area_mm2)) if accelerators is None else np.asarray(accelerators)
        whole = self._field("dram_capacity_bytes", choice, members, paired)
        weights = self._stored_weights(choice, members, paired)
        flash, room = self.has_flash[members], self.dram_room[members]
        if not paired:
            flash, room = flash[:, None], room[:, None]
        return np.asarray(whole - np.where(flash, weights, 0.0) <= room)

    def always_fit(self) -> bool:
        """Whether every choice of formats fits the DRAM of every accelerator, by a sufficient condition."""
        most = self.weight_bytes.max(axis=1).sum() / min(1.0, float(self.ratios.min()))
        most += self.kv_bytes.max(axis=1).sum() + self.activation_bytes.max() + self.other_bytes
        return bool(most <= self.dram_room.min())

    def room(self, accelerators: np.ndarray) -> np.ndarray:
        """Bytes of DRAM left for weights and caches beside the largest activations, [A']; inf with flash."""
        beside = self.activation_bytes.max() + self.other_bytes
        return np.where(self.has_flash[accelerators], np.inf, self.dram_room[accelerators] - beside)

    def latency_per_pass(self, choice: np.ndarray, accelerators: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Phase -> seconds of one pass, float64 [A', S]."""
        members = np.arange(len(self.area_mm2)) if accelerators is None else np.asarray(accelerators)
        return {
            phase: _gather(self._latency[p], np.asarray(choice), members, False) for p, phase in enumerate(self.phases)
        }

    def _field(self, field: str, choice: np.ndarray, members: np.ndarray, paired: bool) -> np.ndarray:
        if field in ("latency_s", "energy_j", "dram_bytes"):
            part = {"latency_s": self._total_latency, "energy_j": self._energy, "dram_bytes": self._dram}[field]
            return _gather(part, choice, members, paired)
        if field == "latency_per_token_s" and "decode" in self.phases:
            return _gather(self._latency[self.phases.index("decode")], choice, members, paired)
        shape = (len(choice),) if paired else (len(members), len(choice))
        if field == "area_mm2":
            area = self.area_mm2[members]
            return np.broadcast_to(area if paired else area[:, None], shape)
        if field not in FIELDS or field == "latency_per_token_s":
            raise InputError(f"unknown cost field '{field}'; valid: {', '.join(FIELDS)}")
        found = self._of_assignment(field, choice)
        if field == "dram_capacity_bytes":
            found = found + self._stored_weights(choice, members, paired)
        return np.broadcast_to(found, shape)

    def _stored_weights(self, choice: np.ndarray, members: np.ndarray, paired: bool) -> np.ndarray:
        """Bytes of compressed weights, [A', S], or [S] if paired."""
        rows = np.arange(len(self.layers))
        raw = self.weight_bytes[rows, choice]
        by_codec = np.stack([(raw / ratio[choice]).sum(axis=1) for ratio in self.ratios])
        codec = self.codec[members]
        return np.asarray(by_codec[codec, np.arange(len(choice))] if paired else by_codec[codec])

    def _of_assignment(self, field: str, choice: np.ndarray) -> np.ndarray:
        """Fields that do not depend on the accelerator, float64 [S]; dram_capacity_bytes without weights."""
        rows = np.arange(len(self.layers))
        if field == "weight_bytes":
            return np.asarray(self.weight_bytes[rows, choice].sum(axis=1))
        if field == "bitops":
            return np.asarray(self.bitops[rows, choice].sum(axis=1))
        cached = self.kv_bytes[rows, choice].sum(axis=1)
        return np.asarray(cached + self.activation_bytes[rows, choice].max(axis=1) + self.other_bytes)


def _gather(part: np.ndarray, choice: np.ndarray, members: np.ndarray, paired: bool) -> np.ndarray:
    """Sum over layers of part[l, choice[s, l], a]: [A', S], or [S] if paired."""
    layers, columns, count = part.shape
    if paired:
        return np.asarray(part[np.arange(layers), choice, members[:, None]].sum(axis=1, dtype=np.float64))
    if len(members) <= _FEW:  # a sparse product, in which no infinite entry is multiplied by 0
        from scipy.sparse import csr_array  # which is slow to import

        costs = part[:, :, members].reshape(layers * columns, -1).astype(np.float64)
        places = (choice + columns * np.arange(layers)).reshape(-1)
        starts = np.arange(0, len(places) + 1, layers)
        return np.asarray((csr_array((np.ones(len(places)), places, starts), (len(choice), len(costs))) @ costs).T)
    total = np.zeros((len(choice), len(members)))
    everyone = len(members) == count and np.array_equal(members, np.arange(count))
    for layer in range(layers):  # without a copy of the table of a million accelerators
        picked = choice[:, layer]
        total += part[layer][picked] if everyone else part[layer][picked[:, None], members[None, :]]
    return total.T


def cost_tables(
    workload: Workload, grid: AcceleratorGrid, pairs: Sequence[FormatPair], dtype: type[np.floating] = np.float32
) -> CostTables:
    """Cost of each layer of `workload` in each of `pairs` on each accelerator of `grid`.

    In an attention layer, key and value use ``pair.weight``, queries and probabilities ``pair.activation``. Operators
    of equal shape are priced once. Memory: about (phases + 3) x A x L x C values of `dtype`.
    Raises InputError on a workload without operators or an empty list of pairs.
    """
    pairs = tuple(pairs)
    if not workload.operators or not pairs:
        raise InputError(f"{workload.name}: nothing to price without operators and format pairs")
    supported = supported_pairs(grid, pairs)
    shape = (len(workload.layers), len(pairs), len(grid))
    latency = np.full((len(workload.phases), *shape), np.inf, dtype)
    energy, dram = np.full(shape, np.inf, dtype), np.full(shape, np.inf, dtype)
    for part in (energy, dram, *latency):
        part[:, supported.T] = 0
    pair, accelerator = np.nonzero(supported.T)
    footprint = Footprint.of(workload)
    for start in range(0, len(pair), _CHUNK):
        c, a = pair[start : start + _CHUNK], accelerator[start : start + _CHUNK]
        _fill(workload, Machine(grid, pairs, footprint, c, a), c * len(grid) + a, latency, energy, dram)
    return CostTables(
        phases=workload.phases,
        layers=workload.layers,
        pairs=pairs,
        repeats=dict(workload.repeats),
        _latency=latency,
        _energy=energy,
        _dram=dram,
        supported=supported,
        area_mm2=areas(grid).value.sum(axis=1),
        other_bytes=other_bytes(workload),
        ratios=compression_ratios(grid, pairs),
        codec=grid.codec,
        dram_room=grid.dram_gib * 2.0**30,
        has_flash=grid.has_flash,
        **_stored(workload, pairs),
    )


def _fill(
    workload: Workload, machine: Machine, entry: np.ndarray, latency: np.ndarray, energy: np.ndarray, dram: np.ndarray
) -> None:
    """Add every operator's cost at the flat (pair, accelerator) positions `entry` of the tables."""
    layers = {name: i for i, name in enumerate(workload.layers)}
    phases = {name: i for i, name in enumerate(workload.phases)}
    for (_, passes), members in _equal_operators(workload).items():
        result = machine.run(members[0], passes)
        seconds, joules = result.latency_s, result.energy_j
        for op in members:
            layer, repeat = layers[op.layer], workload.repeats.get(op.phase, 1)
            latency[phases[op.phase], layer].reshape(-1)[entry] += seconds
            energy[layer].reshape(-1)[entry] += repeat * joules
            dram[layer].reshape(-1)[entry] += repeat * result.dram_bytes


def _equal_operators(workload: Workload) -> dict[tuple[Operator, int], list[Operator]]:
    """(anonymous operator, passes of its layer) -> the operators with this cost."""
    passes = layer_passes(workload)
    groups: dict[tuple[Operator, int], list[Operator]] = defaultdict(list)
    for op in workload.operators:
        groups[op.anonymous, passes[op.layer]].append(op)
    return groups


def _stored(workload: Workload, pairs: tuple[FormatPair, ...]) -> dict[str, np.ndarray]:
    """The fields of CostTables that do not depend on the accelerator."""
    weights, activations = zip(*([operand.stored for operand in operands(pair)] for pair in pairs), strict=True)
    products = np.array([float(w.bits * a.bits) for w, a in zip(weights, activations, strict=True)])

    def stationary_bytes(op: Operator, elements: int) -> np.ndarray:
        return elements * np.array([weight.bytes_per_element(op.runs[0]) for weight in weights])

    cached: dict[tuple[str, str], np.ndarray] = defaultdict(lambda: np.zeros(len(pairs)))
    tensors: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(pairs)))
    macs: dict[str, float] = defaultdict(float)
    for op in workload.operators:
        cached[op.layer, op.phase] += stationary_bytes(op, cache_elements(op))
        tensors[op.layer] = np.maximum(tensors[op.layer], [tensor_bytes(op, each) for each in activations])
        macs[op.layer] += float(op.macs) * workload.repeats.get(op.phase, 1)
    stored = {layer: stationary_bytes(op, op.weight_elements) for layer, op in stored_weights(workload).items()}
    columns = {"weight_bytes": stored, "kv_bytes": largest(cached), "activation_bytes": tensors}
    return {name: np.array([found[layer] for layer in workload.layers]) for name, found in columns.items()} | {
        "bitops": np.array([[macs[layer]] for layer in workload.layers]) * products
    }
