"""A self-checking test bench: a memory of inputs and expected outputs, compared in every clock cycle.

The checker is synchronous and reads one file; `CLOCK` drives it in a Verilog simulator, `MAIN` in Verilator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from codesign.hardware.rtl.emit.unit import Built, Unit
from codesign.hardware.rtl.verify.vectors import Vectors

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
  return top.failed ? 1 : 0;
}
"""

CLOCK = """\
module bench;
  reg clk = 0;
  always #1 clk = ~clk;
  wire done, failed;
  checks all (.clk(clk), .done(done), .failed(failed));
`ifdef __ICARUS__
  always @(posedge clk) if (done && failed) $finish_and_return(1);
`endif
endmodule
"""


@dataclass(frozen=True)
class Trace:
    """Inputs and expected outputs of an instance of `module` in every clock cycle."""

    module: str
    fields: tuple[tuple[str, int], ...]  # (input port, width)
    inputs: Bits  # [clocks, sum of widths], lowest port and bit first
    output: str  # the port that is compared
    output_bits: int  # its width
    expected: Bits  # [clocks, bits], its lowest bits `latency` clock cycles after the inputs of the same line
    latency: int
    compared: npt.NDArray[np.bool_] | None = None  # [clocks], the lines that are compared; None: all
    constants: Mapping[str, int] = field(default_factory=dict)  # input ports that do not change
    parameters: Mapping[str, int] = field(default_factory=dict)  # of the module

    def checker(self, index: int) -> str:
        return _checker(self, index)

    def memories(self, index: int) -> dict[str, str]:
        columns = [self.inputs, self.expected]
        if self.compared is not None:
            columns.append(self.compared[:, None].astype(np.uint8))
        return {f"vectors_{index}.hex": hex_lines(np.concatenate(columns, axis=1))}


class Written(Protocol):
    """A checker as text: the module ``check_INDEX`` and the files that it reads."""

    def checker(self, index: int) -> str: ...
    def memories(self, index: int) -> Mapping[str, str]: ...


class Checked(Protocol):
    """Anything that can be checked by a test bench."""

    def trace(self) -> Written: ...


@dataclass(frozen=True)
class Check:
    """Test vectors for one mode of a unit, with the name of the unit's module."""

    built: Built
    module: str
    vectors: Vectors

    def trace(self) -> Trace:
        unit, vectors = self.built.unit, self.vectors
        fields, columns = operand_columns(unit, vectors)
        bits = compared_bits(unit, vectors.mode)
        constants = {"mode": vectors.mode} if len(unit.pairs) > 1 else {}
        return Trace(
            self.module,
            (*fields, ("first", 1)),
            np.concatenate([*columns, vectors.first[:, None].astype(np.uint8)], axis=1),
            "acc",
            unit.accumulator_bits,
            to_bits(vectors.expected[:, None], bits, bits),
            self.built.latency[vectors.mode],
            constants=constants | ({"en": 1} if self.built.enable else {}),
        )


def operand_columns(unit: Unit, vectors: Vectors) -> tuple[list[tuple[str, int]], list[Bits]]:
    """(port, width) of the operands of a unit, and their bits in every step."""
    mode = unit.modes[vectors.mode]
    fields = [("w", unit.port_bits("weight")), ("a", unit.port_bits("activation"))]
    columns = [
        to_bits(vectors.weight, mode.weight.bits, fields[0][1]),
        to_bits(vectors.activation, mode.activation.bits, fields[1][1]),
    ]
    scales = (("ws", "weight", vectors.weight_scale), ("as", "activation", vectors.activation_scale))
    for port, side, codes in scales:
        width = unit.scale_port_bits(side)
        if width:
            fields.append((port, width))
            columns.append(
                np.zeros((vectors.steps, width), np.uint8)
                if codes is None
                else to_bits(codes, getattr(mode, side).scale.bits, width)
            )
    return fields, columns


def write_checks(checks: Sequence[Checked], folder: Path) -> None:
    """Write checks.v (all checkers), bench.v, main.cpp and one .hex file of vectors per check."""
    traces = [check.trace() for check in checks]
    text = [trace.checker(index) for index, trace in enumerate(traces)]
    done = " & ".join(f"done_{i}" for i in range(len(checks)))
    failed = " | ".join(f"failed_{i}" for i in range(len(checks)))
    body = [
        f"  wire done_{i}, failed_{i};\n  check_{i} check{i} (.clk(clk), .done(done_{i}), .failed(failed_{i}));"
        for i in range(len(checks))
    ]
    body += [f"  assign done = {done};", f"  assign failed = {failed};"]
    body += ["`ifdef __ICARUS__", "  always @(posedge clk) if (done && !failed) $finish;", "`else"]
    body += ["  always @(posedge clk) if (done) $finish;", "`endif"]
    text.append("module checks (input clk, output done, output failed);\n" + "\n".join(body) + "\nendmodule\n")
    (folder / "checks.v").write_text("\n".join(text), encoding="utf-8")
    (folder / "bench.v").write_text(CLOCK, encoding="utf-8")
    (folder / "main.cpp").write_text(MAIN, encoding="utf-8")
    for index, trace in enumerate(traces):
        for name, lines in trace.memories(index).items():
            (folder / name).write_text(lines, encoding="ascii")


def _checker(trace: Trace, index: int) -> str:
    low, ports = 0, []
    for port, width in trace.fields:
        ports.append(f".{port}(line[{low + width - 1}:{low}])")
        low += width
    ports += [f".{port}({value})" for port, value in trace.constants.items()]
    steps, bits = trace.expected.shape
    top, latency = low + bits, trace.latency
    parameters = ", ".join(f".{name}({value})" for name, value in trace.parameters.items())
    compared = steps if trace.compared is None else int(trace.compared.sum())
    care = "" if trace.compared is None else f"past[{top}] && "
    width = top + (trace.compared is not None)
    return f"""\
module check_{index} (input clk, output reg done, output failed);
  reg [{width - 1}:0] steps [0:{steps - 1}];
  reg [31:0] now;
  reg [31:0] wrong;
  wire [{width - 1}:0] line = steps[now < {steps} ? now : {steps - 1}];
  wire [{width - 1}:0] past = steps[now < {latency} ? 0 : now - {latency}];
  wire [{trace.output_bits - 1}:0] found;
  wire differs = {care}found[{bits - 1}:0] !== past[{top - 1}:{low}];
  {trace.module} {f"#({parameters}) " if parameters else ""}dut (.clk(clk), {", ".join(ports)}, .{trace.output}(found));
  assign failed = wrong != 0;
  initial begin
    $readmemh("vectors_{index}.hex", steps);
    now = 0;
    wrong = 0;
    done = 0;
  end
  always @(posedge clk) if (!done) begin
    if (now >= {latency} && differs) begin
      if (wrong < 5)
        $display("MISMATCH {index} step %0d: %h, expected %h", now - {latency}, found, past[{top - 1}:{low}]);
      wrong <= wrong + 1;
    end
    if (now == {steps + latency - 1}) begin
      done <= 1;
      $display("CHECK {index} %0d steps %0d wrong", {compared}, wrong + differs);
    end
    now <= now + 1;
  end
endmodule
"""


def compared_bits(unit: Unit, mode: int) -> int:
    """Width of a mode's accumulator."""
    element = unit.modes[mode].float_element
    return element.bits if element else unit.accumulator_bits


def hex_lines(columns: Bits) -> str:
    """Bits [lines, width], lowest first, as lines of a file that $readmemh reads."""
    lines = columns[:, ::-1]  # highest bit first
    pad = -lines.shape[1] % 8
    packed = np.packbits(np.concatenate([np.zeros((len(lines), pad), np.uint8), lines], axis=1), axis=1)
    return "\n".join(row.tobytes().hex() for row in packed) + "\n"


def to_bits(codes: npt.NDArray[np.int64], bits: int, width: int) -> Bits:
    """Codes [steps, n] of `bits` bits as bits [steps, width], lowest first; unused bits are zero."""
    out = np.zeros((len(codes), width), np.uint8)
    for i in range(bits):
        out[:, i : codes.shape[1] * bits : bits] = (codes >> i & 1).astype(np.uint8)
    return out
