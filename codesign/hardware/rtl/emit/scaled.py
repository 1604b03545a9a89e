"""Block sums times integer scales, added as integers: what vector-scaled quantization asks of a unit.

Dai et al. 2021 (VS-Quant): the scales of two vectors are integers of few bits, so that their product times the
vectors' integer dot product is an integer, and an integer accumulator takes the place of a floating-point one.
"""

from __future__ import annotations

from collections.abc import Sequence

from codesign.hardware.arithmetic.modes import Mode, Side
from codesign.hardware.rtl.emit.compress import Rows, add, compress
from codesign.hardware.rtl.emit.pipeline import Pipeline
from codesign.hardware.rtl.emit.verilog import Module, Net


def scale_code(m: Module, pipe: Pipeline, mode: Mode, side: str, group: int) -> Net | None:
    """The code of the scale by which one operand of a block sum is multiplied; None without."""
    operand: Side = getattr(mode, side)
    if operand.scale is None:
        return None
    # a block that is longer than the other operand's covers several groups
    index = group * mode.block // operand.block if mode.products > operand.block else 0
    width = operand.scale.bits
    codes = pipe.controls[{"weight": "ws0", "activation": "as0"}[side]]
    return m.wire(width, codes.part((index + 1) * width - 1, index * width), "scale")


def scaled_sum(m: Module, pipe: Pipeline, mode: Mode, sums: Sequence[Net], width: int) -> tuple[Net, ...]:
    """The sum of two's complement block sums times their integer scales, as two rows modulo 2**width."""
    rows = Rows(m, width)
    with m.section("scales"):
        for group, total in enumerate(sums):
            codes = [scale_code(m, pipe, mode, side, group) for side in ("weight", "activation")]
            factor, *others = [code for code in codes if code is not None]
            for other in others:
                product = Rows(m, factor.width + other.width)
                product.product(factor, other, False, False)
                factor = add(m, product, "scales")
            rows.product(total, factor, True, False)
        return pipe("scale", *compress(m, rows))
