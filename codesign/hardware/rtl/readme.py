"""The README of a unit's Verilog: ports, latency, meaning of the numbers, how to run the benches, what was priced."""

from __future__ import annotations

from dataclasses import dataclass

from codesign.formats import FloatElement, IntElement
from codesign.formats.tabulated import CodebookElement, LogElement
from codesign.hardware.arithmetic.modes import Mode, Side
from codesign.hardware.rtl.analyse.parts import bill_of_materials
from codesign.hardware.rtl.emit.requantize import BuiltRequantizer
from codesign.hardware.rtl.emit.stream import control_registers, payload, turns
from codesign.hardware.rtl.emit.unit import Built


@dataclass(frozen=True)
class Price:
    """What a unit was priced at."""

    model: str
    node_nm: float
    clock_ghz: float
    area_um2: float
    delay_ns: float
    register_um2: float  # a flip-flop
    select_um2: float  # a selector in front of one, where a library has no clock gate


@dataclass(frozen=True)
class WrittenRequantizer:
    """A requantizer beside a unit."""

    built: BuiltRequantizer
    area_um2: float
    energy_pj: float  # per number


_TEXT = """\
{name}.v          the compute unit {unit}: {pairs}; accumulator {accumulator}, {lanes} lanes
{name}_stream.v   the same with valid/ready handshakes and a synchronous reset
{name}_params.vh  widths, latencies and modes as macros
{beside}checks.v, vectors_*.hex, results_*.hex, bench.v, main.cpp   the self-checking bench

What was priced
By the model of {price.model} at {price.node_nm:g} nm, pipelined for {price.clock_ghz:g} GHz:
{price.area_um2:.4g} um2, shortest clock period {price.delay_ns:.3g} ns.
That is {name}.v with `en` tied high; synthesis then removes it. With a clock gate for `en` the unit stays as large but
for that cell; without one, a selector at each of its {registers} flip-flops adds about {selectors:.3g} um2.
{name}_stream adds {controls} flip-flops, about {wrapper:.3g} um2, and a few gates.

Ports of {name}
clk
en       clock enable of all registers; the unit stands still where it is 0. Tie it to 1 if it is not needed
first    1 with the first step of a sum, which starts from 0; there is no reset, and none is needed
{operands}{mode}acc      the sum after each step, LATENCY clocks (with en) after the step
{modes}
With INTERLEAVE D > 1, D sums take turns: one step of each, then the next step of each; `first` stays 1 for D steps.

Numbers
{numbers}
{accumulators}
NaN and infinity codes are not special: they are the numbers that follow in sequence. -0 is 0.

Handshakes of {name}_stream
A beat (s_valid and s_ready) is one step: s_w, s_a, ... with s_last at the last step of a sum; the next beat begins a
new one. Without s_valid, an open sum waits and the whole pipeline with it, so that the result of an earlier sum may
wait for the next beat of a later one. m_data is the sum once its last step has passed the pipeline; while m_valid is 1
and m_ready is 0 everything stands still. Nothing is lost or repeated by pauses on either side. With D > 1, sums come
in rounds of D beats, s_last with all D beats of the last round, and D results in the same order. rst (synchronous,
active high) drops what is in flight. Define {macro}_ASSERTIONS for SystemVerilog assertions of this protocol.

Bench
iverilog -g2005 -o bench.vvp bench.v checks.v {sources} && vvp -n bench.vvp
verilator --cc --exe --build -Wno-fatal --top-module checks main.cpp checks.v {sources} && obj_dir/Vchecks
Each of the {checks} checkers prints `CHECK n N steps M wrong`; M is 0 if the hardware is bit-exact. The first {count}:
the core in each mode, every clock. The others: sums through {name}_stream, with random pauses.
{others}A wrong result exits with 1.
{requantizer}"""

_REQUANTIZER = """
{name}.v: FP32 results to codes of {format}
Bit for bit what the quantizer of this format gives for finite numbers. A sum in integers or in another float becomes
FP32, with the scales of its operands, before it. Pipelined by the model of delay for the clock of the unit: about
{area:.4g} um2 in all, {energy:.3g} pJ for a number. There is no reset and no stall; a number enters every clock.
clk
{ports}
"""


def unit_readme(built: Built, name: str, price: Price, after: WrittenRequantizer | None = None) -> str:
    """The text of README.txt; after: a requantizer that is written beside the unit."""
    unit = built.unit
    verilog = [f"{name}.v", f"{name}_stream.v", *([] if after is None else [f"{after.built.name}.v"])]
    registers = bill_of_materials(unit)["register"]
    controls = control_registers(built)
    several = len(unit.modes) > 1
    return _TEXT.format(
        name=name,
        macro=name.upper(),
        unit=unit.name,
        pairs=", ".join(map(str, unit.pairs)),
        accumulator=unit.accumulator,
        lanes=unit.lanes,
        price=price,
        registers=registers,
        selectors=registers * price.select_um2,
        controls=controls,
        wrapper=controls * price.register_um2,
        operands="".join(f"{port:<9}{bits} bits: {_MEANING[port]}\n" for port, bits in payload(unit)),
        mode="mode     the format pair by its number below; constant while sums are in flight\n" if several else "",
        modes="\n".join(_mode(built, index, mode) for index, mode in enumerate(unit.modes)),
        numbers="\n".join(_sides(unit.modes)),
        accumulators="\n".join(dict.fromkeys(_accumulator(mode, unit.accumulator_bits) for mode in unit.modes)),
        sources=" ".join(verilog),
        checks=2 * len(unit.modes) + (0 if after is None else len(after.built.latency)),
        count=len(unit.modes),
        beside="" if after is None else f"{after.built.name}.v  FP32 results to codes of {after.built.unit.format}\n",
        others="" if after is None else f"Then the outputs of {after.built.name}.\n",
        requantizer="" if after is None else _requantizer(after),
    )


def _requantizer(after: WrittenRequantizer) -> str:
    built = after.built
    unit, form = built.unit, built.unit.form
    latency, lanes = built.latency, "a number" if unit.lanes == 1 else f"{unit.lanes} numbers, the first lowest"
    ports = [f"x        {32 * unit.lanes} bits: {lanes}, FP32; subnormal ones are read as zero"]
    stays = "FP32, from calibration; it stays while numbers are on their way"
    if unit.kind == "given":
        ports.append(f"scale    32 bits: the scale of the tensor, {stays}")
    if form.scaling is not None and form.scaling.tensor_scale is not None:
        ports.append(f"tensor   32 bits: the scale of the tensor, {stays}")
    if unit.kind == "range":
        ports.append("first    1 with the first number of a token")
        ports.append(f"largest  31 bits: the largest magnitude since `first`, {latency['largest']} clocks after x")
        ports.append(
            f"range    31 bits: the largest magnitude of the token, when its numbers pass again, {built.lead} clocks "
            "before each"
        )
        ports.append(f"scale    32 bits: the scale of the token, FP32, {latency['scale']} clocks after range")
    if unit.kind == "block":
        bits = 0 if form.scaling is None else form.scaling.scale.bits
        ports.append(f"scale    {bits} bits: the code of the block's scale, with its codes")
    ports.append(f"code     {unit.lanes * form.element.bits} bits: the codes, {latency['code']} clocks after x")
    return _REQUANTIZER.format(
        name=built.name, format=unit.format, area=after.area_um2, energy=after.energy_pj, ports="\n".join(ports)
    )


_MEANING = {
    "w": "codes of the weights of one step, the first product lowest; a narrow mode leaves high bits unused",
    "a": "codes of the activations",
    "ws": "codes of the weights' block scales, the first block lowest",
    "as": "codes of the activations' block scales",
}


def _mode(built: Built, index: int, mode: Mode) -> str:
    return (
        f"mode {index}: {mode.pair}: {mode.products} products per step, "
        f"LATENCY {built.latency[index]}, INTERLEAVE {turns(built.unit)[index]}"
    )


def _sides(modes: tuple[Mode, ...]) -> list[str]:
    """One line for each kind of operand."""
    found: dict[str, None] = {}
    for mode in modes:
        for name, side in ((mode.pair.weight, mode.weight), (mode.pair.activation, mode.activation)):
            found[f"{name}: {_element(side)}{_scale(side)}"] = None
    return list(found)


def _element(side: Side) -> str:
    element = side.element
    match element:
        case FloatElement():
            return _float(element)
        case LogElement():
            return f"sign, then a logarithm with {element.fraction_bits} bits of fraction (bias {element.bias}); 0 is 0"
        case CodebookElement():
            return "the numbers " + ", ".join(map(str, element.by_code)) + " by code"
        case IntElement():
            lowest = f", its lowest bit 2**{side.exponent_offset}" if side.exponent_offset else ""
            return f"two's complement, {side.bits} bits{lowest}"


def _float(element: FloatElement) -> str:
    sign = "sign, " if element.signed else ""
    return f"{sign}{element.exponent_bits} bits of exponent (bias {element.bias}), {element.mantissa_bits} of mantissa"


def _scale(side: Side) -> str:
    if side.scale is None:
        return ""
    kind = f"{side.scale.bits} bits, unsigned" if isinstance(side.scale, IntElement) else _float(side.scale)
    return f"; blocks of {side.block} share a scale: {kind}"


def _accumulator(mode: Mode, bits: int) -> str:
    element = mode.float_element
    if element is None:
        lowest = "1" if mode.is_integer else "the smallest product"
        edge = "saturates" if mode.accumulator.saturates else "wraps"
        return f"{mode.pair}: acc is two's complement, {bits} bits, its lowest bit {lowest}; it {edge} at its ends."
    step = f"aligned to its largest exponent in {mode.accumulator.window} bits" if mode.is_aligned else "exact"
    return (
        f"{mode.pair}: acc is FP{element.bits}; the sum of a step is {step}, the addition rounds once to nearest even, "
        "keeps subnormals and saturates at the largest finite number."
    )
