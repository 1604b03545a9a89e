"""``codesign formats``: compares formats by SQNR on real tensors and by area of their compute units."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from typing import TypedDict

import torch
from torch import Tensor

from codesign.commands.output import print_json, print_table
from codesign.commands.progress import WAIT_S, StageProgress
from codesign.errors import InputError
from codesign.files import check_target, csv_text, write_target
from codesign.formats import Format, FormatPair, format_names, get_format, sqnr_db
from codesign.hardware import MacUnit
from codesign.models import load_task
from codesign.report.format_plot import check_plot, write_format_plot
from codesign.workload import Product, ProductInterceptor

COMMON = (
    *("int8", "int6", "int4", "int4_g32", "fp8_e4m3", "fp8_e5m2", "fp6_e3m2", "fp6_e2m3", "fp4_e2m1"),
    *("mxfp8_e4m3", "mxfp6_e2m3", "mxfp4", "mxint8", "nvfp4", "bf16"),
)
FLOATS = ("fp16", "fp32")  # rows of every table, for scale
_KEPT = 1 << 20  # activations that are quantized


def run(arguments: argparse.Namespace) -> int:
    if arguments.names and arguments.all:
        raise InputError("--all lists every format: name none beside it")
    chosen = format_names() if arguments.all else (arguments.names or COMMON)
    formats = [get_format(name) for name in dict.fromkeys((*chosen, *FLOATS))]
    check_target(arguments.csv, "--csv")
    if arguments.plot:
        check_plot(arguments.plot)
    for fmt in formats:
        MacUnit((FormatPair(fmt.name, fmt.name),), "auto", arguments.dot)  # raises if none multiplies it
    rows = []
    with StageProgress(WAIT_S, silent=arguments.json or arguments.quiet) as progress:
        progress("formats", 0, len(formats), "tensors of the rewrite network")
        tensors = real_tensors()
        for done, fmt in enumerate(formats):
            progress("formats", done, len(formats), fmt.name)
            rows.append(row(fmt, tensors, arguments.dot))
    if arguments.plot:
        error = MacUnit((FormatPair("int8", "int8"),)).model.error("area")
        write_format_plot(rows, arguments.dot, error, arguments.plot)
    if arguments.csv:
        write_target(arguments.csv, csv_text([flat(r) for r in rows]), "--csv")
    if arguments.json:
        print_json({"dot": arguments.dot, "node_nm": 7, "formats": rows})
        return 0
    columns = [
        "format",
        "bits",
        "largest",
        "smallest",
        "SQNR weights",
        "SQNR activations",
        f"MAC area (dot-{arguments.dot})",
    ]
    shown = [
        [
            r["format"],
            f"{r['bits_per_element']:.4g}",
            f"{r['max_value']:.4g}",
            f"{r['min_positive']:.3g}",
            *(_shown(r["sqnr_db"][k]) for k in ("weights", "activations")),
            f"{r['area_over_int8']:.2f} x INT8 ({r['area_um2']['low']:.0f} to {r['area_um2']['high']:.0f} um2)",
        ]
        for r in rows
    ]
    print_table("formats, for weight and activation; SQNR on tensors of the rewrite network", columns, shown)
    for path in (arguments.plot, arguments.csv):
        if path:
            print(path)
    return 0


class FormatRow(TypedDict):
    """A format in JSON."""

    format: str
    bits_per_element: float
    max_value: float
    min_positive: float
    sqnr_db: dict[str, float | None]  # weights, activations, products; None if exact
    area_um2: dict[str, float]  # of the compute unit at 7 nm, per lane: value, low, high
    area_over_int8: float


def row(fmt: Format, tensors: dict[str, Tensor], dot: int) -> FormatRow:
    """One format: bits, range, SQNR, and the area of its compute unit per lane at 7 nm.

    Args:
        fmt: the format, of weight and activation.
        tensors: weights and activations, from `real_tensors`.
        dot: dot-product length of the unit.
    """
    area = MacUnit((FormatPair(fmt.name, fmt.name),), "auto", dot).area_um2
    int8 = MacUnit((FormatPair("int8", "int8"),), "auto", dot).area_um2
    element, of_tensor = fmt.element, not (fmt.is_block or fmt.per_token)
    sqnr = {kind: sqnr_db(x, fmt, None if kind == "activations" and of_tensor else -1) for kind, x in tensors.items()}
    noise = sum(10 ** (-value / 10) for value in sqnr.values())
    both = -10 * math.log10(noise) if noise else math.inf
    return {
        "format": fmt.name,
        "bits_per_element": fmt.bits_per_element,
        "max_value": fmt.max_value,
        "min_positive": element.smallest,
        # weights: one scale per output channel or block; activations: per tensor, token or block, as in a network;
        # products: the sum of both relative errors, to first order
        "sqnr_db": {kind: None if math.isinf(value) else value for kind, value in (sqnr | {"products": both}).items()},
        "area_um2": {"value": area.value, "low": area.low, "high": area.high},
        "area_over_int8": area.value / int8.value,
    }


def _shown(sqnr_db: float | None) -> str:
    return "exact" if sqnr_db is None else f"{sqnr_db:.1f} dB"


def flat(found: Mapping[str, object]) -> dict[str, object]:
    """A row with nested keys joined: sqnr_db_weights, area_um2_low, ..."""
    cells: dict[str, object] = {}
    for key, value in found.items():
        cells |= {f"{key}_{inner}": x for inner, x in value.items()} if isinstance(value, dict) else {key: value}
    return cells


def real_tensors() -> dict[str, Tensor]:
    """The weights of the linear layers of the rewrite network [n, 128], and the activations that they multiply."""
    task = load_task("rewrite")
    seen: list[Tensor] = []
    weights = {n: p.detach() for n, p in task.module.named_parameters() if p.ndim == 2 and "proj" in n}

    def keep(product: Product) -> None:
        if product.kind == "linear" and product.input.shape[-1] == 128:
            seen.append(product.input.detach().reshape(-1, 128))

    with torch.inference_mode(), ProductInterceptor(task.module, keep):
        task.calibrate(task.module)
    rows = [w.reshape(-1, w.shape[-1]) for w in weights.values() if w.shape[-1] == 128]
    activations = torch.cat(seen)
    return {"weights": torch.cat(rows), "activations": activations[: math.ceil(_KEPT / 128)]}
