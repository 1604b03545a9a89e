"""Fit of the area and energy coefficients: ``python -m codesign.hardware.fit`` rewrites data/mac_model.yaml.

Non-negative least squares on relative error over the rows of data/mac_synthesis.yaml. A row says
area(unit) = ratio * area(reference): for the single MACs the reference has a known absolute area,
for the dot products it is part of the model itself, so the fit is repeated until it settles. The
standard-cell areas of each term are a weak prior: they decide where the rows cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import yaml
from scipy.optimize import nnls

from codesign.formats import FormatPair
from codesign.hardware.accumulators import resolve_accumulator
from codesign.hardware.coefficients import DATA, read_data, table
from codesign.hardware.operands import operands
from codesign.hardware.terms import FLOAT_TERMS, TERMS, unit_terms

PRIOR_WEIGHT = 0.1  # of one term's own cells against one synthesis row
ROUNDS = 30
# Cells that one count of each term is made of.
CELLS = {
    "partial_products": ("and2",),
    "full_adders": ("full_adder",),
    "carry_propagate": ("full_adder",),
    "exponent_add": ("full_adder",),
    "max_exponent": ("full_adder", "mux2"),
    "alignment": ("mux2",),
    "adder_tree": ("full_adder",),
    "accumulate": ("full_adder",),
    "float_accumulate": ("mux2", "mux2", "full_adder"),
    "scale": ("full_adder",),
    "registers": ("flip_flop",),
}
# Energy of one operation at 7 nm that splits the area into quiet (integer) and busy (float) parts.
ENERGY_ROWS = (("int8:int8", "int32", "int8_mac"), ("bf16:bf16", "fp32", "bf16_mac"))


@dataclass(frozen=True)
class Row:
    """One synthesised unit: its counts, those of its reference, the measured ratio, and a label."""

    label: str
    counts: np.ndarray
    reference: np.ndarray
    ratio: float
    anchored: bool  # the reference's absolute area is known


def counts(pair: str, accumulator: str, lanes: int) -> np.ndarray:
    weight, activation = operands(FormatPair.parse(pair))
    return unit_terms(weight, activation, resolve_accumulator(accumulator, weight, activation), lanes)


def rows() -> list[Row]:
    """Every measured ratio; a unit that both libraries have stands twice."""
    data, found = read_data("mac_synthesis.yaml"), []
    for section, lanes in (("single", 1), ("dot16", 16)):
        reference = counts("int8:int8", "int32", lanes)
        for entry in data[section]:
            pair = f"{entry['weight']}:{entry['activation']}"
            unit = counts(pair, entry["accumulator"], lanes)
            for key in ("nangate45", "asap7", "ratio"):
                if key in entry:
                    label = f"{pair} {entry['accumulator']} dot {lanes}" + (f" {key}" if key != "ratio" else "")
                    found.append(Row(label, unit, reference, float(entry[key]), anchored=lanes == 1))
    return found


def prior() -> np.ndarray:
    """um2 per count from the cells alone."""
    cells = table("mac_synthesis.yaml", "cells_asap7")
    return np.array([sum(cells[name].value for name in CELLS[term]) for term in TERMS])


def fit(data: Sequence[Row], anchor_um2: float) -> np.ndarray:
    """Coefficients in um2 per count, float64 [terms], all >= 0."""
    cells = prior() * anchor_um2 / float(data[0].reference @ prior())
    coefficients = cells
    for _ in range(ROUNDS):
        lines, targets = [], []
        for row in data:
            if row.anchored:
                lines.append(row.counts / (row.ratio * anchor_um2))
                targets.append(1.0)
            else:
                scale = row.ratio * float(row.reference @ coefficients)
                lines.append((row.counts - row.ratio * row.reference) / scale)
                targets.append(0.0)
        lines += list(np.diag(PRIOR_WEIGHT / cells))
        targets += [PRIOR_WEIGHT] * len(cells)
        coefficients = nnls(np.array(lines), np.array(targets))[0]
    return coefficients


def error(row: Row, coefficients: np.ndarray, anchor_um2: float) -> float:
    """Relative error of the modelled ratio (of the modelled area for an anchored row)."""
    reference = anchor_um2 if row.anchored else float(row.reference @ coefficients)
    return float(row.counts @ coefficients) / reference / row.ratio - 1


def leave_one_out(data: Sequence[Row], anchor_um2: float) -> list[float]:
    """Error of each row under the fit to the others; both libraries' rows of one unit leave together."""
    errors = []
    for row in data:
        others = [r for r in data if not (np.array_equal(r.counts, row.counts) and r.anchored == row.anchored)]
        errors.append(error(row, fit(others, anchor_um2), anchor_um2))
    return errors


def activity(coefficients: np.ndarray) -> dict[str, float]:
    """fJ per um2 and operation of integer and of floating-point terms, from two published energies."""
    published = table("mac_synthesis.yaml", "energy_7nm")
    busy = np.isin(TERMS, FLOAT_TERMS)
    lines, targets = [], []
    for pair, accumulator, key in ENERGY_ROWS:
        area = counts(pair, accumulator, 1) * coefficients
        lines.append([area[~busy].sum(), area[busy].sum()])
        targets.append(published[key].value * 1e3)
    quiet, loud = nnls(np.array(lines), np.array(targets))[0]
    return {"integer": float(quiet), "float": float(loud)}


def model() -> dict[str, object]:
    """The whole of data/mac_model.yaml."""
    data = rows()
    anchor = table_anchor()
    coefficients = fit(data, anchor)
    inside = [error(row, coefficients, anchor) for row in data]
    outside = leave_one_out(data, anchor)
    source = "codesign.hardware.fit on data/mac_synthesis.yaml"
    area = {
        term: {"value": round(float(value), 5), "unit": "um2 per count at 7 nm", "source": source, "quality": "fitted"}
        for term, value in zip(TERMS, coefficients, strict=True)
    }
    per_area = "fJ per um2 and operation at 7 nm"
    energy = {
        name: {"value": round(value, 4), "unit": per_area, "source": source, "quality": "fitted"}
        for name, value in activity(coefficients).items()
    }
    report = {
        row.label: {"measured": row.ratio, "in_sample": round(i, 4), "left_out": round(o, 4)}
        for row, i, o in zip(data, inside, outside, strict=True)
    }
    return {"area_um2": area, "energy_fj_per_um2": energy, "errors": _summary(inside, outside), "rows": report}


def table_anchor() -> float:
    """um2 of the INT8 MAC that single-MAC ratios refer to (ASAP7)."""
    return float(read_data("mac_synthesis.yaml")["anchors"]["asap7"]["int8_mac_area"]["value"])


def _summary(inside: Sequence[float], outside: Sequence[float]) -> dict[str, dict[str, float]]:
    def stats(errors: Sequence[float]) -> dict[str, float]:
        sizes = np.abs(errors)
        values = {"mean": sizes.mean(), "p90": np.quantile(sizes, 0.9), "worst": sizes.max()}
        return {name: round(float(value), 4) for name, value in values.items()}

    return {"in_sample": stats(inside), "left_out": stats(outside)}


def main() -> None:
    """Fit, print the errors, write the model."""
    fitted = model()
    head = "# Written by `python -m codesign.hardware.fit`; do not edit. errors: relative, of area.\n"
    (DATA / "mac_model.yaml").write_text(head + yaml.safe_dump(fitted, sort_keys=False, width=140), encoding="utf-8")
    print(yaml.safe_dump({key: fitted[key] for key in ("errors", "rows")}, sort_keys=False, width=140))


if __name__ == "__main__":
    main()
