"""A cell library of our own, small enough to check by hand: 1 V, capacitances in fF, times in ps, leakage in nW."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

HEADER = """/* no group begins in a comment { */
library (tiny) {
  delay_model : table_lookup;
  capacitive_load_unit (1,ff);
  leakage_power_unit : "1nW";
  time_unit : "1ps";
  voltage_unit : "1V";
  current_unit : "1mA";
  pulling_resistance_unit : "1kohm";
  nom_voltage : 1.0;
  lu_table_template (delay) {
    variable_1 : input_net_transition;
    variable_2 : total_output_net_capacitance;
    index_1 ("10, 20");
    index_2 ("1, 9");
  }
"""

# name: (area, function, input capacitance in fF, internal energy in fJ)
GATES = {
    "inv": (1.0, "!A", 1.0, 0.25),
    "buf": (1.5, "A", 1.0, 0.5),
    "nand2": (2.0, "!(A * B)", 1.0, 0.5),
    "nor2": (2.0, "(A + B)'", 1.0, 0.5),
    "and2": (3.0, "A B", 1.0, 0.5),
    "or2": (3.0, "A | B", 1.0, 0.5),
    "xor2": (4.0, "A ^ B", 2.0, 1.0),
}


def _table(kind: str, value: float, index: str = "") -> str:
    row = f'"{value}, {value + 8}"'
    return f"{kind} (delay) {{ {index} values ( \\\n {row}, \\\n {row} ); }}"


def gate(name: str) -> str:
    area, function, capacitance, energy = GATES[name]
    inputs = [pin for pin in "AB" if pin in function]
    index = 'index_1 ("10, 20"); index_2 ("1, 9");'
    timing = "".join(
        f'timing () {{ related_pin : "{pin}"; timing_sense : {"non_unate" if name == "xor2" else _sense(function)}; '
        + " ".join(_table(k, 10, index) for k in ("cell_rise", "cell_fall", "rise_transition", "fall_transition"))
        + "}\n"
        for pin in inputs
    )
    power = _power('related_pin : "A";', energy, energy)
    pins = "".join(f"pin ({pin}) {{ direction : input; capacitance : {capacitance}; }}\n" for pin in inputs)
    output = f'pin (Y) {{ direction : output; function : "{function}"; max_capacitance : 100;\n{timing}{power} }}\n'
    return f"  cell ({name}) {{ area : {area}\n cell_leakage_power : {area}; {pins}{output} }}\n"


def _sense(function: str) -> str:
    return "negative_unate" if function[0] == "!" or function[-1] == "'" else "positive_unate"


def _power(about: str, rise: float, fall: float) -> str:
    tables = f'rise_power (scalar) {{ values ("{rise}"); }} fall_power (scalar) {{ values ("{fall}"); }}'
    return f"internal_power () {{ {about} {tables} }}\n"


def flip_flop(name: str = "dff", area: float = 8.0, clear: str = "", output: str = "IQ") -> str:
    """D, CK and Q (and an active-low R): 0.5 fJ for a clock edge, 2 fJ more for an edge that changes Q."""
    index = 'index_1 ("10, 20"); index_2 ("1, 9");'
    reset = "pin (R) { direction : input; capacitance : 1; }\n" if clear else ""
    arcs = " ".join(_table(k, 30, index) for k in ("cell_rise", "cell_fall", "rise_transition", "fall_transition"))
    setup = " ".join(_table(k, 5, index) for k in ("rise_constraint", "fall_constraint"))
    resting, changing = _power('when : "D Q";', 0.5, 0.5), _power('when : "D Q\'";', 0, 0.5)
    return f"""  cell ({name}) {{ area : {area}; cell_leakage_power : 8;
    ff (IQ, IQN) {{ clocked_on : "CK"; next_state : "D"; {clear} }}
    pin (CK) {{ direction : input; clock : true; capacitance : 1; {resting} {changing} }}
    pin (D) {{ direction : input; capacitance : 1;
      timing () {{ related_pin : "CK"; timing_type : setup_rising; {setup} }}
    }}
    {reset}pin (Q) {{ direction : output; function : "{output}"; max_capacitance : 100;
      timing () {{ related_pin : "CK"; timing_type : rising_edge; timing_sense : non_unate; {arcs} }}
      {_power('related_pin : "CK";', 2.5, 2.5)} }}
  }}
"""


def library(
    gates: Iterable[str] = tuple(GATES), flip_flops: Iterable[str] = (flip_flop(),), header: str = HEADER
) -> str:
    return "".join(itertools.chain([header], map(gate, gates), flip_flops, ["}\n"]))


# Four-bit products, summed in eight bits: gates of many depths before the flip-flops.
ACCUMULATOR = """module acc(input clk, input first, input [3:0] a, input [3:0] b, output reg [7:0] total);
  wire [7:0] sum = a * b + (first ? 8'd0 : total);
  always @(posedge clk) total <= sum;
endmodule
"""
