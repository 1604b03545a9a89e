"""Simulation of gates with 64 streams per word: settled values, and every toggle on the way to them.

Delays are inertial, as in gate-level simulation with an SDF file: a pulse that is shorter than the delay of the gate
that would make it does not appear.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Ints = NDArray[np.int64]
ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


@dataclass(frozen=True)
class Batch:
    """Gates of one kind that are evaluated together."""

    function: Callable[[Mapping[str, Words]], Words]
    inputs: Mapping[str, Ints]  # pin -> net of each gate
    nets: Ints  # output of each gate

    def evaluate(self, values: Words) -> None:
        """Set the outputs to what the net values [nets, words] make them."""
        values[self.nets] = self.function({pin: values[nets] for pin, nets in self.inputs.items()})


def ones(words: Words, groups: int = 1) -> Ints:
    """Number of set bits in each row of [rows, words], by group of consecutive words: [rows, groups]."""
    count = getattr(np, "bitwise_count", None)  # NumPy 2.0 and later
    counts = count(words) if count else np.unpackbits(words.view(np.uint8), axis=-1)
    return np.asarray(counts.reshape(len(words), groups, counts.shape[-1] // groups).sum(axis=-1, dtype=np.int64))


class Events:
    """Gates with a delay each, in steps of time; nets are numbered from 0."""

    def __init__(self, batches: Sequence[Batch], nets: int, delay: Ints, mirrored: bool = False) -> None:
        """delay: [nets], of the gate that drives a net, at least 1; mirrored: net 2 n + 1 is the complement of 2 n."""
        self.mirrored = mirrored
        self.batches = batches
        self.first = np.cumsum([0, *(len(batch.nets) for batch in batches)])
        self.out = np.concatenate([batch.nets for batch in batches]) if batches else np.empty(0, dtype=np.int64)
        self.delay = delay[self.out]
        source = [nets_of for batch in batches for nets_of in batch.inputs.values()]
        reader = [
            np.arange(len(batch.nets)) + first
            for batch, first in zip(batches, self.first, strict=False)
            for _ in batch.inputs
        ]
        read, by = np.concatenate(source), np.concatenate(reader)
        if mirrored:
            read = read & ~1
        order = np.argsort(read, kind="stable")
        self.reader = by[order]
        self.start = np.searchsorted(read[order], np.arange(nets + 1))

    def toggles(self, then: Words, now: Words, mask: Words, groups: int = 1) -> tuple[Ints, Words]:
        """(toggles of each net [nets, groups], settled values) of independent transitions.

        then: settled values [nets, words] before the transition; now: the same with the new values of all nets that no
        gate drives. mask: [words], the streams that count; groups: of consecutive words, counted apart.
        """
        out, delay = self.out, self.delay
        ring = int(delay.max(initial=0)) + 1
        values = now.copy()
        values[out] = then[out]
        if self.mirrored:
            values[out + 1] = then[out + 1]
        computed = then[out]  # what each gate makes of its inputs now; waiting to appear where it differs from values
        pending = np.zeros((ring, len(out), now.shape[1]), dtype=np.uint64)
        due = np.zeros((ring, len(out)), dtype=bool)
        difference = (values ^ then) & mask
        toggles = ones(difference, groups)
        changed = np.flatnonzero(difference.any(axis=1))
        if self.mirrored:
            changed = changed[changed & 1 == 0]
        time, waiting = 0, 0
        while True:
            if len(changed):
                waiting += self._respond(changed, time, values, computed, pending, due)
            if not waiting:
                return toggles, values
            time += 1
            slot = time % ring
            gates = np.flatnonzero(due[slot])
            due[slot] = False
            waiting -= len(gates)
            fired = pending[slot, gates]
            pending[slot, gates] = 0
            values[out[gates]] ^= fired
            if self.mirrored:
                values[out[gates] + 1] ^= fired
            fired &= mask
            toggles[out[gates]] += ones(fired, groups)
            changed = out[gates[fired.any(axis=1)]]

    def _respond(
        self, changed: Ints, time: int, values: Words, computed: Words, pending: Words, due: NDArray[np.bool_]
    ) -> int:
        """Evaluate the gates that read the changed nets; returns how many of them begin to wait."""
        counts = self.start[changed + 1] - self.start[changed]
        offsets = np.repeat(self.start[changed] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
        active = np.unique(self.reader[offsets + np.arange(len(offsets))])
        edges = np.searchsorted(active, self.first)
        ring, added = len(due), 0
        for i, batch in enumerate(self.batches):
            gates = active[edges[i] : edges[i + 1]]
            if not len(gates):
                continue
            own = gates - self.first[i]
            new = batch.function({pin: values[nets[own]] for pin, nets in batch.inputs.items()})
            before = computed[gates]
            flipped = new ^ before
            waits = before ^ values[self.out[gates]]
            computed[gates] = new
            cancelled = flipped & waits
            some = cancelled.any(axis=1)
            if some.any():
                pending[:, gates[some]] &= ~cancelled[some]
            started = flipped & ~waits
            some = started.any(axis=1)
            which = gates[some]
            slot = (time + self.delay[which]) % ring
            pending[slot, which] |= started[some]
            added += int((~due[slot, which]).sum())
            due[slot, which] = True
        return added
