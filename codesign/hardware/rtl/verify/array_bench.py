"""Test bench of an array: a matrix product, clock by clock, in tiles on a corner of its cells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from torch import Tensor

from codesign.formats import get_format
from codesign.formats.format import Amax, Quantized
from codesign.hardware.arithmetic.modes import Mode
from codesign.hardware.rtl.emit.array import Array as Cells
from codesign.hardware.rtl.verify.bench import Bits, Trace, to_bits
from codesign.hardware.rtl.verify.codes import OperandCodes, scale_steps, stepped
from codesign.hardware.rtl.verify.twin import Array
from codesign.hardware.rtl.verify.vectors import twin_of

MOST_CLOCKS = 20_000  # of one check, unless a single tile takes more
CORNER_ROWS, CORNER_COLUMNS = 3, 2

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Matrices:
    """Operand codes of a matrix product, as a mode reads them step by step."""

    weight: Array  # [steps, products, N]
    activation: Array  # [steps, products, M]
    weight_scale: Array | None = None  # codes of block scales [steps, scales per step, N]; None without
    activation_scale: Array | None = None  # [steps, scales per step, M]

    @classmethod
    def of(
        cls,
        mode: Mode,
        weight: Tensor | Quantized,
        activation: Tensor,
        ranges: tuple[Amax | None, Amax | None] = (None, None),
    ) -> Matrices:
        """Quantize weight [N, K] or [N, T, C] and activation [M, K] or [M, T, C] as quality does, unless the weight is.

        ranges: clipping ranges of both; without them, weights have one scale per row and activations a single scale.
        A last step that does not fill the lanes is padded with zeros.
        """
        block = max(mode.weight.block, mode.activation.block)
        w = OperandCodes.of(get_format(mode.pair.weight), weight, ranges[0], True, block)
        a = OperandCodes.of(get_format(mode.pair.activation), activation, ranges[1], False, block)
        return cls(
            stepped(w.codes, mode.products),
            stepped(a.codes, mode.products),
            None if w.scale_codes is None else scale_steps(w, mode.products),
            None if a.scale_codes is None else scale_steps(a, mode.products),
        )

    @property
    def steps(self) -> int:
        return len(self.weight)

    @property
    def outputs(self) -> tuple[int, int]:
        """(M, N)."""
        return self.activation.shape[-1], self.weight.shape[-1]

    def padded(self, steps: int, m: int, n: int) -> Matrices:
        """The operands padded with zeros to multiples of `steps`, `m` and `n`."""

        def pad(codes: Array | None, multiple: int) -> Array | None:
            if codes is None:
                return None
            return np.pad(codes, [(0, -len(codes) % steps), (0, 0), (0, -codes.shape[2] % multiple)])

        weight, activation = pad(self.weight, n), pad(self.activation, m)
        assert weight is not None
        assert activation is not None
        return Matrices(weight, activation, pad(self.weight_scale, n), pad(self.activation_scale, m))

    def sliced(self, m: slice, n: slice) -> Matrices:
        """The slices `m` of activations and `n` of weights."""
        return Matrices(
            self.weight[..., n],
            self.activation[..., m],
            None if self.weight_scale is None else self.weight_scale[..., n],
            None if self.activation_scale is None else self.activation_scale[..., m],
        )


@dataclass(frozen=True)
class ArrayCheck:
    """Matrix product in one mode on a corner of an array, at most 3 x 2 cells; results are compared with the twin's.

    Runs as many tiles as fit MOST_CLOCKS, at least one.
    """

    cells: Cells
    mode: int
    matrices: Matrices

    @property
    def rows(self) -> int:
        return min(self.cells.rows, CORNER_ROWS)

    @property
    def columns(self) -> int:
        return min(self.cells.columns, CORNER_COLUMNS)

    @property
    def compared(self) -> int:
        """Number of rows of results that are compared."""
        found = self.trace().compared
        return 0 if found is None else int(found.sum())

    def trace(self) -> Trace:
        """The values of the array's ports in every clock cycle, with the expected `out` after the latency."""
        return self._made

    @cached_property
    def _made(self) -> Trace:
        return _Schedule(self).trace()


@dataclass(frozen=True)
class InTurn:
    """Checks of one array, one after the other on the same cells, in any modes: a simulator compiles them once."""

    checks: tuple[ArrayCheck, ...]

    def trace(self) -> Trace:
        traces = [check.trace() for check in self.checks]
        latency = min(trace.latency for trace in traces)
        expected, compared = [], []
        for trace in traces:  # each ends when its last result has left, so that it may be compared later
            later = trace.latency - latency
            assert trace.compared is not None
            assert not trace.compared[len(trace.compared) - later :].any()
            expected.append(np.roll(trace.expected, later, axis=0))
            compared.append(np.roll(trace.compared, later))
        inputs, fields = [trace.inputs for trace in traces], traces[0].fields
        width = (len(self.checks[0].cells.unit.modes) - 1).bit_length()
        if width:
            fields = (*fields, ("mode", width))
            modes = [np.full((len(each), 1), check.mode) for each, check in zip(inputs, self.checks, strict=True)]
            inputs = [np.hstack([x, to_bits(mode, width, width)]) for x, mode in zip(inputs, modes, strict=True)]
        return replace(
            traces[0],
            fields=fields,
            inputs=np.concatenate(inputs),
            expected=np.concatenate(expected),
            compared=np.concatenate(compared),
            latency=latency,
            constants={},
        )


class _Schedule:
    """The lines of one check: operands and controls of every clock cycle, built tile by tile."""

    def __init__(self, check: ArrayCheck) -> None:
        self.cells, self.mode = check.cells, check.mode
        self.rows, self.columns = check.rows, check.columns
        self.unit = self.cells.unit
        self.turns = self.cells.interleave(self.mode)
        self.delay = self.cells.built.latency[self.mode]
        self.weights_stay = self.cells.dataflow == "weight"
        found = check.matrices
        if self.weights_stay:
            found = found.padded(self.rows, 1, self.columns)
            begin = self.rows + (self.rows - 1) * self.delay + self.columns
            clocks = found.steps // self.rows * max(found.outputs[0], begin)
        else:
            found = found.padded(1, self.rows * self.turns, self.columns)
            clocks = found.steps * self.turns
        self.tiles = max(1, MOST_CLOCKS // clocks)
        self.matrices = found
        self.clocks = 0

    @cached_property
    def sums(self) -> Array:
        """The accumulator of every output after every step, [steps, N, M]."""
        x = self.matrices
        return twin_of(self.unit, self.mode, 1).run(
            x.weight[..., None],
            x.activation[:, :, None],
            np.arange(x.steps) == 0,
            None if x.weight_scale is None else x.weight_scale[..., None],
            None if x.activation_scale is None else x.activation_scale[:, :, None],
        )

    def trace(self) -> Trace:
        if self.weights_stay:
            self.limit(slice(None), slice(self.columns * self.tiles))
            return self.weight_trace()
        return self.output_trace()

    def limit(self, m: slice, n: slice) -> None:
        self.matrices = self.matrices.sliced(m, n)

    # -- output-stationary --------------------------------------------------------------------------

    def output_trace(self) -> Trace:
        """Tiles back to back; the results of one are shifted out while the next is computed."""
        rows, columns, turns = self.rows, self.columns, self.turns
        total_m, total_n = self.matrices.outputs
        tiles = [(m, n) for n in range(0, total_n, columns) for m in range(0, total_m, rows * turns)][: self.tiles]
        self.limit(slice(None), slice(tiles[-1][1] + columns))
        steps = self.matrices.steps
        latency = self.delay + rows + columns - 1  # from a tile's last step to its first result
        begins, results = [0], rows * turns
        for _ in tiles[1:]:
            shifted = begins[-1] + steps * turns - 1 + latency + results
            begins.append(max(begins[-1] + steps * turns, shifted - (steps - 1) * turns - self.delay))
        self.clocks = begins[-1] + steps * turns + latency + results
        streams = _Streams(self.clocks, self.matrices, rows, columns)
        first, last, shift, compared = (np.zeros(self.clocks, bool) for _ in range(4))
        expected = np.zeros((self.clocks, columns), self.sums.dtype)
        for (m, n), begin in zip(tiles, begins, strict=True):
            end = begin + steps * turns
            # a cell interleaves `turns` rows of activations, with the same weights
            chosen = m + np.arange(rows) * turns + np.arange(turns)[:, None]
            streams.put_rows(begin, chosen)
            streams.put_columns(np.arange(begin, end).reshape(steps, turns), n)
            first[begin : begin + turns] = True
            last[end - turns : end] = True
            shift[end - 1 + latency : end - 1 + latency + results] = True
            lines = slice(end - 1, end - 1 + results)
            compared[lines] = True
            leaving = chosen.T[::-1].reshape(-1)  # results of the bottom row first, those of each cell in order
            expected[lines] = self.sums[-1, n : n + columns][:, leaving].T
        row, column = self.operands(streams)
        fields = [*row, ("first", first), ("last", last), *column, ("shift", shift)]
        return self.made(fields, expected, compared, latency)

    # -- weight-stationary --------------------------------------------------------------------------

    def weight_trace(self) -> Trace:
        """For each tile of N, the tiles of K in sequence: all activations pass the stationary weights and add to
        the sums of the previous tile, while the next weights are loaded."""
        rows, columns = self.rows, self.columns
        m, n = self.matrices.outputs
        tiles = [(k, first) for first in range(0, n, columns) for k in range(0, self.matrices.steps, rows)]
        loads, swaps = [0], [rows]
        for _ in tiles[1:]:
            loads.append(max(loads[-1] + rows, swaps[-1] + (rows - 1) * self.delay + columns - 1))
            swaps.append(max(swaps[-1] + m, loads[-1] + rows))
        self.clocks = swaps[-1] + m
        streams = _Streams(self.clocks, self.matrices, rows, columns)
        first, swap, load, compared = (np.zeros(self.clocks, bool) for _ in range(4))
        expected, before = (np.zeros((self.clocks, columns), self.sums.dtype) for _ in range(2))
        for (k, at), begin, start in zip(tiles, loads, swaps, strict=True):
            streams.load(begin, k, at)
            streams.pass_by(start, k)
            load[begin : begin + rows] = True
            swap[start] = True
            lines = slice(start, start + m)
            compared[lines] = True
            first[lines] = k == 0
            expected[lines] = self.sums[k + rows - 1, at : at + columns].T
            if k:
                before[lines] = self.sums[k - 1, at : at + columns].T
        row, column = self.operands(streams)
        passing = ("psum_in", self.packed(before))
        fields = [*row, ("swap", swap), ("load", load), *column, ("first", first), passing]
        return self.made(fields, expected, compared, rows * self.delay + columns - 1)

    # -- both ---------------------------------------------------------------------------------------

    def operands(self, streams: _Streams) -> tuple[list[tuple[str, Bits]], list[tuple[str, Bits]]]:
        """(ports of rows, ports of columns) with their bits."""
        mode = self.unit.modes[self.mode]
        found = []
        for fields, side, codes in (
            (self.cells.row_fields, mode.activation, (streams.a, streams.a_scale)),
            (self.cells.column_fields, mode.weight, (streams.w, streams.w_scale)),
        ):
            widths = (side.bits, side.scale.bits if side.scale else 0)
            found.append(
                [(port, flat(x, bits, width)) for (port, width), x, bits in zip(fields, codes, widths, strict=False)]
            )
        return found[0], found[1]

    def packed(self, sums: Array) -> Bits:
        """Accumulators [clocks, columns] as the bits of all columns, zero-extended to the unit's width."""
        element = self.unit.modes[self.mode].float_element
        return flat(
            sums[:, :, None], element.bits if element else self.unit.accumulator_bits, self.unit.accumulator_bits
        )

    def made(self, fields: list[tuple[str, Bits | Flags]], expected: Array, compared: Flags, latency: int) -> Trace:
        inputs = [(port, x[:, None].astype(np.uint8) if x.ndim == 1 else x) for port, x in fields]
        return Trace(
            "array",
            tuple((port, x.shape[1]) for port, x in inputs),
            np.concatenate([x for _, x in inputs], axis=1),
            "out",
            self.columns * self.unit.accumulator_bits,
            self.packed(expected),
            latency,
            compared,
            ({"mode": self.mode} if len(self.unit.modes) > 1 else {}) | ({"en": 1} if self.cells.built.enable else {}),
            {"ROWS": self.rows, "COLUMNS": self.columns},
        )


class _Streams:
    """Codes at the array's ports, [clocks, rows or columns, codes], initially zeros."""

    def __init__(self, clocks: int, matrices: Matrices, rows: int, columns: int) -> None:
        self.matrices, self.rows, self.columns = matrices, rows, columns
        self.a, self.a_scale = (
            np.zeros((clocks, rows, 0 if x is None else x.shape[1]), np.int64)
            for x in (matrices.activation, matrices.activation_scale)
        )
        self.w, self.w_scale = (
            np.zeros((clocks, columns, 0 if x is None else x.shape[1]), np.int64)
            for x in (matrices.weight, matrices.weight_scale)
        )

    @property
    def _activations(self) -> list[tuple[Array, Array]]:
        x = self.matrices
        return [(self.a, x.activation), *([] if x.activation_scale is None else [(self.a_scale, x.activation_scale)])]

    @property
    def _weights(self) -> list[tuple[Array, Array]]:
        x = self.matrices
        return [(self.w, x.weight), *([] if x.weight_scale is None else [(self.w_scale, x.weight_scale)])]

    def put_rows(self, begin: int, chosen: Array) -> None:
        """Every step of the activations `chosen` [turns, rows], interleaved, from clock `begin` on."""
        for stream, codes in self._activations:
            part = codes[:, :, chosen].transpose(0, 2, 3, 1)  # [steps, turns, rows, codes]
            stream[begin : begin + part.shape[0] * part.shape[1]] = part.reshape(-1, *part.shape[2:])

    def put_columns(self, clocks: Array, n: int) -> None:
        """Every step of the weights of outputs from `n` on, at the clocks [steps, turns]."""
        for stream, codes in self._weights:
            part = codes[:, :, n : n + self.columns].transpose(0, 2, 1)
            stream[clocks] = part[:, None]

    def load(self, begin: int, k: int, n: int) -> None:
        """Weights of `rows` steps from `k` on, the last step first, as it moves furthest down."""
        for stream, codes in self._weights:
            part = codes[k : k + self.rows, :, n : n + self.columns].transpose(0, 2, 1)
            stream[begin : begin + self.rows] = part[::-1]

    def pass_by(self, begin: int, k: int) -> None:
        """All activations, one per clock cycle; each row of the array reads a different step."""
        for stream, codes in self._activations:
            part = codes[k : k + self.rows].transpose(2, 0, 1)  # [M, rows, codes]
            stream[begin : begin + len(part)] = part


def flat(codes: Array, bits: int, width: int) -> Bits:
    """Codes [clocks, rows, n] of `bits` bits as bits [clocks, rows * width], `width` bits per row."""
    clocks, rows, n = codes.shape
    return to_bits(codes.reshape(clocks * rows, n), bits, width).reshape(clocks, rows * width)
