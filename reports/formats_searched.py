"""Is there a format of 4 bits that is better than MXFP4, NVFP4 and int4_g32 for the bundled networks?

    python reports/formats_searched.py -o DIR [--networks rewrite restore] [--evaluate N] [--liberty FILE...]

writes reports/formats_searched.json and .md. All formats of the grammar with 4 to 4.5 stored bits, scales included, in
blocks of 16 and 32, are tried on sampled layers of both networks (`codesign.search.space.grammar`). The best N in error
and area and the three known ones, each for weights and activations of every layer, are measured by the evaluator on
all evaluation samples of each network. Weights are rounded to the nearest, as prepared by default. Differences are
paired on the same samples, with intervals of 95 %. Areas are of units of 16 products that add into FP32, cut for 1 GHz,
by the model of 7 nm; with the files of ASAP7, those of the answer are synthesised and simulated, too.

DIR keeps the measured qualities and units, so that a second call goes on; it measures again what depends on changed
code, weights or data.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from codesign.formats import Assignment, FormatPair, LayerFormats, get_format
from codesign.hardware import MacUnit
from codesign.hardware.calibration.confirm import confirm
from codesign.models import BUNDLED, Task, load_task
from codesign.quality import Evaluator, Quality
from codesign.quality.screen import LayerErrors
from codesign.report.markdown import table
from codesign.search.space.grammar import Screened, candidates, error_db, screen
from codesign.search.space.written import GrammarSpec

HERE = Path(__file__).parent
KNOWN = ("mxfp4", "nvfp4", "int4_g32")
DOT = 16
AREA_ROWS = json.loads((HERE / "validation" / "grammar.json").read_text())["area_asap7"]
AREA_ERROR = max(abs(row["model_um2"] / row["area_um2"] - 1) for row in AREA_ROWS)  # of formats outside its grid
MEANING = (
    "Better is less loss (the whole interval of 95 % below 0, on every network) on a unit no larger, or no more loss "
    f"(no interval above 0) on a smaller one. Units within {AREA_ERROR:.1%} count as equal, as the area model errs by "
    "so much on formats that it was not fitted to (reports/validation/grammar.md)."
)
SHOWN = 40


@dataclass(frozen=True)
class Measured:
    """The qualities of one network, by format."""

    network: str
    fingerprint: str  # of its weights and data
    of: dict[str, Quality]

    def difference(self, one: str, other: str) -> tuple[float, float, float]:
        """(difference, low, high) of the losses in two formats, paired on their common resamples; 95 %."""
        half = 1.959964 * float(np.subtract(self.of[one].draws, self.of[other].draws).std(ddof=1))
        value = self.of[one].value - self.of[other].value
        return value, value - half, value + half

    def said(self, one: str, other: str) -> str:
        value, low, high = self.difference(one, other)
        return f"{value:+.3g} [{low:+.3g}, {high:+.3g}]"


def measured(task: Task, names: Sequence[str], folder: Path) -> Measured:
    evaluator = Evaluator(task, cache=folder)
    found = {}
    for name in names:
        pair = FormatPair(name, name)
        layers = {n: LayerFormats.of_pair(pair, attention=k == "attention") for n, k in evaluator.layers.items()}
        quality = found[name] = evaluator(Assignment.of(layers))
        print(f"{task.name} {name}: {quality.metric} {quality.value:.4g}", flush=True)
    return Measured(task.name, task.fingerprint()[:12], found)


def unit_of(name: str) -> MacUnit:
    return MacUnit((FormatPair(name, name),), dot=DOT)


def area(name: str) -> float:
    return unit_of(name).area_um2.value / DOT


def better_than_all(tried: Sequence[str], networks: Sequence[Measured], areas: dict[str, float]) -> list[str]:
    return [name for name in tried if all(better(name, known, networks, areas) for known in KNOWN)]


def synthesised(names: Sequence[str], liberty: Sequence[Path], folder: Path) -> list[list[str]]:
    """Format, area and energy of a product: modelled and measured with the library of the model."""
    rows = []
    for name, found in zip(names, confirm([unit_of(name) for name in names], liberty, folder, parallel=1), strict=True):
        [energy] = found.energy_pj.values()
        figures = [found.area_um2.modelled, found.area_um2.measured, energy.modelled, energy.measured]
        scaled = [(figures[0], DOT), (figures[1], DOT), (figures[2], 1), (figures[3], 1)]
        rows.append([short(name), *("" if value is None else f"{value / by:.3g}" for value, by in scaled)])
    return rows


def better(name: str, known: str, networks: Sequence[Measured], areas: dict[str, float]) -> str:
    """Why a format is better than a known one: 'loss', 'area', or '' if it is not. See `MEANING`."""
    intervals = [each.difference(name, known) for each in networks]
    ratio = areas[name] / areas[known]
    if all(high < 0 for _, _, high in intervals) and ratio <= 1 + AREA_ERROR:
        return "loss"
    if all(low <= 0 for _, low, _ in intervals) and ratio < 1 - AREA_ERROR:
        return "area"
    return ""


def answer(tried: list[str], networks: Sequence[Measured], areas: dict[str, float]) -> list[str]:
    """In words: which formats are better than all the known ones, and which than each."""
    where = " and ".join(each.network for each in networks)
    all_three = better_than_all(tried, networks, areas)
    if all_three:
        named = ", ".join(f"`{short(name)}`" for name in all_three)
        lines = [f"**Yes**, on {where}: better than each of the three is {named}."]
    else:
        lines = [f"**No**, on {where}: none of {len(tried)} formats is better than each of the three."]
    points = []
    for known in KNOWN:
        by = {name: better(name, known, networks, areas) for name in tried}
        less = [name for name in tried if all(each.difference(name, known)[2] < 0 for each in networks)]
        larger = min((name for name in less if not by[name]), key=areas.__getitem__, default=None)
        for kind, words in (("loss", "less loss on a unit no larger"), ("area", "no more loss on a smaller unit")):
            found = [told(name, known, networks, areas) for name in tried if by[name] == kind]
            points.append(f"- `{known}`, {words}: {'; '.join(found) or 'none'}.")
        if larger is not None:
            what = told(larger, known, networks, areas)
            points.append(f"- `{known}`, less loss on a larger unit: the smallest is {what}.")
    return [*lines, MEANING, "\n".join(points)]


def told(name: str, known: str, networks: Sequence[Measured], areas: dict[str, float]) -> str:
    losses = ", ".join(f"{each.network} {each.said(name, known)}" for each in networks)
    bits = f"{get_format(name).bits_per_element:.4g} bits against {get_format(known).bits_per_element:.4g}"
    return f"`{short(name)}` (loss: {losses}; {areas[name] / areas[known]:.2f} of the area; {bits})"


def short(name: str) -> str:
    """A name without the middle numbers of a codebook."""
    return re.sub(r"(lut\d_n\d+)_.*_(\d+)(?=_g)", r"\1..\2", name)


def report(
    tried: tuple[Screened, ...],
    known: dict[str, float],
    networks: Sequence[Measured],
    areas: dict[str, float],
    units: list[list[str]],
) -> None:
    names = list(networks[0].of)
    errors = {each.name: each.error_db for each in tried} | known
    about = (__doc__ or "").split("\n\n")[2].strip()
    prints = ", ".join(f"{each.network} {each.fingerprint}" for each in networks)
    losses = ", ".join(
        f"{each.network}: {q.metric} ({q.unit}) of {q.n} samples" for each in networks for q in [each.of[names[0]]]
    )
    unsaid = [name for name in names if name not in KNOWN]
    lines = [
        "# Is there a better format of 4 bits?",
        *answer(unsaid, networks, areas),
        f"Loss is {losses}, smaller is better; {len(unsaid)} formats were measured, so that one or the other "
        "difference may be below 0 by chance. `fp4_e1m2` is a sign and 0 to 7 in equal steps, INT4 without -8; "
        "`lutB_nV..W` is a codebook of the quantiles of a normal number as integers up to W.",
        f"How: `python reports/formats_searched.py` {about}",
        f"Fingerprints of networks and data: {prints}.",
    ]
    if units:
        columns = ["format", "um2 a product, modelled", "synthesised", "pJ a product, modelled", "simulated"]
        lines += ["## Units of the answer in ASAP7", table(columns, units)]
    lines.append("## Measured")
    columns = ["format", "stored bits", "error of layers (dB)", "um2 a product"]
    for each in networks:
        columns += [f"{each.network} {each.of[names[0]].metric}", *(f"less {known_name}" for known_name in KNOWN)]
    rows = []
    for name in sorted(names, key=lambda name: errors[name]):
        cells = [short(name), f"{get_format(name).bits_per_element:.4g}", f"{errors[name]:.2f}", f"{areas[name]:.1f}"]
        for each in networks:
            q = each.of[name]
            cells.append(f"{q.value:.4g} [{q.low:.4g}, {q.high:.4g}]")
            cells += ["" if name == other else each.said(name, other) for other in KNOWN]
        rows.append(cells)
    lines += [table(columns, rows), f"## Tried on layers: {len(tried)} formats, the best {SHOWN}"]
    shown = [
        [short(s.name), f"{s.bits:.4g}", f"{s.error_db:.2f}", "" if s.area_um2 is None else f"{s.area_um2:.1f}", s.why]
        for s in tried[:SHOWN]
    ]
    lines.append(table(["format", "stored bits", "error of layers (dB)", "um2 a product", "why"], shown))
    (HERE / "formats_searched.md").write_text("\n\n".join(lines) + "\n")
    record: dict[str, Any] = {
        "tried": [asdict(each) for each in tried],
        "known_error_db": known,
        "area_um2": areas,
        "units": units,
        "fingerprints": {each.network: each.fingerprint for each in networks},
        "measured": {
            each.network: {f: replace(q, draws=()).to_dict() for f, q in each.of.items()} for each in networks
        },
    }
    (HERE / "formats_searched.json").write_text(json.dumps(record, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("-o", "--out", type=Path, required=True, help="keeps the measured qualities")
    parser.add_argument("--networks", nargs="+", choices=BUNDLED, default=sorted(BUNDLED), help="to measure")
    parser.add_argument(
        "--evaluate", type=int, default=16, metavar="N", help="formats to measure besides the known ones"
    )
    parser.add_argument("--liberty", type=Path, nargs="+", default=[], metavar="FILE", help="the library of the model")
    arguments = parser.parse_args()
    grammar = GrammarSpec(keep=arguments.evaluate, dot=DOT)
    tasks = {name: load_task(name) for name in sorted(BUNDLED)}
    operands = [LayerErrors(task) for task in tasks.values()]
    known = {name: error_db(name, operands) for name in KNOWN}
    tried = screen(candidates(grammar), operands, grammar)
    kept = [each.name for each in tried if each.kept and each.name not in KNOWN]
    print(f"{len(tried)} tried; known {known}; kept {kept}", flush=True)
    networks = [measured(tasks[name], [*KNOWN, *kept], arguments.out) for name in arguments.networks]
    areas = {name: area(name) for name in (*KNOWN, *kept)}
    answered = [*KNOWN, *better_than_all(kept, networks, areas)]
    units = synthesised(answered, arguments.liberty, arguments.out / "units") if arguments.liberty else []
    report(tried, known, networks, areas, units)


if __name__ == "__main__":
    main()
