"""The index over all nights of a study, and the page of a diff."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from codesign.cli import main
from codesign.designs import load_study
from codesign.errors import InputError
from codesign.report.diff import compare
from codesign.report.diff_page import diff_page
from codesign.report.nights import nights_of, write_nights
from tests.report.browser import CHROMIUM, Browser
from tests.report.synthetic import write_study


def night(folder: Path, day: int, **changed: Any) -> Path:
    """A study of one night, whose front is inside its reference point; `changed`: keys of front.json."""
    write_study(folder)
    front = json.loads((folder / "front.json").read_text())
    front |= {"created": f"2026-01-{day:02d}T03:04:05+00:00", "reference_point": [0.0, 40.0, 6.0, 0.1]} | changed
    (folder / "front.json").write_text(json.dumps(front))
    return folder


def cheaper(folder: Path, factor: float = 0.5) -> None:
    """All chips of a study become smaller."""
    front = json.loads((folder / "front.json").read_text())
    for design in front["designs"]:
        design["objectives"]["area_mm2"] *= factor
    (folder / "front.json").write_text(json.dumps(front))


@pytest.fixture
def nights(tmp_path: Path) -> Path:
    """Three nights: the second as the first, the third with smaller chips."""
    for day in (1, 2, 3):
        night(tmp_path / f"n{day}", day)
    cheaper(tmp_path / "n3")
    return tmp_path


def embedded(page: Path) -> list[dict[str, Any]]:
    data = re.search(r'type="application/gzip\+base64">([^<]*)<', page.read_text())
    assert data is not None
    found: list[dict[str, Any]] = json.loads(gzip.decompress(base64.b64decode(data[1])))["nights"]
    return found


def test_nights_stand_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    later, first = night(tmp_path / "a", 5), night(tmp_path / "b", 4)
    assert nights_of(tmp_path) == [first, later]


def test_earlier_fronts_of_a_study_are_its_nights(tmp_path: Path) -> None:
    study = night(tmp_path / "study", 9)
    before = [night(study / "earlier" / f"2026-01-0{day}T030405Z", day) for day in (2, 3)]
    assert nights_of(study) == [*before, study]


def test_the_trend_has_intervals_and_says_what_moved(nights: Path) -> None:
    first, second, third = embedded(write_nights(nights))
    assert first["low"] < first["hypervolume"] < first["high"]
    assert [each["verdict"] for each in (first, second, third)] == ["", "no change beyond noise", "better"]
    assert first["hypervolume"] == second["hypervolume"] < third["hypervolume"]
    assert third["change"][1] > 0


def test_designs_gained_and_lost_are_named(nights: Path) -> None:
    front = json.loads((nights / "n3" / "front.json").read_text())
    front["designs"][0]["id"] = "d0000ffff"
    (nights / "n3" / "front.json").write_text(json.dumps(front))
    third = embedded(write_nights(nights))[2]
    assert (third["gained"], third["lost"]) == (["d0000ffff"], ["d00000000"])


def test_every_step_links_its_diff(nights: Path) -> None:
    found = embedded(write_nights(nights))
    assert [bool(each["diff"]) for each in found] == [False, True, True]
    for each in found[1:]:
        assert "Change" in (nights / each["diff"]).read_text()


def test_a_night_of_other_data_is_listed_and_left_out_of_the_trend(nights: Path) -> None:
    front = json.loads((nights / "n1" / "front.json").read_text())
    front["objectives"] = front["objectives"][:3]
    front["reference_point"] = front["reference_point"][:3]
    for each in front["designs"]:
        del each["objectives"]["restore.latency_s"]
    (nights / "n1" / "front.json").write_text(json.dumps(front))
    details = json.loads((nights / "n1" / "details.json").read_text())
    for each in details["baselines"]:
        del each["objectives"]["restore.latency_s"]
    (nights / "n1" / "details.json").write_text(json.dumps(details))
    first, second, _ = embedded(write_nights(nights))
    assert first["hypervolume"] is None
    assert "objectives" in first["why_not"]
    assert second["verdict"] == "not comparable"
    assert second["hypervolume"] is not None


def test_the_command_says_where_the_index_is(nights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--nights", str(nights), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"nights": str(nights / "nights.html")}


def test_a_folder_without_studies_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no study here"):
        write_nights(tmp_path)


def test_a_diff_is_written_as_a_page(nights: Path, tmp_path: Path) -> None:
    page = tmp_path / "diff.html"
    assert main(["diff", str(nights / "n2"), str(nights / "n3"), "--html", str(page), "--json"]) == 0
    text = page.read_text()
    assert "<h1>n3: better</h1>" in text
    assert load_study(nights / "n3").record.chosen in text
    assert re.search(r"https?://", text) is None


def test_names_become_no_elements_of_a_diff(tmp_path: Path) -> None:
    folders = [tmp_path / "<b>one", tmp_path / "<b>two"]
    found = compare(*(night(folder, day) for day, folder in enumerate(folders, 1)))
    assert "<b>" not in diff_page(found)
    assert "&lt;b&gt;two" in diff_page(found)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (apt-get install chromium)")
def test_the_index_is_drawn_without_a_word_in_the_console(nights: Path, tmp_path: Path) -> None:
    with Browser(tmp_path / "profile") as browser:
        browser.open(write_nights(nights))
        assert browser.value("charts.get('trend-plot').chart.getOption().series[0].data.length") == 3
        assert browser.value("[...document.querySelectorAll('#each tbody tr')].length") == 3
        assert browser.value("[...document.querySelectorAll('#each a')].map(a => a.textContent)") == ["diff", "diff"]
        browser.size(360, 740, mobile=True)
        browser.until("charts.get('trend-plot').chart.getWidth() < 360")
        assert browser.value("document.documentElement.scrollWidth") == 360
        assert browser.said == []
