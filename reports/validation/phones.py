"""Predicted against published latency of real phones, written to phones.md and phones.json beside it.

    python reports/validation/phones.py

The accelerators are the presets that ship with the package (codesign/hardware/data/accelerators/*-class.yaml): public
approximations, the source of each field beside it, none of them fitted to the figures here. A published figure is what
its maker or a model card names for the whole product, software included.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from codesign.formats import Assignment, FormatPair, LayerFormats
from codesign.hardware import Cost, cost, load_accelerator
from codesign.hardware.schedule.roofline import bound_shares, roofline
from codesign.hardware.units.coefficients import table
from codesign.workload import Workload, named_workload

HERE = Path(__file__).parent
TOLERANCE = 0.30


@dataclass(frozen=True)
class Figure:
    """A published figure, what stands against it here, and on which assumptions.

    `limit`: the published figure is "less than"; `why`: the reason where the prediction is off.
    """

    phone: str
    name: str
    value: float
    unit: str
    source: str
    accelerator: str
    network: str
    pair: str
    read: Callable[[Cost], float]
    assumptions: str
    limit: bool = False
    why: str = ""

    def predict(self) -> dict[str, Any]:
        workload, accelerator = named_workload(self.network), load_accelerator(self.accelerator)
        assignment = uniform(workload, self.pair)
        found = cost(workload, accelerator, assignment)
        predicted, start = self.read(found), table("system.yaml", "start")["graph_s"]
        within = predicted <= self.value if self.limit else abs(predicted / self.value - 1) <= TOLERANCE
        return {
            "phone": self.phone,
            "figure": self.name,
            "published": self.value,
            "limit": self.limit,
            "unit": self.unit,
            "predicted": predicted,
            "started": [self.read(started(found, workload, seconds)) for seconds in (start.low, start.high)],
            "within": within,
            "network": self.network,
            "formats": self.pair,
            "accelerator": self.accelerator,
            "bounds": bound_shares(roofline(workload, accelerator, assignment)),
            "source": self.source,
            "assumptions": self.assumptions,
            "why": self.why,
        }


def uniform(workload: Workload, pair: str) -> Assignment:
    kinds, formats = workload.layer_kinds(), FormatPair.parse(pair)
    return Assignment.of({n: LayerFormats.of_pair(formats, attention=k == "attention") for n, k in kinds.items()})


def milliseconds(phase: str) -> Callable[[Cost], float]:
    return lambda found: 1e3 * found.latency_per_pass_s[phase]


def per_second(phase: str) -> Callable[[Cost], float]:
    return lambda found: 1 / found.latency_per_pass_s[phase]


def seconds(found: Cost) -> float:
    return found.latency_s


CARD = "Qualcomm model card"
ONE_STEP = "batch 1, 512 x 512, no guidance; 8-bit weights and 16-bit activations in every product"
FIGURES = (
    Figure(
        phone="Snapdragon 8 Gen 2",
        name="Stable Diffusion 1.5 U-Net, one pass",
        value=127.5,
        unit="ms",
        source=CARD,
        accelerator="snapdragon-8-gen-2-class",
        network="sd15-unet",
        pair="int8:int16",
        read=milliseconds("denoise"),
        assumptions=ONE_STEP,
    ),
    Figure(
        phone="Snapdragon 8 Gen 2",
        name="Stable Diffusion 1.5 VAE decoder",
        value=233.0,
        unit="ms",
        source=CARD,
        accelerator="snapdragon-8-gen-2-class",
        network="sd15-vae-decoder",
        pair="int8:int16",
        read=milliseconds("forward"),
        assumptions=ONE_STEP,
    ),
    Figure(
        phone="Snapdragon 8 Gen 2",
        name="Stable Diffusion 1.5 text encoder",
        value=7.0,
        unit="ms",
        source=CARD,
        accelerator="snapdragon-8-gen-2-class",
        network="clip-l-text",
        pair="int8:int16",
        read=milliseconds("forward"),
        assumptions="77 tokens; 8-bit weights and 16-bit activations",
        why="6.6 GMACs and 85 MB of layers' weights take under 2 ms at the rates that U-Net and decoder reach on the "
        "same chip. No layer accounts for the other 5 ms. The SDK of this NPU names a few hundred microseconds to "
        "several milliseconds for a call to it, which longer networks hide; at that upper end the figure is met.",
    ),
    Figure(
        phone="Snapdragon 8 Gen 3",
        name="Stable Diffusion, whole image",
        value=1.0,
        unit="s",
        source="Qualcomm, October 2023",
        accelerator="snapdragon-8-gen-3-class",
        network="lcm-sd15-pipeline",
        pair="int8:int16",
        read=seconds,
        limit=True,
        assumptions="steps are not published; four steps of a distilled U-Net without guidance, text encoder and "
        "decoder included: with 20 steps of two passes each the U-Net alone takes over two seconds here",
    ),
    Figure(
        phone="Snapdragon 8 Gen 3",
        name="ControlNet's U-Net, one pass",
        value=197.6,
        unit="ms",
        source=CARD,
        accelerator="snapdragon-8-gen-3-class",
        network="sd15-unet",
        pair="int8:int16",
        read=milliseconds("denoise"),
        assumptions=ONE_STEP + "; the 13 residuals that it adds are 13 MB, a quarter of a millisecond of DRAM",
        why="The card names 1.5 times the time of the older chip for the same products, though its maker names the "
        "newer NPU 98 % faster: no model of both chips can give both figures. With the older chip's own figure over "
        "1.98 one would expect 64 ms, which is what is predicted.",
    ),
    Figure(
        phone="iPhone 14 Pro Max",
        name="Stable Diffusion 2.1 base, iterations a second",
        value=2.69,
        unit="1/s",
        source="apple/ml-stable-diffusion",
        accelerator="apple-a16-class",
        network="sd21-base-unet:guidance=on",
        pair="int6:fp16",
        read=per_second("denoise"),
        assumptions="512 x 512, two passes of an iteration as a batch; weights stored in 6 bits, products in half "
        "precision on 17 trillion operations a second",
        why="804 GMACs an iteration in 372 ms are 2.2 trillion a second, 26 % of the named peak, where the Snapdragon "
        "reaches 56 % of its own on the same kind of network. Either the peak does not hold for half precision with "
        "unpacked weights (half of it would give 4.3 iterations a second here), or the engine reaches less of it than "
        "the array modelled here. Neither is published, so neither is used.",
    ),
    Figure(
        phone="Dimensity 9300",
        name="Stable Diffusion, whole image",
        value=1.0,
        unit="s",
        source="MediaTek, November 2023, second-hand",
        accelerator="dimensity-9300-class",
        network="lcm-sd15-pipeline",
        pair="int8:int16",
        read=seconds,
        limit=True,
        assumptions="as for the Snapdragon 8 Gen 3",
    ),
    Figure(
        phone="Dimensity 9300",
        name="language model of 7 billion parameters in INT4, tokens a second",
        value=20.0,
        unit="1/s",
        source="MediaTek, November 2023, second-hand",
        accelerator="dimensity-9300-class",
        network="llama2-7b",
        pair="int4_g32:int8",
        read=per_second("decode"),
        assumptions="Llama 2, a prompt of 512 tokens, the last of 128 new ones; groups of 32, cache in the same "
        "formats; the codec's ratio as measured on the bundled networks",
    ),
    Figure(
        phone="Exynos 2400",
        name="Stable Diffusion U-Net, one pass",
        value=1e3 / 8.3,
        unit="ms",
        source="ISSCC 2025, 8.3 inferences a second, as summarised by junbin.io",
        accelerator="exynos-2400-class",
        network="sd15-unet",
        pair="int8:int8",
        read=milliseconds("denoise"),
        assumptions="version of the network, image size and formats are not in the summary: 1.5, 512 x 512, INT8",
        why="Array, vector engines, SRAM and clock are published, so that no size explains it. A summary of the paper "
        "(boardor.com) gives softmax and norms about 40 % of the time of such networks, the share of the vector unit "
        "here too: array, memory and vector unit are optimistic by about the same factor. What loses it (a lower clock "
        "than the highest, formats of 16 bits, time between the engines) is not in the summaries. Not tested.",
    ),
)


def started(found: Cost, workload: Workload, seconds: float) -> Cost:
    """A cost whose every pass begins with the start of a graph."""
    passes = {phase: workload.repeats.get(phase, 1) for phase in found.latency_per_pass_s}
    return replace(
        found,
        latency_s=found.latency_s + seconds * sum(passes.values()),
        latency_per_pass_s={phase: latency + seconds for phase, latency in found.latency_per_pass_s.items()},
    )


def main() -> None:
    rows = [figure.predict() for figure in FIGURES]
    (HERE / "phones.json").write_text(json.dumps({"tolerance": TOLERANCE, "rows": rows}, indent=1) + "\n")
    lines = [
        "# Phones: predicted against published",
        "",
        "Written by `python reports/validation/phones.py`. Each accelerator is a preset whose file names the source of "
        "every field; nothing in it was fitted to these figures.",
        "",
        "| phone | figure | published | predicted | predicted / published | | with the start of each graph |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        published = f"{'< ' if row['limit'] else ''}{row['published']:g} {row['unit']}"
        verdict = "within" if row["within"] else "off"
        begun = " to ".join(f"{value:.3g}" for value in row["started"])
        lines.append(
            f"| {row['phone']} | {row['figure']} | {published} | {row['predicted']:.3g} {row['unit']} | "
            f"{row['predicted'] / row['published']:.2f} | {verdict} | {begun} |"
        )
    lines += [
        "",
        f"Within: {TOLERANCE:.0%} of the published figure, or below it where that is a limit. Published figures hold "
        "what software takes to start a graph, predicted ones do not: the last column adds it, at either end of its "
        "interval (system.yaml, start).",
        "",
        "## Assumptions, and what bounds the prediction",
        "",
    ]
    for row in rows:
        bounds = ", ".join(f"{bound} {share:.0%}" for bound, share in row["bounds"].items() if share >= 0.005)
        lines += [
            f"- **{row['phone']}, {row['figure']}** (`{row['network']}` in `{row['formats']}` on "
            f"`{row['accelerator']}`; published by: {row['source']}). {row['assumptions'][0].upper()}"
            f"{row['assumptions'][1:]}. Bound by {bounds}."
            + (f" Why it is off: {row['why']}" if not row["within"] else "")
        ]
    (HERE / "phones.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
