"""A model team's journey: which format may each layer of a network take, and what is lost?

    python -m examples.model_team --out study            # about a minute
    python -m examples.model_team --out study --evaluations 12 --most 0.01

It searches search_spaces/digits.yaml (the network of examples/digits.py; put your own there), says what one format in
all layers loses, takes the smallest design within a budget of quality, and exports its formats.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import codesign
from codesign.designs import Design, Study
from codesign.export import export_design

SPACE = Path(__file__).parents[1] / "search_spaces" / "digits.yaml"
TASK = "digits"


def loss(design: Design) -> float:
    """KL divergence to the float network, nats per image."""
    return design.quality[TASK].value


def line(name: str, design: Design) -> str:
    """A design in a line: loss with its interval, area, time."""
    quality = design.quality[TASK]
    interval = f"({quality.low:.2g} to {quality.high:.2g})"
    values = design.objectives
    return (
        f"{name:<28} {loss(design):8.2g} nats {interval:<20} {values['area_mm2']:.4f} mm2 "
        f"{1e6 * values[f'{TASK}.latency_s']:8.2f} us"
    )


def smallest(study: Study, most: float) -> Design | None:
    """The design of least area that loses at most so many nats per image."""
    good = [design for design in study.front if loss(design) <= most]
    return min(good, key=lambda design: design.objectives["area_mm2"], default=None)


def main(argv: list[str] | None = None) -> Design | None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("reports/studies/model_team"), help="folder of the study")
    parser.add_argument("--evaluations", type=int, help="candidates to measure (default: the space file's)")
    parser.add_argument("--most", type=float, default=0.01, help="nats per image that may be lost (default 0.01)")
    arguments = parser.parse_args(argv)

    study = codesign.search(SPACE, arguments.out, evaluations=arguments.evaluations)
    print("one format in all layers")
    for baseline in study.record.baselines:
        print(line(baseline.label.removeprefix("uniform "), baseline))
    chosen = smallest(study, arguments.most)
    if chosen is None:
        print(f"no design within {arguments.most:g} nats")
        return None
    print(f"smallest within {arguments.most:g} nats")
    print(line(chosen.id, chosen))
    for layer, formats in chosen.assignments[TASK].layers:
        print(f"  {layer:<12} {formats.choice}")
    written = export_design(arguments.out, chosen.id, "assignment", arguments.out / "exported")
    print(f"exported: {written['tasks'][TASK]['path']}")
    return chosen


if __name__ == "__main__":
    main()
