"""Test bench of an array with streams: tiles of random products, with random pauses on both sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codesign.hardware.rtl.emit.array import Array as Cells
from codesign.hardware.rtl.verify.array_bench import flat
from codesign.hardware.rtl.verify.bench import Bits
from codesign.hardware.rtl.verify.stream_bench import Beats, StreamTrace
from codesign.hardware.rtl.verify.twin import Array
from codesign.hardware.rtl.verify.vectors import drawn, twin_of


@dataclass(frozen=True)
class ArrayStreamCheck:
    """Tiles in one mode, on all cells of an array.

    steps: of the sums of an output-stationary tile; the beats of activations that meet the weights of a
    weight-stationary one.
    """

    cells: Cells
    mode: int
    tiles: int = 6
    steps: int = 5
    rows: int = 0  # of the array that is simulated; 0: all
    columns: int = 0

    def trace(self) -> StreamTrace:
        cells, unit = self.cells, self.cells.unit
        least = f", .STEPS({self.steps * cells.interleave(self.mode)})" if cells.dataflow == "output" else ""
        inputs, results = self.output_beats() if cells.dataflow == "output" else self.weight_beats()
        return StreamTrace(
            "array_stream",
            inputs,
            self.shape[1] * unit.accumulator_bits,
            results,
            self.mode if len(unit.modes) > 1 else None,
            f"#(.ROWS({self.shape[0]}), .COLUMNS({self.shape[1]}){least}) ",
        )

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows or self.cells.rows, self.columns or self.cells.columns

    # -- output-stationary --------------------------------------------------------------------------

    def output_beats(self) -> tuple[tuple[Beats, ...], Bits]:
        """Tiles one after the other; results leave by rows, the bottom one first."""
        parts = [self.output_tile(seed) for seed in range(self.tiles)]
        rows, columns = self.shape
        fields = [(port, rows * width) for port, width in self.cells.row_fields]
        fields += [(port, columns * width) for port, width in self.cells.column_fields]
        beats = Beats("s", (*fields, ("last", 1)), np.concatenate([beats for beats, _ in parts]))
        return (beats,), np.concatenate([results for _, results in parts])

    def output_tile(self, seed: int) -> tuple[Bits, Bits]:
        turns, steps = self.cells.interleave(self.mode), self.steps
        rows, columns = self.shape
        # a cell has the sums of `turns` rows of activations
        codes = self.drawn(steps, rows * turns, columns, seed)
        sums = self.sums(codes, steps)[-1]  # [columns, rows x turns]
        activations = [
            x.reshape(steps, rows, turns, -1).transpose(0, 2, 1, 3).reshape(steps * turns, rows, -1) for x in codes[0]
        ]
        weights = [np.repeat(x, turns, axis=0) for x in codes[1]]
        last = np.arange(steps * turns) >= (steps - 1) * turns
        beats = [*self.bits("activation", activations), *self.bits("weight", weights), last[:, None].astype(np.uint8)]
        leaving = sums.reshape(columns, rows, turns)[:, ::-1].reshape(columns, -1).T
        return np.concatenate(beats, axis=1), self.packed(leaving)

    # -- weight-stationary --------------------------------------------------------------------------

    def weight_beats(self) -> tuple[tuple[Beats, ...], Bits]:
        """Pairs of tiles: the second adds to the sums of the first."""
        rows, columns = self.shape
        loads, beats, results = [], [], []
        for seed in range(self.tiles):
            activations, weights = codes = self.drawn(2 * rows, self.steps, columns, seed)
            sums = self.sums(codes, 2 * rows)[rows - 1 :: rows].transpose(0, 2, 1)  # [tiles, steps, columns]
            for tile in range(2):
                part = slice(tile * rows, tile * rows + rows)
                # the weights of the bottom row first, as they move furthest down
                loads.append(np.concatenate(self.bits("weight", [x[part][::-1] for x in weights]), axis=1))
                before = np.zeros_like(sums[0]) if tile == 0 else sums[tile - 1]
                flags = np.zeros((self.steps, 2), np.uint8)
                flags[:, 0], flags[-1, 1] = tile == 0, 1
                steps = self.bits("activation", [x[part].transpose(1, 0, 2) for x in activations])
                beats.append(np.concatenate([*steps, self.packed(before), flags], axis=1))
                results.append(self.packed(sums[tile]))
        load = Beats("load", tuple((p, columns * n) for p, n in self.cells.column_fields), np.concatenate(loads))
        fields = [(port, rows * width) for port, width in self.cells.row_fields]
        fields += [("psum", columns * self.cells.unit.accumulator_bits), ("first", 1), ("last", 1)]
        return (load, Beats("s", tuple(fields), np.concatenate(beats))), np.concatenate(results)

    # -- both ---------------------------------------------------------------------------------------

    def drawn(self, steps: int, rows: int, columns: int, seed: int) -> tuple[list[Array], list[Array]]:
        """Random codes and block scales of activations [steps, rows, codes] and weights [steps, columns, codes]."""
        mode = self.cells.unit.modes[self.mode]
        sides = ((mode.activation, rows, self.cells.row_fields), (mode.weight, columns, self.cells.column_fields))
        found = []
        for place, (side, count, fields) in enumerate(sides):
            codes, scales = drawn(mode, side, (steps, count), seed + 1000 * place)
            none = np.zeros((steps, count, 0), np.int64)
            found.append([codes, none if scales is None else scales][: len(fields)])
        return found[0], found[1]

    def sums(self, codes: tuple[list[Array], list[Array]], steps: int) -> Array:
        """The sums after every step, [steps, columns, rows]."""

        def paired(found: list[Array], place: int, axis: int) -> Array | None:
            if place >= len(found) or not found[place].shape[2]:
                return None
            return np.expand_dims(found[place].transpose(0, 2, 1), axis)

        (a, w), first = codes, np.arange(steps) == 0
        weight, activation = paired(w, 0, 3), paired(a, 0, 2)
        assert weight is not None
        assert activation is not None
        return twin_of(self.cells.unit, self.mode, 1).run(weight, activation, first, paired(w, 1, 3), paired(a, 1, 2))

    def bits(self, side: str, codes: list[Array]) -> list[Bits]:
        """The fields of one side's ports from codes and block scales [beats, rows or columns, codes]."""
        operand = getattr(self.cells.unit.modes[self.mode], side)
        widths = (operand.bits, operand.scale.bits if operand.scale else 0)
        fields = self.cells.row_fields if side == "activation" else self.cells.column_fields
        return [flat(x, bits, width) for (_, width), x, bits in zip(fields, codes, widths, strict=False)]

    def packed(self, sums: Array) -> Bits:
        """Sums [beats, columns] as the bits of all columns."""
        element, bits = self.cells.unit.modes[self.mode].float_element, self.cells.unit.accumulator_bits
        return flat(sums[:, :, None], element.bits if element else bits, bits)
