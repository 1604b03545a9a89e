"""What the rule behind activations' ranges costs: INT8, FP8 and INT4 throughout, written to ranges.{json,md}.

    python reports/validation/ranges.py [--networks restore,rewrite,span,realesr,resnet20] [--rules mse,minmax,...]

sampled: least squared error over at most 32,768 elements of each operand, 8,192 a call, shares of the largest magnitude
from 1 to 0.3: the default until the end of 2026, kept here for comparison. all elements: the same shares, the error
over every element, by brute force. mse, minmax, percentile: the product's. clipping x 5: mse with the error of clipped
elements counted five times, as they err to one side; widest within 5 %: the widest range whose error is within 5 % of
the least. Both were tried as the default: they help the ResNet and hurt the language model.

span and realesr are downloaded with pip (`examples/public_networks.py`), resnet20 is trained here (`resnet20.py`).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))

from codesign.formats import Assignment, Format, FormatPair, get_format
from codesign.models import Task, load_task
from codesign.quality import Evaluator
from codesign.quality.ranges import Range, Ranges, Site, check_rule, sites
from codesign.report.markdown import table
from codesign.terms import RangeRule
from codesign.workload import Product, ProductInterceptor

HERE = Path(__file__).parent
NETWORKS = {
    "restore": "restore",
    "rewrite": "rewrite",
    "span": "python:examples.public_networks:span",
    "realesr": "python:examples.public_networks:realesr",
    "resnet20": "python:resnet20:task",
}
FORMATS = ("int8", "fp8_e4m3", "int4")
RULES = ("sampled", "all elements", "minmax", "percentile", "mse", "clipping x 5", "widest within 5 %")
_SHARES = torch.linspace(1.0, 0.3, 29).tolist()
_KEPT, _PER_CALL = 32_768, 8_192


class Fitted(Ranges):
    """Ranges whose shares of the largest magnitude were found here."""

    def __init__(self, task: Task, shares: dict[tuple[Site, str], float]) -> None:
        super().__init__(task, "minmax")
        self._shares = shares

    def get(self, site: Site, fmt: Format) -> Range:
        whole = super().get(site, fmt)
        assert isinstance(whole, float)
        return whole * self._shares[site, fmt.name]


class Tried(Ranges):
    """Ranges by another choice among shares, from the same histograms: x 5 for clipped elements, or the widest."""

    def __init__(self, task: Task, rule: str) -> None:
        super().__init__(task, "mse")
        self._weight, self._within = (5.0, 1.0) if rule.startswith("clipping") else (1.0, 1.05)

    def get(self, site: Site, fmt: Format) -> Range:
        if (site, fmt.name) not in self._fitted:
            seen, errors = self._seen[site], dict[float, float]()
            values, counts = seen.elements.rows()
            largest = max(abs(seen.low), abs(seen.high))
            for share in torch.linspace(1.0, 0.02, 99).tolist() if largest else []:
                change = (fmt.fake_quantize(values, amax=largest * share) - values).double().square()
                change = torch.where(values.abs() > largest * share, change * self._weight, change)
                errors[share] = float(counts.double() @ change)
            least = min(errors.values(), default=0.0)
            wide = (share for share, error in errors.items() if error <= self._within * least)
            self._fitted[site, fmt.name] = largest * max(wide, default=1.0)
        return self._fitted[site, fmt.name]


def observed(task: Task, see: Any) -> None:
    """Call see(site, operand) with every operand of every product of a calibration run."""

    def watch(product: Product) -> None:
        for site, operand in zip(sites(product), (product.input, product.stationary), strict=True):
            if site is not None:
                see(site, operand.detach().float())

    with torch.inference_mode(), ProductInterceptor(task.module, watch, decompose=True):
        task.calibrate(task.module)


def all_elements(task: Task) -> dict[tuple[Site, str], float]:
    """The best share over every element of every operand."""
    whole, errors = Ranges(task, "minmax"), dict[tuple[Site, str, float], float]()

    def see(site: Site, x: Tensor) -> None:
        for name in FORMATS:
            fmt = get_format(name)
            largest = whole.get(site, fmt)
            assert isinstance(largest, float)
            for share in _SHARES:
                change = fmt.fake_quantize(x, amax=largest * share).sub_(x).square_().sum(dtype=torch.float64)
                errors[site, name, share] = errors.get((site, name, share), 0.0) + float(change)

    observed(task, see)
    return _best(errors)


def sampled(task: Task) -> dict[tuple[Site, str], float]:
    """The best share over a stride through the first calls."""
    kept, largest = dict[Site, list[Tensor]](), dict[Site, float]()

    def see(site: Site, x: Tensor) -> None:
        parts, flat = kept.setdefault(site, []), x.reshape(-1)
        largest[site] = max(largest.get(site, 0.0), float(flat.abs().max()))
        if sum(map(len, parts)) < _KEPT:
            parts.append(flat[:: max(1, len(flat) // _PER_CALL) | 1].clone())

    observed(task, see)
    errors = {}
    for site, parts in kept.items():
        x = torch.cat(parts)
        for name in FORMATS:
            for share in _SHARES:
                change = get_format(name).fake_quantize(x, amax=largest[site] * share) - x
                errors[site, name, share] = float(change.double().square().sum())
    return _best(errors)


def _best(errors: dict[tuple[Site, str, float], float]) -> dict[tuple[Site, str], float]:
    keys = dict.fromkeys((site, name) for site, name, _ in errors)
    return {key: min(_SHARES, key=lambda share: errors[*key, share]) for key in keys}


def measured(name: str, rules: Sequence[str]) -> dict[str, Any]:
    """Rule -> format -> value of the network's deciding metric."""
    task, found = load_task(NETWORKS[name], name=name), dict[str, dict[str, float]]()
    for rule in rules:
        evaluator = Evaluator(task)
        if rule in ("sampled", "all elements"):
            evaluator.network.ranges = Fitted(task, sampled(task) if rule == "sampled" else all_elements(task))
        elif rule in get_args(RangeRule):
            evaluator = Evaluator(task, ranges=check_rule(rule))
        else:
            evaluator.network.ranges = Tried(task, rule)
        found[rule] = {fmt: evaluator(_uniform(evaluator, fmt)).value for fmt in FORMATS}
        print(name, rule, found[rule], flush=True)
    return {"metric": task.deciding, "unit": task.unit, "layers": len(task.workload().layers), "values": found}


def _uniform(evaluator: Evaluator, name: str) -> Assignment:
    pair = FormatPair(name, name)
    return Assignment.of_pairs(dict.fromkeys(evaluator.layers, pair), evaluator.layers)


def markdown(results: dict[str, Any]) -> str:
    parts = [
        "# Range rules of activations compared",
        "Weights and activations of every layer in one format; made by `python reports/validation/ranges.py`. Losses: "
        "smaller is better. *sampled*: from 8,192 values of each call; *all elements*: by brute force over the shares "
        "that *mse* looks at; *clipping x 5*: errors of clipped values count five times; *widest within "
        "5 %*: the largest range whose error is within 5 % of the least.",
    ]
    for name, result in results.items():
        unit = f" ({result['unit']})" if result["unit"] else ""
        rows = [[rule, *(f"{values[fmt]:.4g}" for fmt in FORMATS)] for rule, values in result["values"].items()]
        parts += [f"## {name}: {result['metric']}{unit}, {result['layers']} layers", table(["ranges", *FORMATS], rows)]
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--rules", default=",".join(RULES), help="others stay as they were measured before")
    options = parser.parse_args(arguments)
    target = HERE / "ranges.json"
    results = json.loads(target.read_text()) if target.exists() else {}
    for name in options.networks.split(","):
        fresh = measured(name, options.rules.split(","))
        values = results.get(name, {}).get("values", {}) | fresh["values"]
        results[name] = fresh | {"values": {rule: values[rule] for rule in RULES if rule in values}}
        ordered = {n: results[n] for n in NETWORKS if n in results}
        target.write_text(json.dumps(ordered, indent=1) + "\n")
        (HERE / "ranges.md").write_text(markdown(ordered))


if __name__ == "__main__":
    main()
