"""How long fake quantization takes, against a memory pass and against other packages: formats.json, formats.md.

    python reports/benchmarks/formats.py [--repeats 15] [--size 2048] [--threads 1 2] [--out DIR]

Every time is the median over repeats that go round robin through all candidates of one run, so that
a disturbance of the machine meets all of them. The unit is ``x.clone() * 1.0`` of the same tensor. Per-tensor
formats take one scale for the tensor; block formats run along the last axis. Brevitas quantizes a
weight of the same numbers (`QuantLinear.quant_weight`, evaluation mode, no gradients); torchao casts
to its MXTensor and back where it is installed; the emulation follows the published algorithm of
microxcaling (shared exponent by log2, private exponents, mantissa shift and round) in plain eager torch.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from codesign.formats import FloatElement, Format, compiled, get_format

OTHERS = ("torch", "brevitas", "torchao", "emulation")
Candidate = Callable[[], Tensor]
LIMITS = {
    **dict.fromkeys(("int8", "int8_zp", "int8_token", "fp8_e4m3", "fp8_e5m2", "fp4_e2m1", "bf16"), 0.8),
    **dict.fromkeys(("mxfp8_e4m3", "mxfp4", "mxfp4_rceil", "mxfp4_even", "mxint8", "int4_g32", "int4_g32_zp"), 1.5),
    "nvfp4": 2.0,
}


def emulation(x: Tensor, fmt: Format) -> Tensor:
    """microxcaling's way, written from its description: no bit tricks, whole-tensor passes."""
    element, block = fmt.element, fmt.scaling.block if fmt.scaling else None
    shape = x.shape
    if block:
        x = x.reshape(-1, block)
        shared = torch.floor(torch.log2(x.abs().amax(1, keepdim=True) + 2.0**-126)) - element.emax
        scale = torch.exp2(shared)
    else:
        scale = x.abs().max() / element.max_value
    x = x / scale
    if isinstance(element, FloatElement):
        private = torch.floor(torch.log2(x.abs() + (x == 0).float())).clamp_min(element.emin)
        x = x / torch.exp2(private) * 2.0**element.mantissa_bits
        x = torch.round(x) / 2.0**element.mantissa_bits * torch.exp2(private)
    else:
        x = torch.round(x / element.step) * element.step
    return (x.clamp(element.min_value, element.max_value) * scale).reshape(shape)


def brevitas_candidates(x: Tensor) -> dict[str, Candidate]:
    """Brevitas' weight quantizers with the element and scaling of ours; {} if it is not installed."""
    try:
        import brevitas.nn as qnn
        from brevitas.inject.enum import ScalingPerOutputType
        from brevitas.quant.float_quant_ocp import Fp8e4m3OCPWeightPerTensorFloat, Fp8e5m2OCPWeightPerTensorFloat
        from brevitas.quant.mx_quant_ocp import GroupwiseWeightProxyMixin, MXFloat8e4m3Weight, MXInt8Weight
        from brevitas.quant.scaled_int import Int8WeightPerTensorFloat
    except ImportError:
        return {}

    class Fp4(Fp8e4m3OCPWeightPerTensorFloat):
        bit_width, exponent_bit_width, mantissa_bit_width = 4, 2, 1

    class Mxfp4(MXFloat8e4m3Weight):
        bit_width, exponent_bit_width, mantissa_bit_width = 4, 2, 1

    class Int4Groups(GroupwiseWeightProxyMixin, Int8WeightPerTensorFloat):
        bit_width, group_size, narrow_range = 4, 32, False
        scaling_per_output_type = ScalingPerOutputType.GROUP

    quantizers = {
        "int8": Int8WeightPerTensorFloat,
        "fp8_e4m3": Fp8e4m3OCPWeightPerTensorFloat,
        "fp8_e5m2": Fp8e5m2OCPWeightPerTensorFloat,
        "fp4_e2m1": Fp4,
        "mxfp8_e4m3": MXFloat8e4m3Weight,
        "mxint8": MXInt8Weight,
        "mxfp4": Mxfp4,
        "int4_g32": Int4Groups,
    }
    layers = {}
    for name, quantizer in quantizers.items():
        layer = qnn.QuantLinear(x.shape[1], x.shape[0], bias=False, weight_quant=quantizer).eval()
        layer.weight.data.copy_(x)
        layers[name] = partial(lambda layer: layer.quant_weight().value, layer)
    return layers


def torchao_candidates(x: Tensor) -> dict[str, Candidate]:
    """torchao's cast to MX and back; {} if it is not installed."""
    try:
        from torchao.prototype.mx_formats.mx_tensor import MXTensor, ScaleCalculationMode
        from torchao.prototype.mx_formats.nvfp4_tensor import NVFP4Tensor, per_tensor_amax_to_scale
    except ImportError:
        return {}

    def mx(dtype: torch.dtype, mode: ScaleCalculationMode) -> Tensor:
        return MXTensor.to_mx(x, dtype, block_size=32, scaling_mode=mode).dequantize(torch.float32)

    def nvfp4() -> Tensor:
        return NVFP4Tensor.to_nvfp4(x, per_tensor_scale=per_tensor_amax_to_scale(x.abs().max())).dequantize(x.dtype)

    mode = ScaleCalculationMode
    return {
        "mxfp8_e4m3": partial(mx, torch.float8_e4m3fn, mode.FLOOR),
        "mxfp4": partial(mx, torch.float4_e2m1fn_x2, mode.FLOOR),
        "mxfp4_rceil": partial(mx, torch.float4_e2m1fn_x2, mode.RCEIL),
        "mxfp4_even": partial(mx, torch.float4_e2m1fn_x2, mode.EVEN),
        "nvfp4": nvfp4,
    }


def in_torch(fmt: Format, x: Tensor, axis: int | None) -> Tensor:
    """Our reference, which the compiled kernels agree with bit for bit."""
    with compiled.switched_off():
        return fmt.fake_quantize(x, axis)


def candidates(x: Tensor) -> dict[tuple[str, str], Candidate]:
    """(format, package) -> what to time; ("", "clone") is the unit."""
    found: dict[tuple[str, str], Candidate] = {("", "clone"): lambda: x.clone() * 1.0}
    for name in LIMITS:
        fmt = get_format(name)
        axis = -1 if fmt.is_block or fmt.per_token else None
        found[name, "codesign"] = partial(fmt.fake_quantize, x, axis)
        found[name, "torch"] = partial(in_torch, fmt, x, axis)
        if x.dtype != torch.float32:
            continue
        emulable = fmt.rule == "floor" or (fmt.rule == "absmax" and not fmt.is_block)
        if emulable:
            found[name, "emulation"] = partial(emulation, x, fmt)
    if x.dtype != torch.float32:
        return found
    for package, others in (("brevitas", brevitas_candidates(x)), ("torchao", torchao_candidates(x))):
        found.update({(name, package): run for name, run in others.items()})
    return found


@torch.no_grad()
def measure(x: Tensor, repeats: int) -> dict[tuple[str, str], float]:
    """Median seconds of each candidate."""
    todo = candidates(x)
    for run in todo.values():
        run()
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in todo}
    for _ in range(repeats):
        for key, run in todo.items():
            start = time.perf_counter()
            run()
            seconds[key].append(time.perf_counter() - start)
    return {key: median(values) for key, values in seconds.items()}


def rows_of(times: dict[tuple[str, str], float], threads: int, dtype: str) -> list[dict[str, object]]:
    """One row a format: our time, its ratio to the unit and its limit, the other packages' times."""
    unit = times["", "clone"]
    rows = []
    for name, limit in LIMITS.items():
        ours = times[name, "codesign"]
        row: dict[str, object] = {"format": name, "dtype": dtype, "threads": threads, "unit_ms": unit * 1e3}
        row |= {"ms": ours * 1e3, "ratio": ours / unit, "limit": limit if threads == 1 else None}
        row["within"] = ours / unit <= limit
        for package in OTHERS:
            other = times.get((name, package))
            row[f"{package}_ms"] = other and other * 1e3
            row[f"{package}_speedup"] = other and other / ours
        rows.append(row)
    return rows


def machine() -> dict[str, object]:
    """What the numbers were measured on."""
    packages = {}
    for package in ("torch", "brevitas", "torchao"):
        try:
            packages[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            packages[package] = "not installed"
    return {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), **packages}


def markdown(report: dict[str, object]) -> str:
    """The same as a table to read."""
    assert isinstance(report["machine"], dict)
    assert isinstance(report["rows"], list)
    about = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    lines = [
        "# Fake quantization: time",
        "",
        f"{report['elements']:,} elements, median of {report['repeats']} rounds; {about}.",
        "Ratio: to `x.clone() * 1.0` (the unit) in the same run; limits are for one thread. torch: our reference in",
        "torch's operations. Others: their time, and how many times ours it is.",
        "",
        "| format | dtype | threads | unit ms | ms | ratio | limit | torch | Brevitas | torchao | emulation |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        others = [f"{row[f'{p}_ms']:.1f} ({row[f'{p}_speedup']:.1f}x)" if row[f"{p}_ms"] else "-" for p in OTHERS]
        limit = "-" if row["limit"] is None else f"{row['limit']} {'met' if row['within'] else 'MISSED'}"
        times = [f"{row['unit_ms']:.2f}", f"{row['ms']:.2f}", f"{row['ratio']:.2f}"]
        cells = [row["format"], row["dtype"], str(row["threads"]), *times, limit, *others]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--size", type=int, default=2048, help="the tensor is size x size")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")  # named-tensor and deprecation notices of the other packages
    x = torch.randn(options.size, options.size, generator=torch.Generator().manual_seed(0))
    rows: list[dict[str, object]] = []
    for threads in options.threads:
        torch.set_num_threads(threads)
        for dtype in (torch.float32, torch.bfloat16):
            rows += rows_of(measure(x.to(dtype), options.repeats), threads, str(dtype).removeprefix("torch."))
    report: dict[str, object] = {"machine": machine(), "elements": x.numel(), "repeats": options.repeats, "rows": rows}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "formats.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / "formats.md").write_text(markdown(report))
    print(markdown(report))


if __name__ == "__main__":
    main()
