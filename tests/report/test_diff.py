"""What moved between two studies: `codesign diff`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codesign.cli import main
from codesign.designs import load_study
from codesign.errors import InputError
from codesign.report.diff import _drawn_changes, _listed, as_markdown, compare
from codesign.report.diff_page import diff_page
from tests.report.synthetic import write_study

Edit = Callable[[dict[str, Any]], None]


def study(folder: Path, edit: Edit | None = None) -> Path:
    """The synthetic study inside the reference point, none of its designs dominated, no two with a network in the same
    formats, every design changed by `edit`.
    """
    write_study(folder)
    front = json.loads((folder / "front.json").read_text())
    front["reference_point"] = [0.0, 40.0, 6.0, 0.1]
    for i, design in enumerate(front["designs"]):
        design["objectives"] |= {"area_mm2": 5 - 0.2 * i, "restore.latency_s": 0.01 + 0.005 * i}
        for layers in design["assignments"].values():
            layers[next(iter(layers))] = {"weight": f"int{i + 2}", "activation": "int8"}
        if edit:
            edit(design)
    (folder / "front.json").write_text(json.dumps(front))
    return folder


def shifted(by: float) -> Edit:
    """`rewrite` measured higher by so many half intervals, in the same formats."""

    def edit(design: dict[str, Any]) -> None:
        quality = design["quality"]["rewrite"]
        for key in ("value", "low", "high"):
            quality[key] += by * 0.1
        design["objectives"]["rewrite.quality"] = quality["value"]

    return edit


def area(factor: float) -> Edit:
    def edit(design: dict[str, Any]) -> None:
        design["objectives"]["area_mm2"] *= factor

    return edit


def test_a_study_is_the_same_as_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = study(tmp_path / "one"), study(tmp_path / "two")
    assert main(["diff", str(one), str(two)]) == 0
    assert "shows no change beyond noise" in capsys.readouterr().out
    found = compare(one, two)
    assert (found.change, found.change_low, found.change_high, found.epsilon) == (0, 0, 0, (0, 0))
    assert [found.gained, found.lost, found.newly_dominated, found.remeasured, found.formats] == [[], [], [], [], {}]


@pytest.mark.parametrize(("factor", "verdict", "code"), [(0.9, "better", 0), (1.1, "worse", 1)])
def test_a_cost_has_no_noise(tmp_path: Path, factor: float, verdict: str, code: int) -> None:
    """The same formats take the same draw of quality, so that a change of area alone shows."""
    one, two = study(tmp_path / "one"), study(tmp_path / "two", area(factor))
    assert compare(one, two).verdict == verdict
    assert main(["diff", str(one), str(two), "--json"]) == code


def test_cheaper_designs_dominate_all_old_ones_and_cover_them_with_room(tmp_path: Path) -> None:
    found = compare(study(tmp_path / "one"), study(tmp_path / "two", area(0.9)))
    assert len(found.newly_dominated) == 12
    assert found.epsilon[0] <= 0 < found.epsilon[1]


def test_the_same_formats_measured_worse_than_their_interval_are_a_regression(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = study(tmp_path / "one"), study(tmp_path / "two", shifted(1.5))
    assert main(["diff", str(one), str(two)]) == 1
    assert "in the same formats" in capsys.readouterr().out
    assert {(r.task, r.moved) for r in compare(one, two).remeasured} == {("rewrite", "worse")}


def test_the_same_formats_measured_better_than_their_interval_are_none(tmp_path: Path) -> None:
    found = compare(study(tmp_path / "one"), study(tmp_path / "two", shifted(-1.5)))
    assert {(r.task, r.moved) for r in found.remeasured} == {("rewrite", "better")}
    assert found.verdict != "worse"


def test_other_formats_a_little_worse_are_noise_and_much_worse_are_not(tmp_path: Path) -> None:
    def other(by: float) -> Edit:
        def edit(design: dict[str, Any]) -> None:
            shifted(by)(design)
            design["assignments"]["rewrite"]["lm_head"] = {"weight": "mxint8", "activation": "mxint8"}

        return edit

    one = study(tmp_path / "one")
    little, much = compare(one, study(tmp_path / "two", other(0.2))), compare(one, study(tmp_path / "three", other(30)))
    assert (little.verdict, much.verdict) == ("same", "worse")
    assert little.change_low < little.change < 0 < little.change_high


def test_layers_of_the_balanced_designs_show_their_formats_before_and_now(tmp_path: Path) -> None:
    def edit(**method: str) -> Edit:
        def changed(design: dict[str, Any]) -> None:
            design["assignments"]["restore"]["mid.conv"] = {"weight": "nvfp4", "activation": "nvfp4"} | method

        return changed

    found = compare(study(tmp_path / "one", edit()), study(tmp_path / "two", edit(method="gptq")))
    assert list(found.formats) == ["restore"]
    assert found.formats["restore"]["mid.conv"] == ("nvfp4:nvfp4", "nvfp4:nvfp4+gptq")
    assert "| restore | mid.conv |" in as_markdown(found)


def test_the_balanced_designs_stand_beside_each_other_with_their_change(tmp_path: Path) -> None:
    one, two = study(tmp_path / "one"), study(tmp_path / "two")
    details = json.loads((two / "details.json").read_text())
    (two / "details.json").write_text(json.dumps(details | {"chosen": "d00000005"}))
    found = compare(one, two)
    assert found.balanced == ("d00000004", "d00000005")
    assert found.balanced_objectives["area_mm2"] == pytest.approx((4.2, 4.0))
    rows = [[cell.strip() for cell in line.split("|")] for line in as_markdown(found).splitlines()]
    assert [row[4] for row in rows if row[1:2] == ["area"]] == ["-4.8%"]
    assert [row[4] for row in rows if row[1:2] == ["restore: latency of one result"]] == ["+16.7%"]


def test_a_quality_is_compared_in_decibels_where_it_is_read_in_decibels(tmp_path: Path) -> None:
    one = study(tmp_path / "one")

    def edit(design: dict[str, Any]) -> None:
        quality = design["quality"]["restore"]
        for key in ("value", "low", "high"):
            quality[key] += 0.1  # of a log10
        design["objectives"]["restore.quality"] = quality["value"]

    found = compare(one, study(tmp_path / "two", edit))
    page, said = diff_page(found), as_markdown(found)
    before, now = (-10 * value for value in found.balanced_objectives["restore.quality"])
    assert f"| restore: against float | {before:.2f} dB | {now:.2f} dB | -1.00 dB |" in said
    assert f"in the same formats: {before:.2f} dB -> {now:.2f} dB" in said
    assert f"<td>{before:.2f} dB</td><td>{now:.2f} dB</td><td>-1.00 dB</td>" in page
    assert "log10" not in said + page


def test_what_was_gained_and_lost_is_named(tmp_path: Path) -> None:
    def edit(design: dict[str, Any]) -> None:
        design["id"] = design["id"].replace("d00000003", "dffffffff")

    found = compare(study(tmp_path / "one"), study(tmp_path / "two", edit))
    assert (found.gained, found.lost, len(found.kept)) == (["dffffffff"], ["d00000003"], 11)


def test_studies_of_other_objectives_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = study(tmp_path / "one"), study(tmp_path / "two")
    for name in ("front.json", "details.json"):
        (two / name).write_text((two / name).read_text().replace("restore.latency_s", "restore.energy_j"))
    with pytest.raises(InputError, match=r"two: its objectives \(.*energy_j\) are not those of .*one \(.*latency_s\)"):
        compare(one, two)
    assert main(["diff", str(one), str(two)]) == 2
    assert main(["diff", str(one), str(tmp_path / "none")]) == 2
    assert "no study here" in capsys.readouterr().err


def test_the_message_goes_to_a_file_as_well(tmp_path: Path) -> None:
    one, two, message = study(tmp_path / "one"), study(tmp_path / "two", area(0.9)), tmp_path / "message.md"
    assert main(["diff", str(one), str(two), "-o", str(message)]) == 0
    assert message.read_text() == as_markdown(compare(one, two))


@pytest.mark.parametrize(
    ("key", "before", "after"),
    [
        ("metric", "squared_error", "log_error"),
        ("unit", "", "log10 MSE"),
        ("scale", "raw", "log10"),
        ("ranges", "mse", "minmax"),
        ("data", "c0ffee", "decaf"),
    ],
)
def test_qualities_that_mean_something_else_do_not_compare(
    key: str, before: str, after: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [study(tmp_path / "one"), study(tmp_path / "two")]
    for folder, value in zip(folders, (before, after), strict=True):
        front = json.loads((folder / "front.json").read_text())
        task = {"task": "rewrite", "metric": "m", "unit": "u", "scale": "raw", "ranges": "mse", "data": "c0ffee"}
        front["tasks"] = {"rewrite": task | {key: value}}
        (folder / "front.json").write_text(json.dumps(front))
    assert main(["diff", *map(str, folders)]) == 2
    said = capsys.readouterr().err
    assert f"rewrite: its {key} ({after or 'none'}) is not that of" in said
    assert f"({before or 'none'})" in said


def test_a_squared_error_and_its_log10_do_not_compare_in_studies_from_before_scales_were_written(
    tmp_path: Path,
) -> None:
    folders = [study(tmp_path / "one"), study(tmp_path / "two")]
    details = json.loads((folders[1] / "details.json").read_text())
    details["tasks"]["restore"]["metric"] = "squared_error"
    (folders[1] / "details.json").write_text(json.dumps(details))
    with pytest.raises(InputError, match=r"restore: its metric \(squared_error\) is not that of .* \(output_error\)"):
        compare(*folders)


def test_a_study_from_before_the_rule_was_written_had_the_default(tmp_path: Path) -> None:
    folders = [study(tmp_path / "one"), study(tmp_path / "two")]
    front = json.loads((folders[1] / "front.json").read_text())
    task = {"task": "restore", "metric": "output_error", "unit": "log10 MSE", "scale": "log10", "data": "c0ffee"}
    front["tasks"] = {"restore": task | {"ranges": "minmax"}}
    (folders[1] / "front.json").write_text(json.dumps(front))
    with pytest.raises(InputError, match=r"restore: its ranges \(minmax\) is not that of .* \(mse\)"):
        compare(*folders)


def test_designs_within_noise_of_a_cheaper_one_gain_nothing(tmp_path: Path) -> None:
    """Studies of before left them out."""
    folders = [study(tmp_path / "one"), study(tmp_path / "two")]
    front = json.loads((folders[1] / "front.json").read_text())
    more = front["designs"][0] | {"id": "d00ffffff", "told_apart": False}
    more["objectives"] = {name: value - 0.01 for name, value in more["objectives"].items()}
    front["designs"].append(more)
    (folders[1] / "front.json").write_text(json.dumps(front))
    found = compare(*folders)
    assert found.verdict == "same"
    assert not found.gained


def test_the_same_qualities_under_other_units_of_objectives_still_compare(tmp_path: Path) -> None:
    """A study from before qualities had their unit among the objectives."""
    folders = [study(tmp_path / "one"), study(tmp_path / "two")]
    front = json.loads((folders[1] / "front.json").read_text())
    front["objectives"][0]["unit"] = "log10 MSE"
    (folders[1] / "front.json").write_text(json.dumps(front))
    assert compare(*folders).verdict == "same"


def test_qualities_are_drawn_with_the_width_of_their_95_percent_intervals(tmp_path: Path) -> None:
    """One design a study, and one network that is another: the volume changes as its quality does."""

    def single(folder: Path, weight: str) -> Path:
        write_study(folder)
        front = json.loads((folder / "front.json").read_text())
        (design,) = front["designs"] = front["designs"][:1]
        front["reference_point"] = [0.0, 1.0, 6.0, 0.1]
        design["objectives"] = dict(zip(design["objectives"], (-1.0, 0.0, 5.0, 0.09), strict=True))
        for quality in design["quality"].values():
            quality |= {"value": 0.0, "low": 0.0, "high": 0.0}
        design["quality"]["rewrite"] |= {"low": -0.1, "high": 0.1}
        layers = design["assignments"]["rewrite"]
        layers[next(iter(layers))] = {"weight": weight, "activation": "int8"}
        details = json.loads((folder / "details.json").read_text())
        details["chosen"] = details["worst"] = design["id"]
        (folder / "details.json").write_text(json.dumps(details))
        (folder / "front.json").write_text(json.dumps(front))
        return folder

    old, new = (load_study(single(tmp_path / weight, weight)) for weight in ("int5", "int6"))
    changes = _drawn_changes(old, new, np.array([0.0, 1.0, 6.0, 0.1])) / (1.0 * 1.0 * 0.01)
    assert float(np.std(changes)) == pytest.approx(2**0.5 * 0.1 / 1.96, rel=0.1)


def test_long_lists_are_cut_and_say_so() -> None:
    assert _listed([], "lost", 2) == "none lost"
    assert _listed(["a", "b"], "lost", 2) == "2 lost (`a`, `b`)"
    assert _listed(["a", "b", "c"], "lost", 2) == "3 lost (`a`, `b`, ...)"


def test_what_is_left_out_of_the_message_is_counted(tmp_path: Path) -> None:
    """12 remeasured networks and as many layers of the balanced designs, of which 2 are shown."""

    def edit(design: dict[str, Any]) -> None:
        shifted(0.5)(design)
        for layer in design["assignments"]["restore"]:
            design["assignments"]["restore"][layer] = {"weight": "nvfp4", "activation": "nvfp4"}

    found = compare(study(tmp_path / "one"), study(tmp_path / "two", edit))
    said = as_markdown(found, most=2)
    assert (len(found.remeasured), len(found.formats["restore"])) == (12, 4)
    assert said.count("of d0000") == 2
    assert "\n- and 10 more networks measured otherwise in the same formats\n" in said
    assert said.count("\n| restore |") == 2
    assert "\nand 2 more layers (`--json` has all)\n" in said
    assert "more networks" not in as_markdown(found)
    assert "more layers" not in as_markdown(found, most=4)
