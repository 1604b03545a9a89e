"""What a study of the public networks says, in a page: copies its files here and writes README.md.

make public                         # downloads, searches, reports: reports/studies/public
python reports/public/summary.py    # this page from it
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from codesign.cli import main as codesign_command
from codesign.designs import Design, Study, load_study
from codesign.designs.record import Baseline
from docs.generate.results import main as write_results

HERE = Path(__file__).parent
STUDY = HERE.parents[1] / "reports" / "studies" / "public"
FILES = ("front.json", "front.csv", "details.json", "examples.json", "space.yaml")
ASSISTANT, UPSCALE = "assistant", "upscale"
TOKEN, IMAGE, AREA = "assistant.latency_per_token_s", "upscale.latency_s", "area_mm2"
WANTED_KL, WANTED_DB = 0.1, 40  # nats per token; dB of PSNR to the float network's pictures
PICTURES = 3  # shown of each design, so that the files stay small


def kl(design: Design) -> float:
    return 10 ** design.quality[ASSISTANT].value


def psnr(design: Design) -> tuple[float, float, float]:
    """(value, low, high) of the PSNR to the float network's pictures in 0..1, dB."""
    quality = design.quality[UPSCALE]  # log10 of the mean squared error
    return -10 * quality.value, -10 * quality.high, -10 * quality.low


def row(name: str, design: Design) -> str:
    quality, pictures, values = design.quality[ASSISTANT], psnr(design), design.objectives
    return (
        f"| {name} | {kl(design):.3g} ({10**quality.low:.3g} to {10**quality.high:.3g}) "
        f"| {pictures[0]:.1f} ({pictures[1]:.1f} to {pictures[2]:.1f}) | {values[AREA]:.2f} "
        f"| {1e3 * values[TOKEN]:.2f} | {1e3 * values[IMAGE]:.1f} |"
    )


def fastest(designs: list[Design], most_kl: float) -> Design | None:
    """The design of least time per token among those within both bounds of quality."""
    good = [d for d in designs if kl(d) <= most_kl and psnr(d)[0] >= WANTED_DB]
    return min(good, key=lambda d: d.objectives[TOKEN], default=None)


def text(study: Study) -> str:
    record = study.record
    uniform = {_short(each.label.removeprefix("uniform ")): each for each in record.baselines}
    perplexity = next(each.value for each in record.tasks[ASSISTANT].float if each.metric == "perplexity")
    photograph = next(each.value for each in record.tasks[UPSCALE].float if each.metric == "psnr_to_photograph")
    layers = {name: len(network.layers) for name, network in record.tasks.items()}
    table = "\n".join(row(name, each) for name, each in sorted(uniform.items(), key=lambda item: kl(item[1])))
    mixed = [design for design in study.front if design.is_mixed]
    some = sorted(mixed, key=kl)[:: max(len(mixed) // 8, 1)]
    chosen = "\n".join(
        row(f"`{each.id}` {', '.join(map(_short, map(str, each.accelerator.pairs)))}", each) for each in some
    )
    peak = (record.peak_memory_bytes or 0) / 1e9
    return f"""# Two public networks on one phone chip

Written by `python reports/public/summary.py` from the study that `make public` makes: SmolLM2-135M-Instruct
(`assistant`, {layers[ASSISTANT]} layers, perplexity {perplexity:.1f} on Python's documentation) and SPAN x4
(`upscale`, {layers[UPSCALE]} layers, {photograph:.2f} dB to the photographs).
{record.history[-1].evaluations} candidates were measured, for {record.hardware_count:,} chips, attention products
included. The networks are folded and rotated where that is found, weights of 4 bits are rounded by GPTQ, ranges chosen
by what they do to the outputs ([what each method buys](../quantization.md)).
[report.html](report.html) has the front, every layer's formats, texts and pictures.

## What a phone maker learns

{learnt(uniform, mixed, study)}

## One format throughout

The chip is the balanced one of each format; intervals are 95 %.

{HEADER}
{table}

## Some mixed designs of the front

{HEADER}
{chosen}

SmolLM2's matrices come from a file that holds them in 4 bits; rotation takes them off that grid.
The process that leads the study needed {peak:.1f} GB at the most.
"""


HEADER = (
    "| design | assistant: KL to float, nats/token | upscale: PSNR to float, dB | mm2 | ms/token | ms/image |"
    "\n|---|---|---|---|---|---|"
)


def _short(pair: str) -> str:
    """int8 for int8:int8, without the method, of which each pair has one."""
    pair = pair.partition("+")[0]
    weight, _, activation = pair.partition(":")
    return weight if weight == activation else pair


def learnt(uniform: dict[str, Baseline], mixed: list[Design], study: Study) -> str:
    """Ten lines, each with its numbers."""
    loss = {name: f"{kl(each):.2g}" for name, each in uniform.items()}
    area = {name: each.objectives[AREA] for name, each in uniform.items()}
    token = {name: f"{1e3 * each.objectives[TOKEN]:.2f} ms" for name, each in uniform.items()}
    db = {name: f"{psnr(each)[0]:.1f} dB" for name, each in uniform.items()}
    both = fastest(list(uniform.values()), WANTED_KL), fastest(mixed, WANTED_KL)
    lines = [
        f"INT8 with one static scale per tensor gives KL {loss['int8']} on this language model, with one scale per "
        f"token {loss['int8_token']} on the same unit ({token['int8_token']} against {token['int8']} per token). "
        f"Groups of 32 give {loss['int8_g32']}, on {area['int8_g32'] / area['int8']:.2f} x the area (balanced chips).",
        f"FP8 (E4M3, static scale) gives {loss['fp8_e4m3']}; on pictures INT8 has {db['int8']} and FP8 "
        f"{db['fp8_e4m3']}. Which is the better buy depends on the network.",
        f"Of the MX formats of 8 bits, the integer one is far ahead: {loss['mxint8']} against {loss['mxfp8_e4m3']} on "
        f"text, {db['mxint8']} against {db['mxfp8_e4m3']} on pictures.",
        f"4-bit weights buy time, since decoding waits for DRAM: {token['int4_g32:int8_g32']} per token with "
        f"int4_g32:int8_g32, {token['int8_g32']} with int8_g32.",
        f"4-bit weights, keys and values everywhere give KL {loss['int4_g32:int8_g32']} and "
        f"{db['int4_g32:int8_g32']} with activations in groups, {loss['int4_g32:int8_token']} and "
        f"{db['int4_g32:int8_token']} with one scale per token.",
        f"MXFP4 weights with MXFP8 activations are the fastest ({token['mxfp4:mxfp8_e4m3']} per token), at KL "
        f"{loss['mxfp4:mxfp8_e4m3']} and {db['mxfp4:mxfp8_e4m3']}.",
        f"{len(mixed)} of the {len(study.front.designs)} designs that the search reports mix formats.",
        _within(*both),
        "A unit for one format stays the smallest at its quality: mixing buys the range between two formats.",
        "Time per token hardly depends on the array, time per image does: the image network decides its size.",
    ]
    return "\n".join(f"{i}. {line}" for i, line in enumerate(lines, 1))


def _within(one: Design | None, mixed: Design | None) -> str:
    """The fastest uniform and the fastest mixed design that both networks can live with."""
    said = f"The fastest design with a KL of at most {WANTED_KL:g} and at least {WANTED_DB:g} dB has, with "
    for name, design in (("one format throughout", one), ("mixed formats", mixed)):
        if design is None:
            said += f"no reported design with {name}; "
            continue
        values = design.objectives
        said += f"{name}: {1e3 * values[TOKEN]:.2f} ms per token on {values[AREA]:.2f} mm2; "
    return said.removesuffix("; ") + "."


def main() -> None:
    study = load_study(STUDY)
    for name in FILES:
        shutil.copyfile(STUDY / name, HERE / name)
    shown = json.loads((HERE / "examples.json").read_text())
    shown[UPSCALE] = {design: pictures[:PICTURES] for design, pictures in shown[UPSCALE].items()}
    (HERE / "examples.json").write_text(json.dumps(shown))
    codesign_command(["report", str(HERE)])
    (HERE / "README.md").write_text(text(study))
    write_results()  # of the README of the repository
    print((HERE / "README.md").read_text())


if __name__ == "__main__":
    main()
