"""Tokens a second of a language model from each kind of memory, and the smallest chip that keeps a rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from codesign.answers.answer import Answer, Column, Estimate, Table, Value
from codesign.answers.chips import CHIP, Chips, Found, Mix, Smallest, smallest
from codesign.answers.question import Names, Node, Options, Pairs, Positive, Question, Say
from codesign.errors import InputError
from codesign.hardware import AcceleratorGrid
from codesign.hardware.chip.memory import dram_bytes_per_s, flash_bytes_per_s
from codesign.hardware.units.coefficients import table
from codesign.human import human
from codesign.workload import Workload, named_workload


class TokenOptions(Options):
    network: Annotated[str, Field(description="a language model (codesign workloads)")] = "llama2-7b"
    rate: Annotated[Positive, Field(description="tokens a second to keep while replying")] = 20.0
    formats: Annotated[Pairs, Field(description="formats to compare: weight:activation, or one name for both")] = (
        "int8",
        "fp8_e4m3",
        "int4_g32:int8",
    )
    drams: Annotated[Names, Field(description="DRAM types")] = (
        "lpddr5x_8533",
        "lpddr5x_9600",
        "lpddr6_10667",
        "lpddr6_14400",
    )
    channels: Annotated[int, Field(ge=1, description="channels of DRAM")] = 4
    dram_gib: Annotated[Positive, Field(description="DRAM for the network, without flash")] = 8.0
    flash: Annotated[str, Field(description="flash behind the first DRAM type")] = "ufs4.0"
    flash_dram_gib: Annotated[Positive, Field(description="DRAM for the network, with flash behind it")] = 2.0
    node: Annotated[Node, Field(description="process node in nm")] = 4.0


_AXES = {
    "rows": (2, 4, 8, 16, 32),
    "columns": (2, 4, 8, 16, 32),
    "dot": (16, 32),
    "sram_bytes": tuple(kib * 1024 for kib in (256, 512, 1024, 2048, 4096)),
    "vector_lanes": (16, 64, 256),
}


def _tokens(options: TokenOptions, say: Say) -> Answer:
    workload = named_workload(options.network)
    if "decode" not in workload.phases:
        raise InputError(f"network: {options.network} writes no tokens; name a language model (codesign workloads)")
    memories = [(dram, "", options.dram_gib) for dram in options.drams]
    memories.append((options.drams[0], options.flash, options.flash_dram_gib))
    rows, estimates, bounds, kept = [], [], [], []
    for pair in options.formats:
        for dram, flash, gib in memories:
            name = f"{dram} and {flash}" if flash else dram
            say(f"{pair} from {name}")
            axes = {**_AXES, "dram": [dram], "dram_channels": [options.channels], "dram_gib": [gib], "flash": [flash]}
            mix = Mix.uniform(workload, pair)
            grid = Chips([options.node], axes).grid(mix.pairs, options.node)
            found = smallest(workload, mix, grid, [1 / options.rate], "latency_per_token_s")
            rows.append(_row(pair, name, gib, found))
            chip = found.found[0]
            if chip is not None:
                kept.append(f"{pair} from {name}")
                bounds.append(f"{pair} from {name}: a token is bound by {chip.bound}")
            estimates.append(_by_hand(workload, mix, name, grid, found))
    best = ", ".join(kept) if kept else "none of them"
    return Answer(
        question=f"From which memory does {options.network} write {options.rate:g} tokens a second?",
        answer=f"{options.rate:g} tokens a second are kept by {best}. " + _flash(options, rows),
        tables=(
            Table(
                f"tokens a second, and the smallest chip that keeps {options.rate:g}",
                (
                    Column("memory", "memory"),
                    Column("dram_gib", "DRAM, GiB"),
                    Column("fastest", "at most, tokens/s"),
                    Column("tokens_per_s", "tokens/s"),
                    Column("prompt_s", "prompt", "s"),
                    *CHIP,
                ),
                tuple(rows),
            ),
        ),
        estimates=tuple(e for e in estimates if e is not None),
        bounds=tuple(bounds),
        assumptions=(
            f"{options.channels} channels: 16 bits each of LPDDR5X, 24 of LPDDR6, at the sustained share "
            f"{table('memory.yaml', 'dram')['efficiency'].value:g} of their peak; the whole bandwidth is the network's",
            "a token of the middle of a reply after a prompt of 512 tokens, batch 1; cache and attention in the same "
            "formats; energy and traffic are of the whole reply with its prompt, without a limit: a chip that is just "
            "large enough for the tokens reads its prompt slowly",
            "with flash, the DRAM holds the same fraction of every layer's weights and the rest is streamed through it",
        ),
    )


def _row(pair: str, memory: str, gib: float, found: Smallest) -> Mapping[str, Value]:
    runs = found.least < float("inf")
    more: dict[str, Value] = {
        "memory": memory,
        "dram_gib": gib,
        "fastest": f"{1 / found.least:.1f}" if runs else None,
        "fastest_tokens_per_s": 1 / found.least if runs else None,
    }
    chip = found.found[0]
    if chip is None:
        return more | {"formats": pair, "bound": "too slow" if runs else f"more weights than {gib:g} GiB hold"}
    rate = 1 / chip.cost.latency_per_pass_s["decode"]
    return chip.row(**more, tokens_per_s=f"{rate:.1f}", prompt_s=chip.cost.latency_per_pass_s["prefill"])


def _by_hand(workload: Workload, mix: Mix, memory: str, grid: AcceleratorGrid, found: Smallest) -> Estimate | None:
    """Tokens a second if all weights came once from the memory, and nothing else took time."""
    if found.least == float("inf"):
        return None
    some = grid[:1]
    chip = Found.of(workload, some[0], mix)
    weights, room = chip.cost.weight_bytes, chip.chip.dram_gib * 2**30
    bandwidth = float(dram_bytes_per_s(some)[0])
    text = f"{human(weights, 'B')} of weights a token over {bandwidth / 1e9:.3g} GB/s"
    seconds = weights / bandwidth
    if chip.chip.flash:
        rest, rate = max(weights - room, 0.0), float(flash_bytes_per_s(some)[0])
        seconds = max(seconds, rest / rate)
        text = f"{human(rest, 'B')} of {human(weights, 'B')} a token over {rate / 1e9:.3g} GB/s of flash"
    return Estimate(f"tokens/s at most: {mix.name} from {memory}", 1 / seconds, 1 / found.least, "count", text)


def _flash(options: TokenOptions, rows: list[Mapping[str, Value]]) -> str:
    """What streaming from flash costs, and what it would take."""
    name = f"{options.drams[0]} and {options.flash}"
    found = [f"{row['fastest']} in {row['formats']}" for row in rows if row["memory"] == name and row["fastest"]]
    return f"With {options.flash_dram_gib:g} GiB of DRAM before {options.flash}, at most {', '.join(found)}."


TOKENS = Question(
    "tokens",
    "whether a model of 7 billion parameters writes 20 tokens a second from LPDDR5X, LPDDR6 and flash, by format",
    TokenOptions,
    _tokens,
)
