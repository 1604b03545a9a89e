"""A co-designed chip in an older node against a plain one in a newer node, at equal speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from codesign.answers.answer import Answer, Column, Estimate, Table, Value
from codesign.answers.chips import CHIP, Chips, Found, Mix, described, energy_by_hand, smallest
from codesign.answers.question import ChipOptions, Node, Pair, Pairs, Positive, Question, Say
from codesign.errors import InputError
from codesign.formats import FormatPair
from codesign.hardware.units.coefficients import Interval, at_node, table
from codesign.human import human
from codesign.workload import Workload
from codesign.workload.roles import RoleRules


class NodeOptions(ChipOptions):
    network: Annotated[str, Field(description="a network (codesign workloads), or that of the study")] = (
        "sd15-pipeline:steps=20"
    )
    seconds: Annotated[Positive, Field(description="time of one result, of all chips")] = 2.0
    older: Annotated[Node, Field(description="node of the co-designed chip in nm")] = 7.0
    newer: Annotated[Node, Field(description="node of the plain chip in nm")] = 4.0
    plain: Annotated[Pairs, Field(description="plain chips: one format in all layers")] = ("int8", "fp16")
    codesigned: Annotated[Pairs, Field(description="formats of co-designed chips, but for attention")] = (
        "int4_g32:int8",
        "mxfp4:mxfp8_e4m3",
    )
    attention: Annotated[Pair, Field(description="formats of attention products beside integers")] = "int8"
    study: Annotated[str, Field(description="folder of a study, whose design is a co-designed chip too")] = ""
    design: Annotated[str, Field(description="design of the study (default: the balanced one)")] = ""
    task: Annotated[str, Field(description="network of the design to take formats from, if it has several")] = ""


@dataclass(frozen=True)
class _Chip:
    """The smallest chip of one mix at one node."""

    kind: str  # plain or co-designed
    mix: Mix
    node_nm: float
    found: Found | None
    least_s: float  # of any chip of the grid

    @property
    def usd(self) -> Interval:
        """Price of the chip's area on a good wafer."""
        assert self.found is not None
        cost, price = self.found.cost, usd_per_mm2(self.node_nm)
        return Interval(cost.area_mm2, cost.area_low_mm2, cost.area_high_mm2).scaled(price)


def usd_per_mm2(node_nm: float) -> Interval:
    """Price of a wafer by area, without yield, masks, test and package. Source: data/prices.yaml."""
    price, area = at_node("prices.yaml", "wafer_usd", node_nm), table("prices.yaml", "wafer")["mm2"]
    return Interval(price.value / area.value, price.low / area.high, price.high / area.low)


def _older_node(options: NodeOptions, say: Say) -> Answer:
    if options.older <= options.newer:
        raise InputError(f"older: {options.older:g} nm is no older node than newer={options.newer:g}")
    workload, mixes, notes = _mixes(options)
    chips = []
    grids = Chips((options.older, options.newer), options.axes())
    for kind, mix in mixes:
        for node in (options.newer, options.older):
            say(f"{mix.name} at {node:g} nm")
            best = smallest(workload, mix, grids.grid(mix.pairs, node), [options.seconds])
            chips.append(_Chip(kind, mix, node, best.found[0], best.least))
    plain = _best(chips, "plain", options.newer)
    ours = _best(chips, "co-designed", options.older)
    return Answer(
        question=f"Can a co-designed chip at {options.older:g} nm stand against a plain one at {options.newer:g} nm "
        f"(a result of {options.network} in {options.seconds:g} s)?",
        answer=_verdict(options, chips, plain, ours),
        tables=(_table(options, chips, plain), _prices(options)),
        estimates=tuple(_by_hand(options, workload, chips, plain, ours)),
        bounds=tuple(
            f"{each.mix.name} at {each.node_nm:g} nm: {each.found.bound}" for each in chips if each.found is not None
        ),
        assumptions=(
            "each chip is the smallest that gives a result in the time, so that array, SRAM and vector unit of each "
            "are as large as its own formats and node ask for",
            f"found among {described(options.axes())}",
            "the price is that of the area on a wafer: yield (which an older node has more of), masks, test and "
            "package are left out; wafer prices are estimates of analysts, see the second table",
            "formats given here take no measure of quality: codesign ask fp8-or-int8 measures one, a study them all",
            *notes,
        ),
    )


def _mixes(options: NodeOptions) -> tuple[Workload, list[tuple[str, Mix]], list[str]]:
    """The network, kind and formats of every chip, and notes on their quality."""
    from codesign.models import workload_called  # loads torch, which takes a second

    workload = workload_called(options.network)
    mixes = [("plain", Mix.uniform(workload, pair)) for pair in options.plain]
    mixes += [("co-designed", _with_attention(workload, pair, options.attention)) for pair in options.codesigned]
    notes = []
    if options.study:
        from codesign.answers.studied import studied  # with torch, and so not before it is needed

        found = studied(workload, options.study, options.design, options.task)
        mixes.append(("co-designed", found.mix))
        notes.append(found.quality)
    elif options.design or options.task:
        raise InputError("design and task go with study=FOLDER")
    return workload, mixes, notes


def _with_attention(workload: Workload, pair: str, attention: str) -> Mix:
    """`pair` in all layers; attention products of integers in `attention`, of floats in the activations' format."""
    activation = FormatPair.parse(pair).activation
    products = attention if activation.startswith("int") else activation
    if not any(op.is_attention for op in workload.operators) or pair == products:
        return Mix.uniform(workload, pair)
    rules = RoleRules({"attention": FormatPair.parse(products)}, FormatPair.parse(pair))
    return Mix.of(f"{pair}, attention {products}", workload, rules.apply(workload))


def _best(chips: Sequence[_Chip], kind: str, node: float) -> _Chip | None:
    found = [each for each in chips if (each.kind, each.node_nm) == (kind, node) and each.found is not None]
    return min(found, key=lambda each: each.found.cost.area_mm2 if each.found else 0.0, default=None)


def _verdict(options: NodeOptions, chips: Sequence[_Chip], plain: _Chip | None, ours: _Chip | None) -> str:
    if plain is None or plain.found is None or ours is None or ours.found is None:
        slow = ", ".join(
            f"{each.mix.name} at {each.node_nm:g} nm takes at least {human(each.least_s, 's')}"
            for each in chips
            if each.found is None
        )
        return f"No pair of chips reaches {options.seconds:g} s: {slow}."
    area = ours.found.cost.area_mm2 / plain.found.cost.area_mm2
    energy = ours.found.cost.energy_j / plain.found.cost.energy_j
    price = ours.usd.value / plain.usd.value
    verdict = "dearer" if price > 1 else "cheaper"
    return (
        f"At {options.seconds:g} s a result, {ours.mix.name} at {ours.node_nm:g} nm takes "
        f"{ours.found.cost.area_mm2:.3g} mm2 and {human(ours.found.cost.energy_j, 'J')}, {plain.mix.name} at "
        f"{plain.node_nm:g} nm {plain.found.cost.area_mm2:.3g} mm2 and {human(plain.found.cost.energy_j, 'J')}: "
        f"{area:.2f} times the area, {energy:.2f} times the energy. By the price of a wafer it costs {price:.2f} times "
        f"as much ({ours.usd.value:.2g} against {plain.usd.value:.2g} USD): the chip of the older "
        f"node is the {verdict} one."
    )


def _table(options: NodeOptions, chips: Sequence[_Chip], plain: _Chip | None) -> Table:
    rows: list[Mapping[str, Value]] = []
    for each in chips:
        if each.found is None:
            why = "no chip runs it" if each.least_s == float("inf") else f"none: at best {human(each.least_s, 's')}"
            rows.append({"kind": each.kind, "formats": each.mix.name, "node_nm": each.node_nm, "bound": why})
            continue
        usd, cost = each.usd, each.found.cost
        more: dict[str, Value] = {
            "kind": each.kind,
            "usd": usd.value,
            "usd_low": usd.low,
            "usd_high": usd.high,
            "price": f"{usd.value:.3g}",
        }
        if plain is not None and plain.found is not None:
            base = plain.found.cost
            more |= {"area_x": cost.area_mm2 / base.area_mm2, "energy_x": cost.energy_j / base.energy_j}
            more |= {"usd_x": usd.value / plain.usd.value}
        rows.append(each.found.row(**more))
    columns = (
        Column("kind", "chip"),
        Column("latency_s", "time", "s"),
        Column("area_x", "area, x"),
        Column("energy_x", "energy, x"),
        Column("usd_x", "price, x"),
        Column("price", "price, USD"),
        *CHIP,
    )
    over = f"x: over {plain.mix.name} at {plain.node_nm:g} nm" if plain else "no plain chip is fast enough"
    return Table(f"smallest chip within {options.seconds:g} s ({over})", columns, tuple(rows))


def _prices(options: NodeOptions) -> Table:
    rows: list[Mapping[str, Value]] = []
    for node in (options.newer, options.older):
        each, wafer = usd_per_mm2(node), at_node("prices.yaml", "wafer_usd", node)
        rows.append(
            {
                "node_nm": node,
                "wafer": f"{wafer.value:,.0f} ({wafer.low:,.0f} to {wafer.high:,.0f})",
                "usd_per_mm2": each.value,
                "price": f"{each.value:.3f} ({each.low:.3f} to {each.high:.3f})",
                "source": _source(node),
            }
        )
    columns = (
        Column("node_nm", "node, nm"),
        Column("wafer", "wafer of 300 mm, USD"),
        Column("price", "USD per mm2"),
        Column("source", "source"),
    )
    return Table("price of silicon", columns, tuple(rows))


def _source(node: float) -> str:
    row = table("prices.yaml", "wafer_usd").get(int(node) if float(node).is_integer() else node)
    return f"{row.source} ({row.quality})" if row else "between its neighbours"


def _by_hand(
    options: NodeOptions, workload: Workload, chips: Sequence[_Chip], plain: _Chip | None, ours: _Chip | None
) -> list[Estimate]:
    """What the node alone does to the plain chip's area, and the energies of both."""
    if plain is None or plain.found is None or ours is None or ours.found is None:
        return []
    estimates = []
    older = next(each for each in chips if each.mix is plain.mix and each.node_nm == options.older)
    if older.found is not None:
        estimates.append(_node_alone(plain.found, older.found))
    return [*estimates, *(energy_by_hand(workload, each.found) for each in (plain, ours) if each.found is not None)]


def _node_alone(newer: Found, older: Found) -> Estimate:
    nodes = older.chip.node_nm, newer.chip.node_nm
    logic, cell = (
        at_node(name, section, nodes[0]).value / at_node(name, section, nodes[1]).value
        for name, section in (("nodes.yaml", "logic_area"), ("memory.yaml", "bitcell_um2"))
    )
    area = {part.name: part.area_mm2 for part in newer.cost.components}
    sram, analog = area["sram"], area["dram_interface"]
    digital = sum(area.values()) - sram - analog
    return Estimate(
        f"{newer.formats} at {nodes[0]:g} nm", digital * logic + sram * cell + analog, older.cost.area_mm2, "mm2",
        f"of the chip at {nodes[1]:g} nm, {digital:.3g} mm2 of logic x {logic:.2f}, {sram:.3g} of SRAM x {cell:.2f}, "
        f"and {analog:.3g} of interface, which does not shrink",
    )  # fmt: skip


OLDER = Question(
    "older-node",
    "whether a co-designed chip at 7 nm stands against a plain one at 4 nm: area, energy and price at equal speed",
    NodeOptions,
    _older_node,
)
