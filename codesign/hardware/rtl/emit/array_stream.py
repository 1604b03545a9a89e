"""An output-stationary array with plain streams: beats of operands in, rows of results out, both with valid/ready.

The wrapper makes the array's `first`, `last` and `shift` from the beats' `s_last`, and holds the array still while a
result waits or while the next beat of an open tile is late. It needs an array that was built with an enable.
"""

from __future__ import annotations

from codesign.errors import InputError
from codesign.hardware.rtl.emit.array import Array
from codesign.hardware.rtl.emit.blocks import ceil_log2
from codesign.hardware.rtl.emit.stream import by_mode, turn_counter, turns

TIMER_BITS = 16


def array_stream(made: Array) -> str:
    """The module ``array_stream``; raises InputError for a weight-stationary array, or one without an enable."""
    if made.dataflow != "output" or not made.built.enable:
        raise InputError("a stream needs an output-stationary array with an enable")
    unit, bits = made.unit, made.unit.accumulator_bits
    modes = ceil_log2(len(unit.modes))
    mode_port = f"  input [{modes - 1}:0] mode,  // constant while tiles are open or in flight\n" if modes else ""
    sides = [(field, "ROWS") for field in made.row_fields] + [(field, "COLUMNS") for field in made.column_fields]
    inputs = "".join(f"  input [{count}*{width}-1:0] s_{port},\n" for (port, width), count in sides)
    connected = "".join(f", .{port}(s_{port})" for (port, _), _ in sides) + (", .mode(mode)" if modes else "")
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
