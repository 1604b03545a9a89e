"""report.html in a real browser, led by keys, pointer and screens of other sizes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codesign.designs import Study
from codesign.report import load_study, write_report
from tests.report.browser import CHROMIUM, Browser
from tests.report.synthetic import DESIGNS, LAYERS, write_study, write_trials

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (apt-get install chromium)")

HOSTILE = "</script><b>hostile</b>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_study(tmp_path_factory.mktemp("study"), layer=HOSTILE)
    write_trials(folder)
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def study(folder: Path) -> Study:
    return load_study(folder)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        browser.open(folder / "report.html")
        yield browser


AS_AT_FIRST = """
    Object.assign(state, {pins: [T.chosen], brushed: null, focused: null, layersFrom: 0, layersTo: 100});
    document.activeElement.blur();
    startingAxes();
    for (const axis of ['x', 'y', 'colour']) $(`axis-${axis}`).value = state.axes[axis];
    $('no-filters').click();
    $('layers-task').value = 'restore';
    $('layers-task').dispatchEvent(new Event('change'));
    watchers.forEach(each => each());
"""


@pytest.fixture
def page(opened: Browser) -> Iterator[Browser]:
    """The page as it opens; whatever a test does to it, it logs nothing."""
    opened.size(1280, 900)
    opened.value(AS_AT_FIRST)
    yield opened
    assert opened.said == []


def choose(page: Browser, select: str, value: str) -> None:
    page.value(f"$('{select}').value = {json.dumps(value)}; $('{select}').dispatchEvent(new Event('change'))")


def series(page: Browser, name: str) -> list[dict[str, Any]]:
    """The marks of the front that belong to a series, or to all that are designs."""
    found: list[dict[str, Any]] = page.value(
        "charts.get('front-plot').chart.getOption().series.filter(s => "
        + (
            "s.type === 'scatter' && !s.silent && s.name !== 'uniform formats'"
            if name == ""
            else f"s.name === '{name}'"
        )
        + ").flatMap(s => s.data.map(p => ({id: p.id, at: p.value ?? p})))"
    )
    return found


def place(page: Browser, design: str) -> tuple[float, float]:
    """Where the mark of a design is in the window, once it is scrolled to."""
    page.value("$('front-plot').scrollIntoView({block: 'center'})")
    x, y = page.value(
        f"(() => {{ const d = BY_ID.get('{design}'), b = $('front-plot').getBoundingClientRect(),"
        " p = charts.get('front-plot').chart.convertToPixel('grid',"
        " ['x', 'y'].map(a => FIELDS.get(state.axes[a]).get(d))); return [b.x + p[0], b.y + p[1]]; })()"
    )
    return x, y


@pytest.mark.slow
def test_every_design_every_uniform_format_and_every_trial_is_a_mark(page: Browser, study: Study) -> None:
    assert {mark["id"] for mark in series(page, "")} == {design.id for design in study.front}
    assert len(series(page, "uniform formats")) == len(study.record.baselines)
    assert len(series(page, "every measured candidate")) == 5000


def test_axes_are_switched_between_quantities_and_scales(page: Browser, study: Study) -> None:
    choose(page, "axis-x", "restore.latency_s")
    choose(page, "axis-y", "area_mm2")
    assert {mark["id"]: mark["at"] for mark in series(page, "")} == {
        d.id: [d.objectives["restore.latency_s"], d.objectives["area_mm2"]] for d in study.front
    }
    page.value("$('log-x').click()")
    kinds = page.value("charts.get('front-plot').chart.getOption().xAxis.map(a => a.type)")
    page.value("$('log-x').click()")
    assert kinds != page.value("charts.get('front-plot').chart.getOption().xAxis.map(a => a.type)")


def test_the_line_joins_what_is_best_in_the_two_axes(page: Browser, study: Study) -> None:
    choose(page, "axis-x", "area_mm2")
    choose(page, "axis-y", "restore.latency_s")
    points = [(d.objectives["area_mm2"], d.objectives["restore.latency_s"]) for d in study.front]
    best = [p for p in points if not any(o != p and o[0] <= p[0] and o[1] <= p[1] for o in points)]
    assert [tuple(mark["at"]) for mark in series(page, "best in these two axes")] == sorted(best)


def test_an_area_that_is_brushed_selects_its_designs(page: Browser) -> None:
    page.value("$('front-plot').scrollIntoView({block: 'center'}); $('brush').click()")
    box = page.value(
        "(() => { const b = $('front-plot').getBoundingClientRect(); return [b.x, b.y, b.width, b.height] })()"
    )
    page.drag((box[0] + 0.3 * box[2], box[1] + 0.2 * box[3]), (box[0] + 0.7 * box[2], box[1] + 0.8 * box[3]))
    page.until("state.brushed !== null")
    chosen = page.value("[...state.brushed]")
    assert 0 < len(chosen) < DESIGNS
    assert page.value("document.querySelectorAll('#all tbody tr').length") == len(chosen)
    page.value("$('clear').click()")
    assert page.value("document.querySelectorAll('#all tbody tr').length") == DESIGNS


def test_filters_leave_designs_whose_units_have_only_the_wanted_pairs(page: Browser, study: Study) -> None:
    page.value("document.querySelector('#filter-box input[value=\"int8:int8\"]').click()")
    left = {mark["id"] for mark in series(page, "")}
    assert left == {d.id for d in study.front if "int8:int8" not in d.accelerator.pairs}
    page.value("$('no-filters').click()")
    assert len(series(page, "")) == DESIGNS


def test_a_budget_is_in_the_unit_that_is_shown(page: Browser, study: Study) -> None:
    typed = "document.querySelector('#filter-box input[data-field=\"restore.latency_s\"]')"
    page.value(f"{typed}.value = '2'; {typed}.dispatchEvent(new Event('input'))")
    assert {m["id"] for m in series(page, "")} == {
        d.id for d in study.front if d.objectives["restore.latency_s"] <= 2e-3
    }
    typed = "document.querySelector('#filter-box input[data-field=\"restore.quality\"]')"
    page.value(f"$('no-filters').click(); {typed}.value = '30'; {typed}.dispatchEvent(new Event('input'))")
    assert {m["id"] for m in series(page, "")} == {d.id for d in study.front if d.objectives["restore.quality"] <= -3}


def test_two_designs_are_compared_after_a_click(page: Browser, study: Study) -> None:
    lonely = min(study.front, key=lambda d: d.objectives["area_mm2"]).id
    page.click(*place(page, lonely))
    page.until("state.pins.length === 2")
    assert page.value("[...document.querySelectorAll('#pinned thead th')].map(h => h.textContent.slice(0, 12))") == [
        "",
        f"A: {study.record.chosen}",
        f"B: {lonely}",
    ]
    rows = page.value("[...document.querySelectorAll('#pinned tbody tr')].map(r => [...r.cells].map(c => c.className))")
    assert any("best" in row[2] for row in rows)
    assert page.value("$('layers-plot').getAttribute('aria-label')") is not None


def test_at_most_three_designs_are_pinned(page: Browser) -> None:
    page.value("for (const d of F.designs.slice(0, 5)) if (!state.pins.includes(d.id)) pin(d.id)")
    assert page.value("state.pins.length") == 3


def test_the_front_is_walked_by_keys_alone(page: Browser) -> None:
    page.value("document.querySelector('.skip').focus()")
    for _ in range(60):
        page.press("Tab")
        if page.value("document.activeElement.id") == "front-plot":
            break
    assert page.value("document.activeElement.id") == "front-plot"
    page.press("ArrowRight", times=3)
    focused = page.value("state.focused")
    assert focused in page.value("$('front-said').textContent")
    if focused == page.value("T.chosen"):
        page.press("ArrowRight")
    page.press("Enter")
    assert page.value("state.pins.length") == 2
    page.press("Enter")
    assert page.value("state.pins.length") == 1


def test_every_control_is_reached_by_tab_and_has_a_name(page: Browser) -> None:
    nodes = page.ask("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "combobox", "checkbox", "slider", "spinbutton", "textbox", "link")
    controls = [n for n in nodes if n.get("role", {}).get("value") in roles and not n.get("ignored")]
    assert len(controls) > 30
    assert [n for n in controls if not n.get("name", {}).get("value")] == []
    images = [
        n for n in nodes if n.get("role", {}).get("value") in ("image", "img", "application") and not n["ignored"]
    ]
    assert all(n.get("name", {}).get("value") for n in images)


def test_on_a_screen_of_360_pixels_nothing_is_wider(page: Browser) -> None:
    page.size(360, 740, mobile=True)
    page.until("charts.get('front-plot').chart.getWidth() < 360")
    assert page.value("document.documentElement.scrollWidth") == 360
    beside = "!e.closest('.wide, .frame') && e.getBoundingClientRect().right > 361"  # these two scroll on their own
    assert page.value(f"[...document.querySelectorAll('main *')].filter(e => {beside}).map(e => e.outerHTML)") == []


def test_the_network_is_drawn_layer_by_layer(page: Browser) -> None:
    for task, layers in LAYERS.items():
        choose(page, "layers-task", task)
        names = page.value("charts.get('layers-plot').chart.getOption().xAxis.map(a => a.data)")
        assert len(names[0]) == len(layers)
        assert all(each == names[0] for each in names)
        pins = page.value("state.pins.length")
        filled = page.value(
            "charts.get('layers-plot').chart.getOption().series.filter(s => s.stack?.startsWith('formats'))"
            ".flatMap(s => s.data).filter(v => v === 1).length"
        )
        assert filled == 2 * pins * len(layers)


def test_a_layer_says_how_its_weight_is_rounded_and_what_that_loses(page: Browser) -> None:
    page.value("state.pins = F.designs.slice(0, 3).map(d => d.id)")
    lines = page.value("Object.keys(T.tasks).flatMap(t => T.tasks[t].layers.flatMap(l => layerLines(t, l.name)))")
    rounded = [line for line in lines if "(weight by gptq)" in line]
    assert rounded
    assert all("mxfp4 : mxfp8_e4m3" in line and "predicted loss" in line for line in rounded)


def test_layers_are_zoomed_by_buttons(page: Browser) -> None:
    page.value("document.querySelector('#layers-controls button[aria-label=\"zoom in\"]').click()")
    zoom = page.value("charts.get('layers-plot').chart.getOption().dataZoom[0]")
    assert (zoom["start"], zoom["end"]) == (25, 75)
    page.value("document.querySelector('#layers-controls button[aria-label=\"later layers\"]').click()")
    assert page.value("[state.layersFrom, state.layersTo]") == [50, 100]


def test_formats_stand_at_equal_size(page: Browser, study: Study) -> None:
    page.value("$('formats-all').click()")
    bars = page.value("charts.get('formats-plot').chart.getOption().series[0].data")
    assert sorted(bars) == sorted(each.array_mm2 for each in study.record.equal_size)
    assert "FP8: compute units" in page.value("$('formats-said').textContent")


def test_pictures_stand_side_by_side_are_swiped_and_subtracted(page: Browser, study: Study) -> None:
    captions = page.value("[...document.querySelectorAll('#examples figcaption')].map(c => c.textContent)")
    assert {"input", "float network", "the truth"} <= set(captions)
    assert any(caption.startswith(str(study.record.worst)) for caption in captions)
    mode = "document.querySelectorAll('[data-pictures] select')[1]"
    page.value(f"{mode}.value = 'swipe'; {mode}.dispatchEvent(new Event('change'))")
    page.value("document.querySelector('#examples input[type=range]').focus()")
    page.press("ArrowRight", times=5)
    assert page.value("document.querySelector('.swipe img + img').style.clipPath") == "inset(0px 0px 0px 55%)"
    page.value(f"{mode}.value = 'difference'; {mode}.dispatchEvent(new Event('change'))")
    page.until("document.querySelector('#examples [role=status]').textContent.includes('PSNR')")
    assert page.value("document.querySelector('#examples canvas').width") == 8


def test_words_that_changed_are_marked(page: Browser, study: Study) -> None:
    marked = "[...document.querySelectorAll('#examples .given {}')].map(e => e.textContent)"
    assert f"{study.record.worst}?" in page.value(marked.format("ins"))
    assert "float?" in page.value(marked.format("del"))


def test_the_data_of_a_figure_is_downloaded(page: Browser, study: Study) -> None:
    page.value("save = (name, text) => (window.saved = [name, text])")
    page.value("document.querySelector('#front-more button').click()")
    name, text = page.value("saved")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert name == "front.csv"
    assert [row["id"] for row in rows if row["kind"] == "design"] == [d.id for d in study.front]
    page.value("document.querySelectorAll('#growth-more button')[1].click()")
    assert [point["evaluations"] for point in json.loads(page.value("saved")[1])] == [10, 20, 30, 40, 50]


def test_a_figure_is_a_table_too(page: Browser) -> None:
    page.value("document.querySelector('#layers-more details').open = true")
    page.until("document.querySelector('#layers-more table') !== null")
    for task, layers in LAYERS.items():
        choose(page, "layers-task", task)
        assert page.value("document.querySelectorAll('#layers-more tbody tr').length") == len(layers)


def test_patterns_tell_bars_apart_without_colour(page: Browser) -> None:
    page.value("$('patterns').click()")
    assert page.value("charts.get('costs-plot').chart.getOption().aria.decal.show") is True
    page.value("$('patterns').click()")


@pytest.mark.slow
def test_a_hostile_name_becomes_no_element(page: Browser) -> None:
    assert page.value("[...document.querySelectorAll('b')].some(b => b.textContent === 'hostile')") is False
    page.value("document.querySelector('#layers-more details').open = true")
    page.until("document.querySelector('#layers-more table') !== null")
    assert HOSTILE in page.value("document.querySelector('#layers-more table').textContent")
