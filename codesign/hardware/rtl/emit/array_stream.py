"""An array with plain streams: beats of operands in, results out, all with valid/ready.

The wrapper makes the array's control signals from the beats' flags and holds the array still while a result waits. It
needs an array that was built with an enable.
Output-stationary: a beat has the operands of all rows and columns, and the array stands still while the next beat of an
open tile is late. Weight-stationary: weights have a stream of their own, ahead of the activations that meet them, and a
late beat is a gap between results.
"""

from __future__ import annotations

from codesign.errors import InputError
from codesign.hardware.rtl.emit.array import Array
from codesign.hardware.rtl.emit.blocks import ceil_log2
from codesign.hardware.rtl.emit.stream import by_mode, turn_counter, turns

TIMER_BITS = 16


def array_stream(made: Array) -> str:
    """The module ``array_stream``; raises InputError for an array without an enable."""
    if not made.built.enable:
        raise InputError("a stream needs an array with an enable")
    return _output_stream(made) if made.dataflow == "output" else _weight_stream(made)


def _mode_port(made: Array, while_: str) -> tuple[str, str]:
    """(declaration, connection) of the port `mode`; empty for a unit of one format."""
    modes = ceil_log2(len(made.unit.modes))
    if not modes:
        return "", ""
    return f"  input [{modes - 1}:0] mode,  // constant while {while_}\n", ", .mode(mode)"


def _output_stream(made: Array) -> str:
    unit, bits = made.unit, made.unit.accumulator_bits
    mode_port, mode = _mode_port(made, "tiles are open or in flight")
    sides = [(field, "ROWS") for field in made.row_fields] + [(field, "COLUMNS") for field in made.column_fields]
    inputs = "".join(f"  input [{count}*{width}-1:0] s_{port},\n" for (port, width), count in sides)
    connected = "".join(f", .{port}(s_{port})" for (port, _), _ in sides) + mode
    counts = [f"{TIMER_BITS}'d{count}" for count in turns(unit)]
    latencies = [f"{TIMER_BITS}'d{clocks}" for clocks in made.built.latency]
    return f"""\
// streams around {made.rows} x {made.columns} cells of {unit.name}
// A beat is one step of the dot products of all cells, s_last marks the last one of a tile (with sums that take turns:
// all beats of its last round); results leave by rows, the bottom one first, m_last with the top one. Every tile has at
// least STEPS beats: the more, the more tiles overlap.
module array_stream #(parameter ROWS = {made.rows}, parameter COLUMNS = {made.columns}, parameter STEPS = 1) (
  input clk,
  input rst,  // synchronous, active high
{mode_port}  input s_valid,
  output s_ready,
  input s_last,
{inputs}  output m_valid,
  input m_ready,
  output m_last,
  output [COLUMNS*{bits}-1:0] m_data
);
  localparam [{TIMER_BITS - 1}:0] SKEW = ROWS + COLUMNS - 1;
  localparam [{TIMER_BITS - 1}:0] HEIGHT = ROWS;
  localparam [{TIMER_BITS - 1}:0] SLACK = STEPS - 1;
  wire [{TIMER_BITS - 1}:0] results = HEIGHT * {by_mode(unit, counts)};
  wire [{TIMER_BITS - 1}:0] latency = SKEW + {by_mode(unit, latencies)};
  reg begun;  // all sums of the open tile have their first step
{turn_counter(unit)}  reg [{TIMER_BITS - 1}:0] timer;  // clocks until the results of the last tile have left
  reg taken;  // the result at the output was taken while the array stood still
  wire shift = (timer != {TIMER_BITS}'d0) & (timer <= results);
  assign m_valid = shift & ~taken;
  assign m_last = timer == {TIMER_BITS}'d1;
  wire held = m_valid & ~m_ready;
  // a tile begins when the results of the one before will have left before its own are complete
  wire begins = open | (timer <= SLACK);
  assign s_ready = ~held & begins;
  wire accepted = s_valid & s_ready;
  wire en = ~held & (accepted | (~open & (timer != {TIMER_BITS}'d0)));
  wire complete = accepted & round & s_last;
  always @(posedge clk)
    if (rst) begin
      begun <= 1'b0;
      timer <= {TIMER_BITS}'d0;
      taken <= 1'b0;
    end else begin
      if (accepted & round) begun <= ~s_last;
      if (complete) timer <= latency + results - {TIMER_BITS}'d1;
      else if (en & (timer != {TIMER_BITS}'d0)) timer <= timer - {TIMER_BITS}'d1;
      taken <= ~en & (taken | (m_valid & m_ready));
    end
  array #(.ROWS(ROWS), .COLUMNS(COLUMNS)) cells (
    .clk(clk), .en(en), .first(~begun), .last(s_last & accepted){connected}, .shift(shift), .out(m_data)
  );
`ifdef ARRAY_ASSERTIONS
  beat_waits: assert property (@(posedge clk) disable iff (rst) s_valid && !s_ready |=> s_valid && $stable(s_last));
  result_waits: assert property (@(posedge clk) disable iff (rst) m_valid && !m_ready |=> m_valid && $stable(m_data));
  tile_is_long_enough: assert property (@(posedge clk) disable iff (rst) complete |-> timer <= 1);
`endif
endmodule
"""


def _weight_stream(made: Array) -> str:
    unit, bits, latency = made.unit, made.unit.accumulator_bits, made.built.latency
    mode_port, mode = _mode_port(made, "weights or sums are in flight")
    weights = "".join(f"  input [COLUMNS*{width}-1:0] load_{port},\n" for port, width in made.column_fields)
    inputs = "".join(f"  input [ROWS*{width}-1:0] s_{port},\n" for port, width in made.row_fields)
    connected = "".join(f", .{port}(load_{port})" for port, _ in made.column_fields)
    connected += "".join(f", .{port}(s_{port})" for port, _ in made.row_fields) + mode
    arrived, last = (
        by_mode(unit, [f"{bits_of}[ROWS*{clocks}+COLUMNS-2]" for clocks in latency]) for bits_of in ("results", "lasts")
    )
    down = by_mode(unit, [f"{TIMER_BITS}'d{clocks}" for clocks in latency])
    stable = " && ".join(f"$stable(s_{port})" for port in ("first", "last", *(port for port, _ in made.row_fields)))
    still = " && ".join(f"$stable(load_{port})" for port, _ in made.column_fields)
    waits = "assert property (@(posedge clk) disable iff (rst)"
    kept = f"  mode_while_busy: {waits} ~fresh || |results || busy != 0 |=> $stable(mode));\n" if mode else ""
    return f"""\
// streams around {made.rows} x {made.columns} cells of {unit.name}
// ROWS beats of load_* are the weights of one tile, those of the bottom row first; the next load while the present ones
// are in use. A beat of s_* is one step of K per row with the sums of all columns so far, none with s_first; s_last
// marks the last beat that meets the present weights. The sums of a beat leave as one beat of m_data, in order.
module array_stream #(parameter ROWS = {made.rows}, parameter COLUMNS = {made.columns}) (
  input clk,
  input rst,  // synchronous, active high
{mode_port}  input load_valid,
  output load_ready,
{weights}  input s_valid,
  output s_ready,
  input s_first,
  input s_last,
{inputs}  input [COLUMNS*{bits}-1:0] s_psum,
  output m_valid,
  input m_ready,
  output m_last,
  output [COLUMNS*{bits}-1:0] m_data
);
  localparam DEPTH = ROWS*{max(latency)}+COLUMNS-1;
  localparam [{TIMER_BITS - 1}:0] HEIGHT = ROWS;
  localparam [{TIMER_BITS - 1}:0] ACROSS = COLUMNS - 1;
  reg [DEPTH-1:0] results;  // where in the array the sums of beats are
  reg [DEPTH-1:0] lasts;
  reg fresh;  // the next beat of activations is the first that meets the weights that wait
  reg [{TIMER_BITS - 1}:0] loaded;  // rows of weights that wait
  reg [{TIMER_BITS - 1}:0] busy;  // clocks until the last cell has taken its weights, and the next ones may come
  wire [{TIMER_BITS - 1}:0] passing = (HEIGHT - {TIMER_BITS}'d1) * {down} + ACROSS;
  wire whole = loaded == HEIGHT;
  assign m_valid = {arrived};
  assign m_last = {last};
  wire held = m_valid & ~m_ready;
  assign load_ready = ~held & ~whole & (busy == {TIMER_BITS}'d0);
  assign s_ready = ~held & (~fresh | whole);
  wire accepted = s_valid & s_ready;
  wire load = load_valid & load_ready;
  wire swap = accepted & fresh;
  // the array runs as long as something moves in it
  wire en = ~held & (accepted | load | |results | (busy != {TIMER_BITS}'d0));
  always @(posedge clk)
    if (rst) begin
      results <= {{DEPTH{{1'b0}}}};
      lasts <= {{DEPTH{{1'b0}}}};
      fresh <= 1'b1;
      loaded <= {TIMER_BITS}'d0;
      busy <= {TIMER_BITS}'d0;
    end else begin
      if (en) results <= {{results[DEPTH-2:0], accepted}};
      if (en) lasts <= {{lasts[DEPTH-2:0], s_last}};
      if (accepted) fresh <= s_last;
      if (swap) loaded <= {TIMER_BITS}'d0;
      else if (load) loaded <= loaded + {TIMER_BITS}'d1;
      if (swap) busy <= passing == {TIMER_BITS}'d0 ? {TIMER_BITS}'d0 : passing - {TIMER_BITS}'d1;
      else if (en & (busy != {TIMER_BITS}'d0)) busy <= busy - {TIMER_BITS}'d1;
    end
  array #(.ROWS(ROWS), .COLUMNS(COLUMNS)) cells (
    .clk(clk), .en(en), .swap(swap), .load(load), .first(s_first), .psum_in(s_psum){connected}, .out(m_data)
  );
`ifdef ARRAY_ASSERTIONS
  beat_waits: {waits} s_valid && !s_ready |=> s_valid && {stable});
  weights_wait: {waits} load_valid && !load_ready |=> load_valid && {still});
  result_waits: {waits} m_valid && !m_ready |=> m_valid && $stable(m_data));
  weights_are_whole: {waits} swap |-> loaded == HEIGHT);
{kept}`endif
endmodule
"""
