"""The README of a unit's Verilog: ports, latency, meaning of the numbers, how to run the benches, what was priced."""

from __future__ import annotations

from dataclasses import dataclass

from codesign.formats import FloatElement, IntElement
from codesign.formats.tabulated import CodebookElement, LogElement
from codesign.hardware.arithmetic.modes import Mode, Side
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


_TEXT = """\
{name}.v          the compute unit {unit}: {pairs}; accumulator {accumulator}, {lanes} lanes
{name}_stream.v   the same with valid/ready handshakes and a synchronous reset
{name}_params.vh  widths, latencies and modes as macros
checks.v, vectors_*.hex, results_*.hex, bench.v, main.cpp   the self-checking bench

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
the core in each mode, every clock. The others: sums through {name}_stream, with random pauses. A wrong result exits
with 1.
"""


def unit_readme(built: Built, name: str, price: Price) -> str:
    """The text of README.txt."""
    unit = built.unit
    registers = built.parts["register"]
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
        sources=f"{name}.v {name}_stream.v",
        checks=2 * len(unit.modes),
        count=len(unit.modes),
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
