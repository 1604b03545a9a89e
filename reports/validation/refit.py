"""The model of a shipped cell library, fitted anew to its measured units, without library or synthesis.

    python reports/validation/refit.py NAME...

Reads codesign/hardware/data/mac_units_NAME.json and writes mac_model_NAME.yaml beside it, with the provenance that it
had (or, for units that have no model yet, that of the model named after a colon, as `codesign calibrate` wrote it:
NAME:mylib/mac_model.yaml).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from codesign.commands.calibrate import model_text
from codesign.files import write_atomic
from codesign.formats import FormatPair
from codesign.hardware.calibration.calibrate import Calibration
from codesign.hardware.calibration.fit.area_delay import Sample
from codesign.hardware.calibration.liberty.library import Library
from codesign.hardware.calibration.synthesis.energy import Switched
from codesign.hardware.calibration.synthesis.yosys import Tool
from codesign.hardware.rtl import Unit
from codesign.hardware.units.coefficients import DATA


def main(names: list[str]) -> None:
    for name in names:
        library, _, given = name.partition(":")
        written = DATA / f"mac_model_{library}.yaml"
        before = yaml.safe_load((Path(given) if given else written).read_text(encoding="utf-8"))["provenance"]
        rows = json.loads((DATA / f"mac_units_{library}.json").read_text(encoding="utf-8"))
        model = calibration(rows, before).model()
        write_atomic(written, model_text({**model, "provenance": before}))
        print(library, json.dumps(model["errors"]), flush=True)


def calibration(rows: list[dict[str, Any]], before: dict[str, Any]) -> Calibration:
    """The measurements of units.json; of the library, only what the provenance says of it."""
    samples, switched = [], []
    for row in rows:
        pairs, cuts = tuple(map(FormatPair.parse, row["pairs"])), frozenset(row["cuts"])
        unit = Unit(pairs, row["accumulator"], row["lanes"], cuts, tuple(row["rates"]))
        measured = row["parts"], row["area_um2"], row["delay_ps"]
        samples.append(Sample(row["family"], unit, row["clock_ps"], *measured))
        switched += [Switched.stored(row["family"], unit, row["clock_ps"], each) for each in row["energy"]]
    library = Library(
        name=before["library"],
        sha256=before["sha256"],
        voltage_v=before["voltage_v"],
        cells={},
        paths=(),
        time_ps=1.0,
        load_ff=1.0,
        assumed=tuple(before["assumed"]),
    )
    tool = Tool("yosys", (), before["tool"])
    clocks = tuple(before["clocks_ps"])
    return Calibration(library, tool, before["script"], clocks, tuple(samples), tuple(switched), (), 0.0)


if __name__ == "__main__":
    main(sys.argv[1:])
