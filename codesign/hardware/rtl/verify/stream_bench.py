"""Test bench of a unit with handshakes: steps arrive and results leave with random pauses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codesign.hardware.rtl.emit.unit import Built
from codesign.hardware.rtl.verify.bench import Bits, compared_bits, hex_lines, operand_columns, to_bits
from codesign.hardware.rtl.verify.vectors import Flags, Vectors, summed

PATIENCE = 40  # clock cycles per step after which a bench that waits gives up


@dataclass(frozen=True)
class Beats:
    """The beats of an input stream in order."""

    name: str  # of the stream: its ports are NAME_valid, NAME_ready and NAME_FIELD
    fields: tuple[tuple[str, int], ...]  # (field of a beat, width)
    bits: Bits  # [beats, sum of widths], lowest field and bit first

    def ports(self) -> str:
        """Connections of the module under test."""
        low, found = 0, [f".{self.name}_valid({self.name}_valid)", f".{self.name}_ready({self.name}_accepted)"]
        for field, width in self.fields:
            found.append(f".{self.name}_{field}({self.name}_beat[{low + width - 1}:{low}])")
            low += width
        return ", ".join(found)

    def declared(self) -> str:
        name, (beats, width) = self.name, self.bits.shape
        return f"""\
  reg [{width - 1}:0] {name}_beats [0:{beats - 1}];
  reg [31:0] {name}_sent;
  reg {name}_valid;
  wire {name}_accepted;
  wire [{width - 1}:0] {name}_beat = {name}_beats[{name}_sent < {beats} ? {name}_sent : {beats - 1}];
"""

    def initial(self, index: int) -> str:
        return f"""\
    $readmemh("vectors_{self.name}_{index}.hex", {self.name}_beats);
    {self.name}_sent = 0;
    {self.name}_valid = 0;
"""

    def sending(self, bit: int) -> str:
        """bit: of the noise, which makes pauses."""
        name, beats = self.name, len(self.bits)
        return f"""\
      if ({name}_valid & {name}_accepted) {name}_sent <= {name}_sent + 1;
      if (!{name}_valid | {name}_accepted)
        {name}_valid <= (noise[{bit}] | now[9]) & ({name}_sent + ({name}_valid & {name}_accepted) < {beats});
"""


@dataclass(frozen=True)
class StreamTrace:
    """The beats of the input streams, and the results that the module is expected to give."""

    module: str
    inputs: tuple[Beats, ...]
    result_bits: int  # width of m_data
    results: Bits  # [results, bits that are compared]
    mode: int | None  # None for a unit of one format
    parameters: str = ""  # of the module, as Verilog writes them

    def memories(self, index: int) -> dict[str, str]:
        found = {f"vectors_{beats.name}_{index}.hex": hex_lines(beats.bits) for beats in self.inputs}
        return found | {f"results_{index}.hex": hex_lines(self.results)}

    def checker(self, index: int) -> str:
        ports = [beats.ports() for beats in self.inputs]
        if self.mode is not None:
            ports.append(f".mode({self.mode})")
        results, bits = self.results.shape
        limit = PATIENCE * sum(len(beats.bits) for beats in self.inputs) + 1000
        sending = "".join(beats.sending(7 + 2 * place) for place, beats in enumerate(self.inputs))
        return f"""\
module check_{index} (input clk, output reg done, output failed);
  reg [{bits - 1}:0] results [0:{results - 1}];
  reg [31:0] now, found, wrong;
  reg [15:0] noise;  // pauses of all sides, from a linear feedback shift register
  reg ready;
  wire rst = now < 4;
  wire offered;
  wire [{self.result_bits - 1}:0] data;
{"".join(beats.declared() for beats in self.inputs)}\
  wire [{bits - 1}:0] wanted = results[found < {results} ? found : {results - 1}];
  {self.module} {self.parameters}dut (
    .clk(clk), .rst(rst), {", ".join(ports)},
    .m_valid(offered), .m_ready(ready), .m_data(data)
  );
  assign failed = wrong != 0;
  initial begin
    $readmemh("results_{index}.hex", results);
{"".join(beats.initial(index) for beats in self.inputs)}\
    now = 0;
    found = 0;
    wrong = 0;
    ready = 0;
    noise = 16'hace1;
    done = 0;
  end
  wire differs = offered & ready & (data[{bits - 1}:0] !== wanted);
  wire late = now == {limit};
  always @(posedge clk) if (!done) begin
    now <= now + 1;
    noise <= {{noise[14:0], noise[15] ^ noise[13] ^ noise[12] ^ noise[10]}};
    if (!rst) begin
      // long phases without pauses, and phases with many
      ready <= noise[3] | now[8];
{sending}\
      if (offered & ready) begin
        found <= found + 1;
        if (differs) begin
          if (wrong < 5) $display("MISMATCH {index} result %0d: %h, expected %h", found, data, wanted);
          wrong <= wrong + 1;
        end
      end
      if (late | (offered & ready & (found == {results - 1}))) begin
        done <= 1;
        if (late) wrong <= wrong + {results} - found;
        $display("CHECK {index} {results} steps %0d wrong", wrong + differs + (late ? {results} - found : 0));
      end
    end
  end
endmodule
"""


@dataclass(frozen=True)
class StreamCheck:
    """Random sums for one mode of a unit with handshakes."""

    built: Built
    module: str
    vectors: Vectors
    last: Flags  # [steps], whether a step is the last one of its sum

    @classmethod
    def of(cls, built: Built, module: str, mode: int, groups: int = 60) -> StreamCheck:
        return cls(built, module, *summed(built.unit, mode, groups))

    def trace(self) -> StreamTrace:
        unit, vectors = self.built.unit, self.vectors
        fields, columns = operand_columns(unit, vectors)
        bits = compared_bits(unit, vectors.mode)
        return StreamTrace(
            self.module,
            (
                Beats(
                    "s", (*fields, ("last", 1)), np.concatenate([*columns, self.last[:, None]], axis=1, dtype=np.uint8)
                ),
            ),
            unit.accumulator_bits,
            to_bits(vectors.expected[self.last][:, None], bits, bits),
            vectors.mode if len(unit.modes) > 1 else None,
        )
