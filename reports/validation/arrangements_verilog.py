"""Other arrangements of dot-product units: generated ones side by side, and plain Verilog as one writes it by hand."""

from __future__ import annotations

import re
from collections.abc import Sequence

from codesign.formats import FloatElement
from codesign.hardware.rtl.emit.stream import payload
from codesign.hardware.rtl.emit.unit import Unit, build

_REGISTER = re.compile(r"^  always @\(posedge clk\) (\w+) <= (first|w|a|ws|as);$", re.MULTILINE)  # of an operand


def _module(ports: str, body: list[str]) -> str:
    return f"module unit (input clk, input first,\n  {ports}\n);\n" + "\n".join(body) + "\nendmodule\n"


def _held(bits: int) -> list[str]:
    return [
        f"  reg [{bits - 1}:0] wq, aq;",
        "  reg started;",
        "  always @(posedge clk) begin wq <= w; aq <= a; started <= first; end",
    ]


def plain_integer(bits: int, lanes: int, accumulator: int = 32) -> str:
    """Signed products with ``*``, summed with ``+``."""
    total = bits * lanes
    products = [f"$signed(wq[{bits * i} +: {bits}]) * $signed(aq[{bits * i} +: {bits}])" for i in range(lanes)]
    body = _held(total)
    body += [f"  wire signed [{2 * bits - 1}:0] p{i} = {product};" for i, product in enumerate(products)]
    body += [f"  reg signed [{accumulator - 1}:0] sum;", "  assign acc = sum;"]
    terms = " + ".join(f"p{i}" for i in range(lanes))
    body.append(f"  always @(posedge clk) sum <= (started ? {accumulator}'sd0 : sum) + {terms};")
    return _module(f"input [{total - 1}:0] w, a, output [{accumulator - 1}:0] acc", body)


def _nibbles(lanes: int) -> list[str]:
    """Bricks of 5 x 5 signed bits: chunks of an INT8 product (mode 0), or an INT4 product each (mode 1)."""
    body = []
    for lane in range(lanes):
        for i in range(2):
            for j in range(2):
                place, product = f"{lane}_{i}_{j}", 4 * lane + 2 * i + j
                for port, chunk in (("w", i), ("a", j)):
                    bits = f"{port}q[{8 * lane + 4 * chunk} +: 4]"
                    top = f"{port}q[{8 * lane + 7}]" if chunk else "1'b0"
                    narrow = f"{port}q[{4 * product + 3}], {port}q[{4 * product} +: 4]"
                    body.append(f"  wire signed [4:0] {port}_{place} = mode ? {{{narrow}}} : {{{top}, {bits}}};")
                body.append(f"  wire signed [9:0] p_{place} = w_{place} * a_{place};")
    return body


def bit_fusion(lanes: int) -> str:
    """INT8 and four times as many INT4 products: every brick's product is shifted, then all are added."""
    body = _held(16 * lanes) + _nibbles(lanes)
    terms = []
    for lane in range(lanes):
        for i in range(2):
            for j in range(2):
                place, shift = f"{lane}_{i}_{j}", 4 * (i + j)
                width = 10 + shift
                wide = f"{{p_{place}, {shift}'d0}}" if shift else f"p_{place}"
                body.append(f"  wire signed [{width - 1}:0] t_{place} = mode ? p_{place} : $signed({wide});")
                terms.append(f"t_{place}")
    body += ["  reg signed [31:0] sum;", "  assign acc = sum;"]
    body.append(f"  always @(posedge clk) sum <= (started ? 32'sd0 : sum) + {' + '.join(terms)};")
    return _module(f"input mode, input [{16 * lanes - 1}:0] w, a, output [31:0] acc", body)


def bricks_by_group(lanes: int) -> str:
    """The same, but bricks of one position are added over all lanes before they are shifted."""
    width = 11 + max(lanes - 1, 0).bit_length()
    body = _held(16 * lanes) + _nibbles(lanes)
    for i in range(2):
        for j in range(2):
            terms = " + ".join(f"p_{lane}_{i}_{j}" for lane in range(lanes))
            body.append(f"  wire signed [{width - 1}:0] g{i}{j} = {terms};")
    body.append(f"  wire signed [{width + 4}:0] middle = g01 + g10;")
    body.append("  wire signed [31:0] low = g00, mid = mode ? middle : middle <<< 4, high = mode ? g11 : g11 <<< 8;")
    body += ["  reg signed [31:0] sum;", "  assign acc = sum;"]
    body.append("  always @(posedge clk) sum <= (started ? 32'sd0 : sum) + low + mid + high;")
    return _module(f"input mode, input [{16 * lanes - 1}:0] w, a, output [31:0] acc", body)


def plain_float(element: FloatElement, lanes: int, window: int = 25) -> str:
    """Minifloat products, aligned to the largest exponent in `window` bits, added, normalised, added to an FP32 sum."""
    e, m = element.exponent_bits, element.mantissa_bits
    code, significand = element.bits, element.mantissa_bits + 1
    product, wide = 2 * significand, e + 1
    body = _held(code * lanes)
    for i in range(lanes):
        for port in "wa":
            bits = f"{port}q[{code * i} +: {code}]"
            body.append(f"  wire [{code - 1}:0] {port}{i} = {bits};")
            body.append(f"  wire {port}n{i} = {port}{i}[{code - 2}:{m}] != 0;")
            body.append(f"  wire [{significand - 1}:0] {port}s{i} = {{{port}n{i}, {port}{i}[{m - 1}:0]}};")
            body.append(f"  wire [{e - 1}:0] {port}e{i} = {port}n{i} ? {port}{i}[{code - 2}:{m}] : {e}'d1;")
        body.append(f"  wire [{product - 1}:0] p{i} = ws{i} * as{i};")
        body.append(f"  wire [{wide - 1}:0] x{i} = we{i} + ae{i};")
        before = f"m{i - 1}" if i else "x0"
        body.append(f"  wire [{wide - 1}:0] m{i} = x{i} > {before} ? x{i} : {before};")
    top, total = f"m{lanes - 1}", window + max(lanes - 1, 0).bit_length() + 1
    terms = []
    for i in range(lanes):
        body.append(f"  wire [{window - 1}:0] f{i} = {{p{i}, {window - product}'d0}} >> ({top} - x{i});")
        negative = f"w{i}[{code - 1}] ^ a{i}[{code - 1}]"
        body.append(f"  wire signed [{window}:0] t{i} = ({negative}) ? -$signed({{1'b0, f{i}}}) : {{1'b0, f{i}}};")
        terms.append(f"t{i}")
    # exponent of the sum's lowest bit, biased as in FP32 for a number whose top bit is bit 23
    offset = 2 * (-element.bias - m) - (window - product) + total - 2 + 127
    body += [
        f"  wire signed [{total - 1}:0] s = {' + '.join(terms)};",
        f"  wire ss = s[{total - 1}];",
        f"  wire [{total - 2}:0] mag = ss ? -s : s;",
        "  integer k;",
        "  reg [5:0] z;",
        f"  always @* begin z = 0; for (k = 0; k < {total - 1}; k = k + 1) if (mag[k]) z = {total - 2} - k; end",
        f"  wire [{total - 2}:0] nm = mag << z;",
        f"  wire [9:0] ne = mag == 0 ? 10'd0 : {top} + 10'd{offset} - z;",
        *_fp32_sum(total - 1),
    ]
    return _module(f"input [{code * lanes - 1}:0] w, a, output [31:0] acc", body)


def _fp32_sum(bits: int) -> list[str]:
    """sum + (ss, ne, nm): a number of `bits` bits, normalised, with a biased exponent; rounded to nearest even."""
    width = max(24, bits)
    frame = width + 4  # carry in front; guard, round and sticky behind
    return [
        "  reg [31:0] sum;",
        "  assign acc = sum;",
        "  wire [31:0] old = started ? 32'd0 : sum;",
        "  wire on = old[30:23] != 0;",
        "  wire [9:0] oe = on ? old[30:23] : 10'd1;",
        f"  wire [{width - 1}:0] om = {{on, old[22:0]{_zeros(width - 24)}}};",
        f"  wire [{width - 1}:0] xm = {{nm{_zeros(width - bits)}}};",
        "  wire swap = {ne, xm} > {oe, om};",
        "  wire [9:0] be = swap ? ne : oe, distance = be - (swap ? oe : ne);",
        f"  wire [{width - 1}:0] bm = swap ? xm : om, lm = swap ? om : xm;",
        "  wire bs = swap ? ss : old[31];",
        f"  wire [9:0] far = distance > {frame} ? 10'd{frame} : distance;",
        f"  wire [{2 * frame - 1}:0] moved = {{1'b0, lm, {frame + 3}'d0}} >> far;",
        f"  wire [{frame - 1}:0] lf = {{moved[{2 * frame - 1}:{frame + 1}], |moved[{frame}:0]}};",
        f"  wire [{frame - 1}:0] r = (ss ^ old[31]) ? {{1'b0, bm, 3'd0}} - lf : {{1'b0, bm, 3'd0}} + lf;",
        "  integer n;",
        "  reg [5:0] lz;",
        f"  always @* begin lz = 0; for (n = 0; n < {frame}; n = n + 1) if (r[n]) lz = {frame - 1} - n; end",
        "  wire [9:0] shift = lz > be ? be : lz;",
        f"  wire [{frame - 1}:0] q = r << shift;",
        f"  wire [9:0] qe = q[{frame - 1}] ? be + 10'd1 - shift : 10'd0;",
        f"  wire up = q[{frame - 25}] & (q[{frame - 24}] | (|q[{frame - 26}:0]));",
        f"  wire [32:0] packed = {{qe, q[{frame - 2}:{frame - 24}]}} + up;",
        "  wire [30:0] value = packed[32:23] >= 10'd255 ? 31'h7f7fffff : packed[30:0];",
        "  always @(posedge clk) sum <= {bs & (r != 0), value};",
    ]


def _zeros(count: int) -> str:
    return f", {count}'d0" if count else ""


def side_by_side(unit: Unit, own: Sequence[Unit]) -> str:
    """A unit of one format for each mode of `unit`: operand registers are common, those of idle units read 0."""
    modules, body, results = [], [], []
    ports = [("first", 1), *payload(unit)]
    bits = (len(own) - 1).bit_length()
    declared = "".join(f"input [{width - 1}:0] {port},\n  " for port, width in ports)
    for port, width in ports:
        body += [f"  reg [{width - 1}:0] {port}_q;", f"  always @(posedge clk) {port}_q <= {port};"]
    for index, one in enumerate(own):
        text = build(one, f"own{index}").text
        modules.append(_REGISTER.sub(r"  always @* \1 = \2;", text))
        body.append(f"  wire on{index} = mode == {bits}'d{index};")
        connected = [
            f".{port}({port}_q[{width - 1}:0] & {{{width}{{on{index}}}}})"
            for port, width in [("first", 1), *payload(one)]
        ]
        body.append(f"  wire [{one.accumulator_bits - 1}:0] acc{index};")
        body.append(f"  own{index} part{index} (.clk(clk), {', '.join(connected)}, .acc(acc{index}));")
        results.append(f"on{index} ? acc{index} : ")
    results[-1] = f"acc{len(own) - 1}"
    top = f"module unit (input clk, {declared}input [{bits - 1}:0] mode, output [{unit.accumulator_bits - 1}:0] acc);\n"
    return "\n".join([top + "\n".join(body), f"  assign acc = {''.join(results)};", "endmodule", *modules])
