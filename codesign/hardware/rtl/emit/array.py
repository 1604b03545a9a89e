"""Verilog of a systolic array of ROWS x COLUMNS cells, each with a dot-product unit, for two dataflows.

The ports take the operands of all rows and columns at a time; registers at the edges skew them, and registers in the
cells pass operands on by one cell per clock cycle.

Output-stationary ("output"): row r streams activations, column c weights, and cell (r, c) sums their dot product.
`first` accompanies the first step of a sum, `last` the last one, after which the cell stores the result; `shift` moves
the results of all columns down by one row, those of the bottom row to `out`.
Weight-stationary ("weight"): `load` shifts weights down the columns into shadow registers, `swap` accompanies the first
activations that use them, and partial sums flow from psum_in down the columns to `out`.

There is no reset: initial register contents leave the array within its latency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from codesign.errors import InputError, nearest
from codesign.hardware.rtl.emit.blocks import ceil_log2
from codesign.hardware.rtl.emit.unit import Built, Unit, build

Dataflow = Literal["output", "weight"]
DATAFLOWS: tuple[str, ...] = get_args(Dataflow)
Field = tuple[str, int]  # port, bits


@dataclass(frozen=True)
class Array:
    """The Verilog of an array."""

    built: Built  # the unit of a cell; if weight-stationary, partial sums pass through it
    rows: int  # rows, columns: defaults of the module's parameters ROWS and COLUMNS
    columns: int
    dataflow: Dataflow
    text: str  # modules `array`, `array_cell` and `array_delay`, without the unit

    @property
    def unit(self) -> Unit:
        return self.built.unit

    def interleave(self, mode: int) -> int:
        """Number of sums that a cell interleaves in a mode; 1 if weight-stationary."""
        return _interleave(self.unit, mode) if self.dataflow == "output" else 1

    @property
    def row_fields(self) -> list[Field]:
        """Fields of the operands of one row per clock cycle, lowest bits first."""
        return _side(self.unit, "a", "as", "activation")

    @property
    def column_fields(self) -> list[Field]:
        """Fields of the operands of one column per clock cycle, lowest bits first."""
        return _side(self.unit, "w", "ws", "weight")


def array(unit: Unit, rows: int, columns: int, dataflow: str = "output", enable: bool = False) -> Array:
    """An array of `rows` x `columns` cells with a unit, whose module is called `unit`.

    enable: with a clock enable `en` of all registers.

    Raises InputError on an unknown dataflow, a size below 1, or an output-stationary array of a unit with passing
    partial sums.
    """
    if dataflow == "output":
        flow: Dataflow = "output"
    elif dataflow == "weight":
        flow, unit = "weight", replace(unit, passing=True)
    else:
        raise InputError(f"unknown dataflow '{dataflow}'{nearest(dataflow, DATAFLOWS)}")
    if rows < 1 or columns < 1:
        raise InputError(f"an array needs at least one row and one column, not {rows} x {columns}")
    if flow == "output" and unit.passing:
        raise InputError("a unit through which partial sums pass keeps none: take the dataflow 'weight'")
    built = build(unit, "unit", enable)
    made = Array(built, rows, columns, flow, "")
    cell, top = (_output_cell, _output_top) if flow == "output" else (_weight_cell, _weight_top)
    text = "\n".join([top(made), cell(made), _DELAY])
    return replace(made, text=_enabled(text) if enable else text)


def _enabled(text: str) -> str:
    """The modules with a clock enable: as a port, at every register and in every instance."""
    return (
        text.replace("  input clk,\n", "  input clk,\n  input en,\n")
        .replace("always @(posedge clk) ", "always @(posedge clk) if (en) ")
        .replace(".clk(clk)", ".clk(clk), .en(en)")
        .replace("{1'b0, clk}", "{1'b0, clk, en}")
    )


_DELAY = """\
// d, CLOCKS later
module array_delay #(parameter BITS = 1, parameter CLOCKS = 0) (
  input clk,
  input [BITS-1:0] d,
  output [BITS-1:0] q
);
  genvar i;
  wire [(CLOCKS+1)*BITS-1:0] line;
  wire unused = &{1'b0, clk};  // without stages
  assign line[BITS-1:0] = d;
  assign q = line[CLOCKS*BITS +: BITS];
  generate
    for (i = 0; i < CLOCKS; i = i + 1) begin : stage
      reg [BITS-1:0] held;
      always @(posedge clk) held <= line[i*BITS +: BITS];
      assign line[(i+1)*BITS +: BITS] = held;
    end
  endgenerate
endmodule
"""


def _side(unit: Unit, port: str, scale_port: str, side: str) -> list[Field]:
    scales = unit.scale_port_bits(side)
    return [(port, unit.port_bits(side)), *([(scale_port, scales)] if scales else [])]


def _interleave(unit: Unit, mode: int) -> int:
    return unit.interleave if unit.modes[mode].float_element else 1


def _bits(fields: Sequence[Field]) -> int:
    return sum(width for _, width in fields)


def _unpacked(fields: Sequence[Field], bundle: str) -> list[str]:
    """Connections of a unit's ports to bits of a bundle."""
    found, low = [], 0
    for port, width in fields:
        found.append(f".{port}({bundle}[{low + width - 1}:{low}])")
        low += width
    return found


def _packed(fields: Sequence[Field], index: str) -> str:
    """The bundle of one row or column from the array's ports, highest field first."""
    return ", ".join(f"{port}[{index}*{width} +: {width}]" if width else port for port, width in reversed(fields))


def _mode_port(unit: Unit) -> tuple[str, str]:
    """(declaration, connection) of the port `mode`; empty for a unit of one format."""
    if len(unit.modes) == 1:
        return "", ""
    return f"  input [{ceil_log2(len(unit.modes)) - 1}:0] mode,\n", ".mode(mode), "


def _by_mode(unit: Unit, choices: Sequence[str]) -> str:
    """``choices[mode]`` as an expression, without a multiplexer if all are equal."""
    expression = choices[-1]
    for index in range(len(choices) - 2, -1, -1):
        if choices[index] != expression:
            bits = ceil_log2(len(unit.modes))
            expression = f"(mode == {bits}'d{index} ? {choices[index]} : {expression})"
    return expression


def _ports(fields: Sequence[Field], count: str) -> str:
    return "".join(f"  input [{count}*{width}-1:0] {port},\n" for port, width in fields)


# -- output-stationary ------------------------------------------------------------------------------


def _output_cell(made: Array) -> str:
    unit, latency = made.unit, made.built.latency
    declared, mode = _mode_port(unit)
    row = [*made.row_fields, ("first", 1), ("last", 1)]
    depth = max(_interleave(unit, index) for index in range(len(unit.modes)))
    bits, done = unit.accumulator_bits, max(latency)
    finished = _by_mode(unit, [f"finished[{clocks - 1}]" for clocks in latency])
    slots = [_interleave(unit, index) for index in range(len(unit.modes))]
    oldest = _by_mode(unit, [f"results[{slot * bits - 1}:{(slot - 1) * bits}]" for slot in slots])
    older = f"results[{(depth - 1) * bits - 1}:0], " if depth > 1 else ""
    ports = ", ".join(_unpacked(row[:-1], "row_in") + _unpacked(made.column_fields, "column_in"))
    return f"""\
module array_cell (
  input clk,
{declared}\
  input [{_bits(row) - 1}:0] row_in,
  output reg [{_bits(row) - 1}:0] row_out,
  input [{_bits(made.column_fields) - 1}:0] column_in,
  output reg [{_bits(made.column_fields) - 1}:0] column_out,
  input shift,
  input [{bits - 1}:0] above,
  output [{bits - 1}:0] below
);
  wire [{bits - 1}:0] acc;
  unit dot (.clk(clk), {mode}{ports}, .acc(acc));
  always @(posedge clk) row_out <= row_in;
  always @(posedge clk) column_out <= column_in;
  // a sum is complete as many clocks after its last step as the unit takes
  reg [{done - 1}:0] finished;
  always @(posedge clk) finished <= {{finished[{done - 2}:0], row_in[{_bits(row) - 1}]}};
  wire take = {finished};
  // complete sums wait here, then move down the column
  reg [{depth * bits - 1}:0] results;
  always @(posedge clk) if (take | shift) results <= {{{older}take ? acc : above}};
  assign below = {oldest};
endmodule
"""


def _output_top(made: Array) -> str:
    unit, bits = made.unit, made.unit.accumulator_bits
    declared, mode = _mode_port(unit)
    row, column = made.row_fields, made.column_fields
    streamed: list[Field] = [*row, ("first", 0), ("last", 0)]
    wide, tall = _bits(row) + 2, _bits(column)
    return f"""\
// output-stationary: {made.rows} x {made.columns} cells of {unit.name}
module array #(parameter ROWS = {made.rows}, parameter COLUMNS = {made.columns}) (
  input clk,
{declared}{_ports(row, "ROWS")}  input first,
  input last,
{_ports(column, "COLUMNS")}  input shift,
  output [COLUMNS*{bits}-1:0] out
);
  genvar r, c;
  generate
    for (c = 0; c < COLUMNS; c = c + 1) begin : top
      wire [{tall - 1}:0] stream;
      array_delay #(.BITS({tall}), .CLOCKS(c)) skew (.clk(clk), .d({{{_packed(column, "c")}}}), .q(stream));
    end
    for (r = 0; r < ROWS; r = r + 1) begin : row
      wire [{wide - 1}:0] stream;
      array_delay #(.BITS({wide}), .CLOCKS(r)) skew (.clk(clk), .d({{{_packed(streamed, "r")}}}), .q(stream));
      for (c = 0; c < COLUMNS; c = c + 1) begin : column
        wire [{wide - 1}:0] row_in, row_out;
        wire [{tall - 1}:0] column_in, column_out;
        wire [{bits - 1}:0] above, below;
{_NEIGHBOURS}
        if (r == 0) begin : edge_above
          assign above = {bits}'b0;
        end else begin : inner_above
          assign above = row[r-1].column[c].below;
        end
        array_cell one (
          .clk(clk), {mode}.row_in(row_in), .row_out(row_out), .column_in(column_in), .column_out(column_out),
          .shift(shift), .above(above), .below(below)
        );
      end
    end
    for (c = 0; c < COLUMNS; c = c + 1) begin : bottom
      assign out[c*{bits} +: {bits}] = row[ROWS-1].column[c].below;
    end
  endgenerate
endmodule
"""


_NEIGHBOURS = """\
        if (c == 0) begin : edge_left
          assign row_in = stream;
        end else begin : inner_left
          assign row_in = row[r].column[c-1].row_out;
        end
        if (r == 0) begin : edge_top
          assign column_in = top[c].stream;
        end else begin : inner_top
          assign column_in = row[r-1].column[c].column_out;
        end
        if (c == COLUMNS-1) begin : edge_right
          wire unused = &{1'b0, row_out};
        end
        if (r == ROWS-1) begin : edge_bottom
          wire unused = &{1'b0, column_out};
        end"""


# -- weight-stationary ------------------------------------------------------------------------------


def _weight_cell(made: Array) -> str:
    unit, bits = made.unit, made.unit.accumulator_bits
    declared, mode = _mode_port(unit)
    row = [*made.row_fields, ("swap", 1)]
    wide, tall = _bits(row), _bits(made.column_fields)
    ports = ", ".join(_unpacked(made.row_fields, "row_in") + _unpacked(made.column_fields, "present"))
    return f"""\
module array_cell (
  input clk,
{declared}\
  input [{wide - 1}:0] row_in,
  output reg [{wide - 1}:0] row_out,
  input first,
  input load,
  input [{tall - 1}:0] column_in,
  output [{tall - 1}:0] column_out,
  input [{bits - 1}:0] above,
  output [{bits - 1}:0] below
);
  always @(posedge clk) row_out <= row_in;
  // the next weights wait while the present ones are in use
  reg [{tall - 1}:0] waiting, held;
  wire [{tall - 1}:0] present = row_in[{wide - 1}] ? waiting : held;
  always @(posedge clk) if (load) waiting <= column_in;
  always @(posedge clk) held <= present;
  assign column_out = waiting;
  unit dot (.clk(clk), {mode}.first(first), {ports}, .psum_in(above), .acc(below));
endmodule
"""


def _weight_top(made: Array) -> str:
    unit, bits = made.unit, made.unit.accumulator_bits
    declared, mode = _mode_port(unit)
    row, column = made.row_fields, made.column_fields
    streamed: list[Field] = [*row, ("swap", 0)]
    wide, tall = _bits(row) + 1, _bits(column)
    latency = made.built.latency
    # a row meets the sums of the row above, which are as many clocks late as a unit takes in its mode
    skewed = _by_mode(unit, [f"late_{clocks}" for clocks in latency])
    skew, before, source = "", 0, f"{{{_packed(streamed, 'r')}}}"
    for clocks in sorted(set(latency)):
        skew += f"      wire [{wide - 1}:0] late_{clocks};\n"
        skew += (
            f"      array_delay #(.BITS({wide}), .CLOCKS(r*{clocks - before})) skew_{clocks} (\n"
            f"        .clk(clk), .d({source}), .q(late_{clocks})\n      );\n"
        )
        before, source = clocks, f"late_{clocks}"
    return f"""\
// weight-stationary: {made.rows} x {made.columns} cells of {unit.name}
module array #(parameter ROWS = {made.rows}, parameter COLUMNS = {made.columns}) (
  input clk,
{declared}{_ports(row, "ROWS")}  input swap,
  input load,
{_ports(column, "COLUMNS")}  input first,
  input [COLUMNS*{bits}-1:0] psum_in,
  output [COLUMNS*{bits}-1:0] out
);
  genvar r, c;
  generate
    for (c = 0; c < COLUMNS; c = c + 1) begin : top
      wire [{tall - 1}:0] stream = {{{_packed(column, "c")}}};
      wire [{bits}:0] sum;
      array_delay #(.BITS({bits + 1}), .CLOCKS(c)) skew (
        .clk(clk), .d({{first, psum_in[c*{bits} +: {bits}]}}), .q(sum)
      );
    end
    for (r = 0; r < ROWS; r = r + 1) begin : row
{skew}      wire [{wide - 1}:0] stream = {skewed};
      for (c = 0; c < COLUMNS; c = c + 1) begin : column
        wire [{wide - 1}:0] row_in, row_out;
        wire [{tall - 1}:0] column_in, column_out;
        wire [{bits - 1}:0] above, below;
        wire begins;
{_NEIGHBOURS}
        if (r == 0) begin : edge_above
          assign {{begins, above}} = top[c].sum;
        end else begin : inner_above
          assign {{begins, above}} = {{1'b0, row[r-1].column[c].below}};
        end
        array_cell one (
          .clk(clk), {mode}.row_in(row_in), .row_out(row_out), .first(begins), .load(load),
          .column_in(column_in), .column_out(column_out), .above(above), .below(below)
        );
      end
    end
    for (c = 0; c < COLUMNS; c = c + 1) begin : bottom
      array_delay #(.BITS({bits}), .CLOCKS(COLUMNS-1-c)) skew (
        .clk(clk), .d(row[ROWS-1].column[c].below), .q(out[c*{bits} +: {bits}])
      );
    end
  endgenerate
endmodule
"""
