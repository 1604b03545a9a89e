"""Published comparisons of units for block formats, and what the model of units says of each: block_formats.md.

    python reports/validation/block_formats.py [--liberty FILE... -o DIR]

Nothing is fitted here. Areas and energies are the model's, for units that `codesign rtl` writes; with the cells of the
model (ASAP7), units with integer sums and those they stand against are synthesised and simulated as well, and kept in
block_formats.json. What a source does not say is assumed, and the assumption stands beside the row. Takes a minute.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from codesign.formats import FormatPair, get_format, sqnr_db
from codesign.hardware.calibration.confirm import confirm
from codesign.hardware.units.mac import MacUnit

HERE = Path(__file__).parent


def unit(name: str, accumulator: str, dot: int, node: float = 7, clock_ghz: float = 1) -> MacUnit:
    return MacUnit((FormatPair(name, name),), accumulator, dot, node, clock_ghz)


def energy_pj(made: MacUnit) -> float:
    """Of a product in the unit's only mode."""
    return made.energy_pj(made.pairs[0]).value


# -- MXFP4 against NVFP4 -------------------------------------------------------------------------------------------


def fours() -> list[dict[str, object]]:
    """Units of MXFP4 over units of NVFP4: alone, and as in a tensor core, FP4 at four times the rate of FP16."""
    others = tuple(FormatPair(name, name) for name in ("fp16", "fp8_e4m3"))
    cases = (("dot-16", (), 16), ("dot-32", (), 32), ("4 of FP16, 8 of FP8, 16 of FP4", others, 4))
    return [{"unit": name, "ratio": _four(more, dot)} for name, more, dot in cases]


def _four(others: tuple[FormatPair, ...], dot: int) -> float:
    first, second = (
        MacUnit((*others, FormatPair(name, name)), "fp32", dot, fast_floats=bool(others)).area_um2.value
        for name in ("mxfp4", "nvfp4")
    )
    return first / second


# -- block integers against floats of equal accuracy ---------------------------------------------------------------

# accumulator of floats and of block integers; clock in GHz, at the low one of which nothing is pipelined
SUMS = (("fp32", "auto"), ("fp32", "int24"), ("fp16", "int24"), ("exact", "int24"))
CLOCKS = (1.0, 0.3)
WANTED_FP4 = 1.9
# float format, block formats that stand against it, products of a step
EQUALS = (
    ("fp8_e4m3", "mxint8", 16),
    ("fp8_e4m3", "int7_g32_se8m0", 16),
    ("fp8_e4m3", "int6_g32_se8m0", 16),
    ("fp4_e2m1", "int4_g16_s2u4", 16),
    ("fp4_e2m1", "int4_g16_s2u3", 16),
    ("fp4_e2m1", "int4_g32_s2u4", 32),
    ("fp4_e2m1", "int4_g64_s2u4", 64),
)


@dataclass(frozen=True)
class Equal:
    """A block format against a float one: how many times better a product is, of units of equal length and clock."""

    against: str
    format: str
    dot: int
    clock_ghz: float
    float_sum: str
    block_sum: str
    sqnr_db: float  # of normal numbers
    float_sqnr_db: float
    area: float
    energy: float


def equals() -> list[Equal]:
    numbers = torch.randn(1024, 512, generator=torch.Generator().manual_seed(0))
    found = []
    for against, name, dot in EQUALS:
        accuracy = [sqnr_db(numbers, get_format(each), axis=1) for each in (name, against)]
        for clock in CLOCKS:
            for float_sum, block_sum in SUMS if against == "fp4_e2m1" else SUMS[:1]:
                base, made = unit(against, float_sum, dot, 7, clock), unit(name, block_sum, dot, 7, clock)
                area, energy = base.area_um2.value / made.area_um2.value, energy_pj(base) / energy_pj(made)
                found.append(Equal(against, name, dot, clock, float_sum, block_sum, *accuracy, area, energy))
    return found


CONFIRMED = (("int4_g16_s2u4", "int24"), ("int4_g16_s2u4", "auto"), ("fp4_e2m1", "fp32"), ("fp4_e2m1", "exact"))


@dataclass(frozen=True)
class Measured:
    """A unit of 16 products a cycle, synthesised and simulated, beside what the model says of it."""

    format: str
    accumulator: str
    clock_ghz: float
    area_um2: tuple[float, float]  # (modelled, measured)
    energy_pj: tuple[float, float]


def measured(liberty: Sequence[Path], folder: Path) -> list[Measured]:
    asked = [(name, accumulator, clock) for clock in CLOCKS for name, accumulator in CONFIRMED]
    found = confirm([unit(name, a, 16, 7, clock) for name, a, clock in asked], liberty, folder, parallel=1)
    rows = []
    for which, each in zip(asked, found, strict=True):
        (energy,) = each.energy_pj.values()
        if each.failure or each.area_um2.measured is None or energy.measured is None:
            raise SystemExit(f"{each.unit}: {each.failure}")
        area = each.area_um2.modelled, each.area_um2.measured
        rows.append(Measured(*which, area, (energy.modelled, energy.measured)))
    return rows


# -- a unit of every MX format -------------------------------------------------------------------------------------

# products a cycle of one unit, and GOPS/W of a system of 8 x 8 of them (Cuyckens, Yi et al. 2025, abstract: 64, 256
# and 512 GOPS; two operations a product, so 0.5 GHz); MXFP8 and MXFP6 together have a range
MX_MODES = {
    "mxint8": (1, 657.0, 657.0),
    "mxfp8_e4m3": (4, 1438.0, 1675.0),
    "mxfp8_e5m2": (4, 1438.0, 1675.0),
    "mxfp6_e2m3": (4, 1438.0, 1675.0),
    "mxfp6_e3m2": (4, 1438.0, 1675.0),
    "mxfp4": (8, 4065.0, 4065.0),
}
MX_NODE_NM, MX_CLOCK_GHZ = 16, 0.5  # the node is that of the authors' earlier unit (arXiv 2505.22404)
MX_SHARED_LANES = 4


@dataclass(frozen=True)
class Mx:
    """Energy of a product in one mode, pJ: of the published system, and of units here."""

    format: str
    products: int  # a cycle
    system_low_pj: float
    system_high_pj: float
    alone_pj: float  # in a unit of this format alone, as many products a cycle
    shared_pj: float  # in a unit of all six formats, at MX_SHARED_LANES products a cycle, MXFP4 twice that
    accumulator: float  # share of the accumulator in the area of the unit alone


def mx() -> list[Mx]:
    pairs = tuple(FormatPair(name, name) for name in MX_MODES)
    shared = MacUnit(pairs, "fp32", MX_SHARED_LANES, MX_NODE_NM, MX_CLOCK_GHZ, fast_floats=True)
    found = []
    for pair, (name, (products, least, most)) in zip(pairs, MX_MODES.items(), strict=True):
        alone = unit(name, "fp32", products, MX_NODE_NM, MX_CLOCK_GHZ)
        part = alone.area_by_section["accumulator"] / alone.area_um2.value
        system = [2e3 / efficiency for efficiency in (most, least)]
        found.append(Mx(name, products, *system, energy_pj(alone), shared.energy_pj(pair).value, part))
    return found


def mx_areas() -> dict[str, float]:
    """um2 at MX_NODE_NM: the unit of all six formats, and the sum of units of one format each."""
    pairs = tuple(FormatPair(name, name) for name in MX_MODES)
    shared = MacUnit(pairs, "fp32", MX_SHARED_LANES, MX_NODE_NM, MX_CLOCK_GHZ, fast_floats=True)
    lanes = {name: 2 * MX_SHARED_LANES if name == "mxfp4" else MX_SHARED_LANES for name in MX_MODES}
    alone = [unit(name, "fp32", lanes[name], MX_NODE_NM, MX_CLOCK_GHZ).area_um2.value for name in MX_MODES]
    return {"shared": shared.area_um2.value, "side_by_side": sum(alone), "largest": max(alone)}


# -- the page ------------------------------------------------------------------------------------------------------


def _fours(rows: list[dict[str, object]]) -> str:
    table = "\n".join(f"| {each['unit']} | {each['ratio']:.2f} |" for each in rows)
    return (
        "## MXFP4 against NVFP4\n\nA tensor core of MXFP4 is named 12 % smaller than one of NVFP4 (arXiv 2603.08713, "
        "abstract; which other formats it has is not said there).\n\n| unit | MXFP4 / NVFP4, area |\n|---|--:|\n"
        f"{table}\n\nWhat differs is the product of two E4M3 scales in place of a sum of two exponents, and twice as "
        "many of them; at dot-32 a unit of NVFP4 has two blocks in a step."
    )


def _equals(rows: list[Equal], confirmed: list[Measured]) -> str:
    def table(against: str) -> str:
        return "\n".join(
            f"| {e.format} | {e.sqnr_db:.1f} | {e.dot} | {e.clock_ghz:g} | {e.block_sum} | {e.float_sum} | "
            f"{e.area:.2f} | {e.energy:.2f} |"
            for e in rows
            if e.against == against
        )

    floats = {e.against: e.float_sqnr_db for e in rows}
    head = (
        "| format | SQNR, dB | products | GHz | its sum | sum of the float | area, times better | energy, times better "
        "|\n|---|--:|--:|--:|---|---|--:|--:|\n"
    )
    return (
        "## Block integers against floats of equal accuracy\n\nTSMC (Crafton et al., DAC 2025, abstract) finds among "
        "35,000 designs that, at equal SQNR, those of MXINT8 have 2.2 times the TOPS/W of FP8 dot products and VSQINT4 "
        "1.9 times those of FP4; LNS16 1.8 times those of FP16, which our grammar does not reach (5 bits of a fraction "
        "at most). Lengths of the dot products, accumulators, clock and node are not in the abstract: below they are "
        "varied. SQNR is that of normal numbers; 1 GHz is pipelined, 0.3 GHz is not.\n\n"
        f"Against FP8 E4M3 ({floats['fp8_e4m3']:.1f} dB), both with FP32 sums (auto):\n\n{head}{table('fp8_e4m3')}\n\n"
        "MXINT8 itself is far more accurate than FP8 E4M3; block integers of 6 and 7 bits lie on both sides of its "
        f"SQNR, and of the published figure.\n\nAgainst FP4 E2M1 ({floats['fp4_e2m1']:.1f} dB); int24: scaled sums of "
        "vectors are added as integers, as VS-Quant does; auto: in FP32; exact: FP4 in fixed point:\n\n"
        f"{head}{table('fp4_e2m1')}\n\n{_measured(confirmed)}\n\n{_explained(rows)}"
    )


def _measured(rows: list[Measured]) -> str:
    def energy(name: str, accumulator: str, clock: float) -> float:
        return next(
            e.energy_pj[1] for e in rows if (e.format, e.accumulator, e.clock_ghz) == (name, accumulator, clock)
        )

    lines = [
        f"| {e.format} | {e.accumulator} | {e.clock_ghz:g} | {e.area_um2[0]:.0f} | {e.area_um2[1]:.0f} | "
        f"{e.energy_pj[0]:.3f} | {e.energy_pj[1]:.3f} |"
        for e in rows
    ]
    ours = CONFIRMED[0]
    ratios = "; ".join(
        f"{energy(*other, clock) / energy(*ours, clock):.2f} against {other[0]} in {other[1]} at {clock:g} GHz"
        for clock in CLOCKS
        for other in CONFIRMED[1:]
    )
    return (
        "Synthesised and simulated with the cells of the model, which was fitted to none of the units with integer "
        "sums; 16 products a cycle:\n\n| format | sum | GHz | area, modelled, um2 | measured | energy, modelled, pJ | "
        "measured |\n|---|---|--:|--:|--:|--:|--:|\n" + "\n".join(lines)
        + f"\n\nMeasured, {ours[0]} in {ours[1]} takes this many times less energy: {ratios}."
    )  # fmt: skip


def _explained(rows: list[Equal]) -> str:
    """Which assumptions meet the published figure of FP4."""

    def span(clock: float, *sums: str) -> str:
        found = [
            e.energy for e in rows if (e.against, e.clock_ghz, e.float_sum, e.block_sum) == ("fp4_e2m1", clock, *sums)
        ]
        return f"{min(found):.2f} to {max(found):.2f}"

    fast, slow = CLOCKS
    near = [e for e in rows if e.against == "fp4_e2m1" and abs(e.energy / WANTED_FP4 - 1) <= 0.15]
    met = sorted({(e.float_sum, e.block_sum, e.clock_ghz) for e in near})
    said = "; ".join(f"FP4 in {a}, VSQINT4 in {b}, {clock:g} GHz" for a, b, clock in met) or "none"
    return (
        f"- Published: {WANTED_FP4}. Within 15 % of it: {said}.\n"
        f"- Both in FP32, a vector's sum is an integer in either format and nothing of a float is left to save: "
        f"{span(fast, 'fp32', 'auto')} at {fast:g} GHz, {span(slow, 'fp32', 'auto')} at {slow:g}.\n"
        f"- With integer sums behind integer scales no FP32 addition is left: {span(fast, 'fp32', 'int24')} at "
        f"{fast:g} GHz, {span(slow, 'fp32', 'int24')} at {slow:g}, where nothing is pipelined and the glitches of "
        "FP4's sum run through normalisation and addition. What VSQINT4 pays instead, the product of the scales and "
        "that with the vector's sum, is the less the longer the vector and the fewer the bits of a scale.\n"
        f"- An FP4 unit whose own sum is exact, as E2M1 allows, leaves {span(fast, 'exact', 'int24')} at {fast:g} GHz: "
        "its products are integers of few bits, too. The published gain is one over FP4 dot products that accumulate "
        "as floats do, not over what FP4 could cost."
    )  # fmt: skip


def _mx(rows: list[Mx], areas: dict[str, float]) -> str:
    def span(low: float, high: float) -> str:
        return f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}"

    first = rows[0]
    lines = [
        f"| {e.format} | {e.products} | {span(e.system_low_pj, e.system_high_pj)} | "
        f"{span(e.system_low_pj / first.system_low_pj, e.system_high_pj / first.system_low_pj)} | {e.alone_pj:.2f} | "
        f"{e.alone_pj / first.alone_pj:.2f} | {e.alone_pj / e.system_high_pj:.2f} to "
        f"{e.alone_pj / e.system_low_pj:.2f} | {100 * e.accumulator:.0f} % | {e.shared_pj:.2f} |"
        for e in rows
    ]
    parts = [e.accumulator for e in rows]
    least, most = min(e.alone_pj / e.system_high_pj for e in rows), max(e.alone_pj / e.system_low_pj for e in rows)
    return (
        "## A unit of every MX format\n\nKU Leuven's unit multiplies all six MX formats on sixteen 2-bit multipliers: "
        "a product of MXINT8, four of MXFP8 or MXFP6, eight of MXFP4 a cycle, aligned to the largest exponent of four "
        "and added to a floating-point sum (Cuyckens, Yi et al. 2025, arXiv 2511.06313; RTL at "
        "github.com/KULeuven-MICAS/Precision-Scalable_MX). Published, in the abstract, is the efficiency of a system "
        "of 8 x 8 of them with its memory and streamers; areas and energies of the unit by part are in tables that "
        "were not at hand. Here: units of one format each with as many products a cycle and FP32 sums, and one of all "
        f"six with {MX_SHARED_LANES} products a cycle (MXFP4 {2 * MX_SHARED_LANES}), at {MX_NODE_NM} nm (assumed: the "
        f"node of the authors' earlier unit) and {MX_CLOCK_GHZ} GHz.\n\n"
        "| format | products a cycle | system, pJ a product | of MXINT8 | unit here, pJ | of MXINT8 | unit / system | "
        "accumulator, of its area | in the unit of all six, pJ |\n|---|--:|--:|--:|--:|--:|---|--:|--:|\n"
        + "\n".join(lines)
        + "\n\n"
        "- The order and the steps between the modes come out as published: a product is the cheaper the more of them "
        "share one floating-point addition, the largest part of the unit "
        f"({100 * min(parts):.0f} to {100 * max(parts):.0f} % of its area), as the authors say.\n"
        f"- The unit takes {least:.2f} to {most:.2f} of the energy of the system; memory, streamers and control of the "
        "published figure are not in it.\n"
        f"- The unit of all six formats here has four 8-bit multipliers, so that MXINT8 runs at the rate of MXFP8, "
        f"four times the published one: {areas['shared']:.0f} um2, {areas['shared'] / areas['side_by_side']:.2f} of "
        f"units of one format each side by side, {areas['shared'] / areas['largest']:.2f} of the largest of them. "
        "Four products of MXFP8 and eight of MXFP4 on one 8-bit multiplier, as published, the generator does not make: "
        "codes of minifloats that are fast share the ports of the widest format."
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--liberty", type=Path, nargs="+", default=[], metavar="FILE", help="cells of ASAP7")
    parser.add_argument("-o", "--out", type=Path, default=Path("build/block_formats"), help="folder for netlists")
    arguments = parser.parse_args()
    target = HERE / "block_formats.json"
    if arguments.liberty:
        confirmed = measured(arguments.liberty, arguments.out)
    else:
        confirmed = [Measured(**each) for each in json.loads(target.read_text(encoding="utf-8"))["measured"]]
    four, equal, each, areas = fours(), equals(), mx(), mx_areas()
    written = {
        "mxfp4_over_nvfp4": four,
        "equals": [asdict(one) for one in equal],
        "measured": [asdict(one) for one in confirmed],
        "mx": [asdict(one) for one in each],
        "mx_area_um2": areas,
    }
    target.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    head = (
        "# Units for block formats: the model against what is published\n\n"
        "Written by `python reports/validation/block_formats.py`. Units at 7 nm unless said.\n\n"
    )
    page = head + "\n\n".join((_fours(four), _equals(equal, confirmed), _mx(each, areas))) + "\n"
    (HERE / "block_formats.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
