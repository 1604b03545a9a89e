"""A unit with valid/ready handshakes: a thin wrapper around the core that was priced, and a header of its parameters.

The core has no reset, as old sums leave with `first`, and no handshake; its one addition is `en`, a clock enable of all
registers, which synthesis removes where it is tied high. The wrapper holds the core still while a result waits or while
the next step of a sum is late, and follows results along the pipeline. Its own registers alone are reset.
"""

from __future__ import annotations

from collections.abc import Sequence

from codesign.hardware.rtl.emit.blocks import ceil_log2
from codesign.hardware.rtl.emit.unit import Built, Unit


def payload(unit: Unit) -> list[tuple[str, int]]:
    """(port, bits) of the operands of one step."""
    ports = [("w", unit.port_bits("weight")), ("a", unit.port_bits("activation"))]
    scales = [("ws", unit.scale_port_bits("weight")), ("as", unit.scale_port_bits("activation"))]
    return ports + [(port, bits) for port, bits in scales if bits]


def turns(unit: Unit) -> list[int]:
    """By mode, the number of sums that take turns."""
    return [unit.interleave if mode.float_element else 1 for mode in unit.modes]


def control_registers(built: Built) -> int:
    """Flip-flops of the wrapper."""
    most = max(turns(built.unit))
    return max(built.latency) + 2 + (ceil_log2(most) if most > 1 else 0)


def header(built: Built, name: str) -> str:
    """The Verilog header ``NAME_params.vh``: sizes, latencies and modes as macros."""
    unit, prefix = built.unit, name.upper()
    rows = [("LANES", str(unit.lanes)), ("ACC_BITS", str(unit.accumulator_bits))]
    rows += [(f"{port.upper()}_BITS", str(bits)) for port, bits in payload(unit)]
    rows += [("MODES", str(len(unit.modes))), ("MODE_BITS", str(ceil_log2(len(unit.modes))))]
    for index, mode in enumerate(unit.modes):
        pair = str(mode.pair).replace(":", "_").upper()
        rows += [
            (f"MODE_{pair}", str(index)),
            (f"PRODUCTS_{index}", str(mode.products)),
            (f"LATENCY_{index}", str(built.latency[index])),
            (f"INTERLEAVE_{index}", str(turns(unit)[index])),
        ]
    lines = [f"`define {prefix}_{key} {value}" for key, value in rows]
    return "\n".join([f"`ifndef {prefix}_PARAMS", f"`define {prefix}_PARAMS", *lines, "`endif", ""])


def by_mode(unit: Unit, choices: Sequence[str]) -> str:
    """``choices[mode]`` as an expression."""
    expression = choices[-1]
    for index in range(len(choices) - 2, -1, -1):
        if choices[index] != expression:
            expression = f"(mode == {ceil_log2(len(unit.modes))}'d{index} ? {choices[index]} : {expression})"
    return expression


def turn_counter(unit: Unit) -> str:
    """Whether a beat ends a round of sums that take turns (`round`), and whether sums are open (`open`)."""
    most = max(turns(unit))
    if most == 1:
        return "  wire round = 1'b1;\n  wire open = begun;\n"
    bits = ceil_log2(most)
    final = by_mode(unit, [f"{bits}'d{count - 1}" for count in turns(unit)])
    return f"""\
  // sums take turns: one step of each, then the next step of each
  reg [{bits - 1}:0] turn;
  wire round = turn == {final};
  always @(posedge clk)
    if (rst) turn <= {bits}'d0;
    else if (accepted) turn <= round ? {bits}'d0 : turn + {bits}'d1;
  wire open = begun | (turn != {bits}'d0);
"""


def stream(built: Built, name: str) -> str:
    """The module ``NAME_stream`` around a unit that was built with an enable."""
    unit, prefix = built.unit, name.upper()
    depth = max(built.latency)
    ports = payload(unit)
    modes = ceil_log2(len(unit.modes))
    mode_port = f"  input [{modes - 1}:0] mode,  // constant while sums are open or in flight\n" if modes else ""
    inputs = "".join(f"  input [`{prefix}_{port.upper()}_BITS-1:0] s_{port},\n" for port, _ in ports)
    connected = "".join(f", .{port}(s_{port})" for port, _ in ports) + (", .mode(mode)" if modes else "")
    arriving = by_mode(unit, [f"results[{latency - 1}]" for latency in built.latency])
    turn = turn_counter(unit)
    return f"""\
`include "{name}_params.vh"
// valid/ready around {unit.name}: every accepted beat is one step of a sum, s_last marks its last step
module {name}_stream (
  input clk,
  input rst,  // synchronous, active high
{mode_port}  input s_valid,
  output s_ready,
  input s_last,
{inputs}  output m_valid,
  input m_ready,
  output [`{prefix}_ACC_BITS-1:0] m_data
);
  reg begun;  // all open sums have their first step
{turn}  reg [{depth - 1}:0] results;  // where in the pipeline results are
  reg taken;  // the result at the output was taken while the pipeline stood still
  wire arrived = {arriving};
  assign m_valid = arrived & ~taken;
  wire held = m_valid & ~m_ready;
  // an open sum waits for its next step; without one, the pipeline runs as long as results are in it
  wire en = ~held & (s_valid | (~open & |results));
  assign s_ready = ~held;
  wire accepted = s_valid & s_ready;
  always @(posedge clk)
    if (rst) begin
      begun <= 1'b0;
      results <= {depth}'d0;
      taken <= 1'b0;
    end else begin
      if (accepted & round) begun <= ~s_last;
      if (en) results <= {{results[{depth - 2}:0], accepted & s_last}};
      taken <= ~en & (taken | (m_valid & m_ready));
    end
  {name} core (.clk(clk), .en(en), .first(~begun){connected}, .acc(m_data));
{_assertions(name, ports, bool(modes))}endmodule
"""


def _assertions(name: str, ports: Sequence[tuple[str, int]], modes: bool) -> str:
    """SystemVerilog assertions of the protocol; other tools do not see them."""
    stable = " && ".join(f"$stable(s_{port})" for port in ("last", *(port for port, _ in ports)))
    mode = (
        "  mode_while_busy: assert property (@(posedge clk) disable iff (rst) open || |results |=> $stable(mode));\n"
        if modes
        else ""
    )
    return f"""\
`ifdef {name.upper()}_ASSERTIONS
  // the producer keeps a beat until it is accepted
  beat_waits: assert property (@(posedge clk) disable iff (rst) s_valid && !s_ready |=> s_valid && {stable});
  // so does this module with a result
  result_waits: assert property (@(posedge clk) disable iff (rst) m_valid && !m_ready |=> m_valid && $stable(m_data));
  // a round of steps ends all its sums or none
  last_by_rounds: assert property (
    @(posedge clk) disable iff (rst) accepted && !round |=> !accepted || $stable(s_last)
  );
{mode}`endif
"""
