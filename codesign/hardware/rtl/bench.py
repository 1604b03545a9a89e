"""A self-checking test bench: a memory of steps and expected accumulators, compared every clock.

The checker is synchronous and reads one file; `bench` drives its clock in a Verilog simulator,
`MAIN` in one that compiles to C++.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from codesign.hardware.rtl.unit import Built, Unit
from codesign.hardware.rtl.vectors import Vectors

Bits = npt.NDArray[np.uint8]

MAIN = """\
#include "Vchecks.h"
#include "verilated.h"
int main(int argc, char** argv) {
  VerilatedContext context;
  context.commandArgs(argc, argv);
  Vchecks top(&context);
  top.clk = 0;
  while (!context.gotFinish()) { top.clk = !top.clk; top.eval(); }
  return 0;
}
"""

CLOCK = """\
module bench;
  reg clk = 0;
  always #1 clk = ~clk;
  checks all (.clk(clk));
endmodule
"""


@dataclass(frozen=True)
class Check:
    """One unit (by module name), one of its modes, and its vectors."""

    built: Built
    module: str
    vectors: Vectors


def write_checks(checks: Sequence[Check], folder: Path) -> None:
    """checks.v (all checkers), bench.v, main.cpp and one .hex file of vectors per check."""
    text = [_checker(check, index) for index, check in enumerate(checks)]
    done = " & ".join(f"done_{i}" for i in range(len(checks)))
    body = [f"  wire done_{i};\n  check_{i} check{i} (.clk(clk), .done(done_{i}));" for i in range(len(checks))]
    finish = f"  always @(posedge clk) if ({done}) $finish;"
    text.append("module checks (input clk);\n" + "\n".join([*body, finish]) + "\nendmodule\n")
    (folder / "checks.v").write_text("\n".join(text), encoding="utf-8")
    (folder / "bench.v").write_text(CLOCK, encoding="utf-8")
    (folder / "main.cpp").write_text(MAIN, encoding="utf-8")
    for index, check in enumerate(checks):
        (folder / f"vectors_{index}.hex").write_text(_hex(check), encoding="ascii")


def _fields(check: Check) -> list[tuple[str, int]]:
    """Ports and their widths in one line of the file, lowest bits first."""
    unit = check.built.unit
    fields = [("w", unit.port_bits("weight")), ("a", unit.port_bits("activation"))]
    fields += [
        (port, bits) for port, side in (("ws", "weight"), ("as", "activation")) if (bits := unit.scale_port_bits(side))
    ]
    return [*fields, ("first", 1)]


def _checker(check: Check, index: int) -> str:
    fields, steps = _fields(check), check.vectors.steps
    bits, low, ports = compared_bits(check.built.unit, check.vectors.mode), 0, []
    for port, width in fields:
        ports.append(f".{port}(line[{low + width - 1}:{low}])")
        low += width
    if len(check.built.unit.pairs) > 1:
        ports.append(f".mode({check.vectors.mode})")
    latency = check.built.latency[check.vectors.mode]
    return f"""\
module check_{index} (input clk, output reg done);
  reg [{low + bits - 1}:0] steps [0:{steps - 1}];
  reg [31:0] now;
  reg [31:0] wrong;
  wire [{low + bits - 1}:0] line = steps[now < {steps} ? now : {steps - 1}];
  wire [{low + bits - 1}:0] past = steps[now < {latency} ? 0 : now - {latency}];
  wire [{check.built.unit.accumulator_bits - 1}:0] acc;
  wire differs = acc[{bits - 1}:0] !== past[{low + bits - 1}:{low}];
  {check.module} unit (.clk(clk), {", ".join(ports)}, .acc(acc));
  initial begin
    $readmemh("vectors_{index}.hex", steps);
    now = 0;
    wrong = 0;
    done = 0;
  end
  always @(posedge clk) if (!done) begin
    if (now >= {latency} && differs) begin
      if (wrong < 5)
        $display("MISMATCH {index} step %0d: %h, expected %h", now - {latency}, acc, past[{low + bits - 1}:{low}]);
      wrong <= wrong + 1;
    end
    if (now == {steps + latency - 1}) begin
      done <= 1;
      $display("CHECK {index} %0d steps %0d wrong", {steps}, wrong + differs);
    end
    now <= now + 1;
  end
endmodule
"""


def compared_bits(unit: Unit, mode: int) -> int:
    """Width of a mode's accumulator within the unit's."""
    element = unit.modes[mode].float_element
    return element.bits if element else unit.accumulator_bits


def _hex(check: Check) -> str:
    unit, vectors = check.built.unit, check.vectors
    mode = unit.modes[vectors.mode]
    columns = [
        _bits(vectors.weight, mode.weight.bits, unit.port_bits("weight")),
        _bits(vectors.activation, mode.activation.bits, unit.port_bits("activation")),
    ]
    for side, codes in (("weight", vectors.weight_scale), ("activation", vectors.activation_scale)):
        width = unit.scale_port_bits(side)
        if width and codes is not None:
            columns.append(_bits(codes, getattr(mode, side).scale.bits, width))
        elif width:
            columns.append(np.zeros((vectors.steps, width), np.uint8))
    columns.append(vectors.first[:, None].astype(np.uint8))
    bits = compared_bits(unit, vectors.mode)
    columns.append(_bits(vectors.expected[:, None], bits, bits))
    lines = np.concatenate(columns, axis=1)[:, ::-1]  # highest bit first
    pad = -lines.shape[1] % 8
    packed = np.packbits(np.concatenate([np.zeros((len(lines), pad), np.uint8), lines], axis=1), axis=1)
    return "\n".join(row.tobytes().hex() for row in packed) + "\n"


def _bits(codes: npt.NDArray[np.int64], bits: int, width: int) -> Bits:
    """Codes [steps, n] as bits [steps, width], lowest first; unused bits are zero."""
    out = np.zeros((len(codes), width), np.uint8)
    for i in range(bits):
        out[:, i : codes.shape[1] * bits : bits] = (codes >> i & 1).astype(np.uint8)
    return out
