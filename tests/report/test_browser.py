"""report.html in a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from codesign.report import load_study, write_report
from tests.report.synthetic import DESIGNS, LAYERS, write_study

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OFFLINE = ["background-networking", "component-update", "sync", "default-apps", "extensions", "quic"]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (apt-get install chromium)")


def browse(page: Path, profile: Path) -> tuple[str, str]:
    """The page's elements after its scripts ran, and what the browser logged; no host is reachable."""
    command = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        *(f"--disable-{feature}" for feature in OFFLINE),
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={profile}",
        "--enable-logging=stderr",
        "--virtual-time-budget=3000",
        "--dump-dom",
        page.resolve().as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    study = write_study(tmp_path_factory.mktemp("study"), layer="</script><b>hostile</b>")
    return study, *browse(write_report(study)[1], tmp_path_factory.mktemp("profile"))


def test_the_page_logs_no_error(shown: tuple[Path, str, str]) -> None:
    assert [line for line in shown[2].splitlines() if "CONSOLE" in line] == []


def test_the_scatter_draws_every_design_and_marks_the_chosen(shown: tuple[Path, str, str]) -> None:
    dots = re.findall(r'<circle [^>]*class="dot[^>]*>', shown[1])
    assert len(dots) == DESIGNS
    assert sum("picked" in dot for dot in dots) == 1


def test_the_network_is_drawn_layer_by_layer(shown: tuple[Path, str, str]) -> None:
    strips = re.findall(r'<div class="strip">(.*?)</p>', shown[1], flags=re.DOTALL)
    assert [strip.count("<div title=") for strip in strips] == [len(layers) for layers in LAYERS.values()]


def test_a_layer_says_how_its_weight_is_rounded_and_what_that_loses(shown: tuple[Path, str, str]) -> None:
    tips = re.findall(r'<div title="([^"]*by gptq[^"]*)"', shown[1])
    assert tips
    assert all("mxfp4 : mxfp8_e4m3 (weight by gptq)" in tip and "predicted loss" in tip for tip in tips)


def test_pictures_of_each_kind_stand_side_by_side(shown: tuple[Path, str, str]) -> None:
    files = load_study(shown[0])
    captions = re.findall(r"<figure><img[^>]*>([^<]*)</figure>", shown[1])
    assert captions[:2] == ["input", "float"]
    assert captions[-1] == "truth"
    assert {files.record.chosen, files.record.worst} == {c.split(" ")[0] for c in captions[2:-1]}


def test_a_hostile_name_becomes_no_element(shown: tuple[Path, str, str]) -> None:
    assert "<b>hostile</b>" not in re.sub(r'title="[^"]*"', "", shown[1])


def test_every_design_stands_in_the_table(shown: tuple[Path, str, str]) -> None:
    table = re.search(r'<div class="wide" id="designs">(.*?)</table>', shown[1], flags=re.DOTALL)
    assert table is not None
    assert all(f"<td>{d.id}</td>" in table[1] for d in load_study(shown[0]).front)
