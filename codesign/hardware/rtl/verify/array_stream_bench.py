"""Test bench of an array with streams: tiles of random products, with random pauses on both sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codesign.hardware.rtl.emit.array import Array as Cells
from codesign.hardware.rtl.verify.array_bench import flat
from codesign.hardware.rtl.verify.bench import Bits, to_bits
from codesign.hardware.rtl.verify.stream_bench import StreamTrace
from codesign.hardware.rtl.verify.twin import Array
from codesign.hardware.rtl.verify.vectors import drawn, twin_of


@dataclass(frozen=True)
class ArrayStreamCheck:
    """Tiles of `steps` steps in one mode, on all cells of an array."""

    cells: Cells
    mode: int
    tiles: int = 6
    steps: int = 5

    def trace(self) -> StreamTrace:
        parts = [self.tile(seed) for seed in range(self.tiles)]
        cells, unit = self.cells, self.cells.unit
        rows, columns = cells.rows, cells.columns
        fields = [(f"s_{port}", rows * width) for port, width in cells.row_fields]
        fields += [(f"s_{port}", columns * width) for port, width in cells.column_fields]
        return StreamTrace(
            "array_stream",
            (*fields, ("s_last", 1)),
            np.concatenate([beats for beats, _ in parts]),
            columns * unit.accumulator_bits,
            np.concatenate([results for _, results in parts]),
            self.mode if len(unit.modes) > 1 else None,
            f"#(.ROWS({rows}), .COLUMNS({columns}), .STEPS({self.steps * cells.interleave(self.mode)})) ",
        )

    def tile(self, seed: int) -> tuple[Bits, Bits]:
        """The beats and the rows of results of one tile."""
        cells, unit = self.cells, self.cells.unit
        mode, turns = unit.modes[self.mode], cells.interleave(self.mode)
        rows, columns, steps = cells.rows, cells.columns, self.steps
        # operands [steps, rows x turns or columns, codes]; a cell has the sums of `turns` rows of activations
        a, a_scale = drawn(mode, mode.activation, (steps, rows * turns), seed)
        w, w_scale = drawn(mode, mode.weight, (steps, columns), seed + 1000)

        def paired(found: Array | None, axis: int) -> Array | None:
            return None if found is None else np.expand_dims(found.transpose(0, 2, 1), axis)

        sums = twin_of(unit, self.mode, 1).run(
            w.transpose(0, 2, 1)[..., None],
            a.transpose(0, 2, 1)[:, :, None],
            np.arange(steps) == 0,
            paired(w_scale, 3),
            paired(a_scale, 2),
        )[-1]  # [columns, rows x turns]
        columns_of: list[Bits] = []
        for (_, width), codes, bits in zip(
            cells.row_fields, (a, a_scale), (mode.activation.bits, _bits(mode.activation.scale)), strict=False
        ):
            codes = np.zeros((steps, rows * turns, 0), np.int64) if codes is None else codes
            beats = codes.reshape(steps, rows, turns, -1).transpose(0, 2, 1, 3).reshape(steps * turns, rows, -1)
            columns_of.append(flat(beats, bits, width))
        for (_, width), codes, bits in zip(
            cells.column_fields, (w, w_scale), (mode.weight.bits, _bits(mode.weight.scale)), strict=False
        ):
            codes = np.zeros((steps, columns, 0), np.int64) if codes is None else codes
            columns_of.append(flat(np.repeat(codes, turns, axis=0), bits, width))
        last = (np.arange(steps * turns) >= (steps - 1) * turns).astype(np.uint8)
        own = mode.float_element.bits if mode.float_element else unit.accumulator_bits
        leaving = sums.reshape(columns, rows, turns)[:, ::-1].reshape(columns, -1).T  # the bottom row first
        results = flat(leaving[:, :, None], own, unit.accumulator_bits)
        return np.concatenate([*columns_of, to_bits(last[:, None].astype(np.int64), 1, 1)], axis=1), results


def _bits(scale: object) -> int:
    return int(getattr(scale, "bits", 0))
