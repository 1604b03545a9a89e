"""The page of the comparison with ZigZag."""

from __future__ import annotations

from typing import Any

LPF_LIMIT = 6  # ZigZag's default
WITHIN, FASTER = 1.15, 1000  # wanted: ratios to its best, speed over its search

NOTES = {
    "equal": "The same memories, tiles of operands held twice on both sides.",
    "weights once": "ZigZag may hold a tile of weights once, twice as large, and stop the array while it changes. Ours "
    "never stops, so that where neither tensor fits it goes over one of them more often.",
    "one memory": "ZigZag has the whole SRAM for this layer, parted as it likes, weights held once. Ours has half for "
    "inputs (a quarter at a time: the other is being written) and a quarter for weights and sums; the rest keeps other "
    "layers' weights and waiting results, which is what a network gains and one layer by itself loses.",
}


def total(found: dict[str, Any]) -> float:
    return float(sum(found["dram_bytes"].values()))


def markdown(result: dict[str, Any]) -> str:
    machine, chip, rows = result["machine"], result["architecture"], result["rows"]
    equal = [row for row in rows if row["setup"] == "equal"]
    worst = {key: max(row[key] for row in equal) for key in ("latency_ratio", "dram_ratio", "halo_ratio")}
    timed = result["seconds"]
    slowest = {row["layer"]: min(r["default_search_s"] for r in equal if r["layer"] == row["layer"]) for row in equal}
    faster = {name: slowest[name] / each["in_grid_s"] for name, each in timed.items()}
    alone = {name: slowest[name] / each["single_s"] for name, each in timed.items()}
    lines = [
        "# Schedules beside ZigZag",
        "",
        f"Written by `python reports/benchmarks/zigzag.py`; zigzag-dse {result['zigzag']}, Python {machine['python']}, "
        f"NumPy {machine['numpy']}, {machine['cores']} cores.",
        "",
        f"{chip['rows']} x {chip['columns']} units of dot-{chip['dot']} for int8 at {chip['clock_hz'] / 1e6:.0f} MHz, "
        f"{chip['dram_channels']} x {chip['dram']}. ZigZag's best of every order of at most {LPF_LIMIT} loops and of "
        f"annealing ({result['iterations']} steps, for latency and for traffic), outputs or weights in the array; "
        "ratios are ours over its fastest mapping, and over the one with least traffic, which may be another.",
        "",
        f"On equal memories, worst of {len(equal)}: latency {worst['latency_ratio']:.2f}, DRAM traffic "
        f"{worst['dram_ratio']:.2f} ({worst['halo_ratio']:.2f} with the rows around a convolution's tiles): "
        f"{'within' if max(worst.values()) <= WITHIN else 'NOT within'} {WITHIN} of its best. A layer takes us "
        f"{min(faster.values()):,.0f} to {max(faster.values()):,.0f} times less time than its default search in a grid "
        f"of {next(iter(timed.values()))['grid']:,} accelerators (at least {FASTER:,} wanted), "
        f"{min(alone.values()):,.0f} to {max(alone.values()):,.0f} times less by itself, report included.",
        "",
    ]
    head = "| layer | SRAM KiB | cycles, ours | ZigZag | ratio | DRAM MB, ours | ZigZag | ratio | with halo | tiles |"
    for setup, note in NOTES.items():
        lines += [f"## {setup}", "", note, "", head, "|" + "---|" * 10]
        lines += [_line(row) for row in rows if row["setup"] == setup] + [""]
    lines += [
        "## Time of a layer",
        "",
        "| layer | in a grid, us | by itself, ms | ZigZag, default search, s | all, s |",
    ]
    lines += ["|" + "---|" * 5]
    for name, each in timed.items():
        searches = sum(row["all_searches_s"] for row in equal if row["layer"] == name) / len(
            {row["sram_kib"] for row in equal}
        )
        numbers = f"{each['in_grid_s'] * 1e6:.1f} | {each['single_s'] * 1e3:.1f} | {slowest[name]:.1f} | {searches:.1f}"
        lines.append(f"| {name} | {numbers} |")
    return "\n".join([*lines, "", DIFFERENCES])


DIFFERENCES = """## Where the two differ

- Tile sizes. ZigZag cuts a loop by its prime factors, ours by any size; ours moves less where factors fit badly.
- The image of a convolution. Ours reads every input once for a pass over the outputs; the rows around a tile come on
  top in an output-stationary tiling, and `with halo` adds them.
- First loads and last stores. ZigZag adds them to a layer by itself; ours leaves them to the neighbours, whose work
  they overlap. Where DRAM is the bound this is nothing, elsewhere up to the bytes of one tile.
- Sums. ZigZag stops the array where a column's sums leave through a port narrower than the rows; ours takes bytes over
  bandwidth of the SRAM as a whole.
"""


def _line(row: dict[str, Any]) -> str:
    own, fastest, leanest = row["ours"], row["zigzag_fastest"], row["zigzag_leanest"]
    tiles = f"{own['order']}, {' x '.join(map(str, own['tiles']))}"
    return (
        f"| {row['layer']} | {row['sram_kib']:,} | {own['cycles']:,} | {fastest['cycles']:,.0f} "
        f"| {row['latency_ratio']:.2f} | {total(own) / 1e6:.2f} | {total(leanest) / 1e6:.2f} "
        f"| {row['dram_ratio']:.2f} | {row['halo_ratio']:.2f} | {tiles} |"
    )
