"""Test bench of a unit with handshakes: steps arrive and results leave with random pauses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codesign.hardware.rtl.emit.unit import Built
from codesign.hardware.rtl.verify.bench import Bits, compared_bits, hex_lines, operand_columns, to_bits
from codesign.hardware.rtl.verify.vectors import Flags, Vectors, summed

PATIENCE = 40  # clock cycles per step after which a bench that waits gives up


@dataclass(frozen=True)
class StreamTrace:
    """The beats of a stream in order, and the results that it expects."""

    module: str
    fields: tuple[tuple[str, int], ...]  # (port of a beat, width)
    beats: Bits  # [beats, sum of widths], lowest port and bit first
    result_bits: int  # width of m_data
    results: Bits  # [results, bits that are compared]
    mode: int | None  # None for a unit of one format
    parameters: str = ""  # of the module, as Verilog writes them

    def memories(self, index: int) -> dict[str, str]:
        return {f"vectors_{index}.hex": hex_lines(self.beats), f"results_{index}.hex": hex_lines(self.results)}

    def checker(self, index: int) -> str:
        low, ports = 0, []
        for port, width in self.fields:
            ports.append(f".{port}(beat[{low + width - 1}:{low}])")
            low += width
        if self.mode is not None:
            ports.append(f".mode({self.mode})")
        (beats, width), (results, bits) = self.beats.shape, self.results.shape
        limit = PATIENCE * beats + 1000
        return f"""\
module check_{index} (input clk, output reg done, output failed);
  reg [{width - 1}:0] beats [0:{beats - 1}];
  reg [{bits - 1}:0] results [0:{results - 1}];
  reg [31:0] now, sent, found, wrong;
  reg [15:0] noise;  // pauses of both sides, from a linear feedback shift register
  reg valid, ready;
  wire rst = now < 4;
  wire accepted, offered;
  wire [{self.result_bits - 1}:0] data;
  wire [{width - 1}:0] beat = beats[sent < {beats} ? sent : {beats - 1}];
  wire [{bits - 1}:0] wanted = results[found < {results} ? found : {results - 1}];
  {self.module} {self.parameters}dut (
    .clk(clk), .rst(rst), .s_valid(valid), .s_ready(accepted), {", ".join(ports)},
    .m_valid(offered), .m_ready(ready), .m_data(data)
  );
  assign failed = wrong != 0;
  initial begin
    $readmemh("vectors_{index}.hex", beats);
    $readmemh("results_{index}.hex", results);
    now = 0;
    sent = 0;
    found = 0;
    wrong = 0;
    valid = 0;
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
      if (valid & accepted) sent <= sent + 1;
      if (!valid | accepted) valid <= (noise[7] | now[9]) & (sent + (valid & accepted) < {beats});
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
            (*((f"s_{port}", width) for port, width in fields), ("s_last", 1)),
            np.concatenate([*columns, self.last[:, None].astype(np.uint8)], axis=1),
            unit.accumulator_bits,
            to_bits(vectors.expected[self.last][:, None], bits, bits),
            vectors.mode if len(unit.modes) > 1 else None,
        )
