"""A picture of every panel of a study's report, for people to look at: ``make screenshots``.

``python -m tests.report.screenshots STUDY OUT`` draws the report again and writes OUT/*.png; without a study it takes
a synthetic one.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from codesign.report import write_report
from tests.report.browser import Browser
from tests.report.synthetic import write_study

_VIEWS = {"": {}, "phone": {}, "dark": {"prefers-color-scheme": "dark"}, "gray": {}}


def main(study: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    page = write_report(study)[1]
    with tempfile.TemporaryDirectory() as profile, Browser(Path(profile)) as browser:
        print(f"opened in {browser.open(page):.2f} s")
        browser.value("for (const d of [...F.designs].slice(0, 2)) if (!state.pins.includes(d.id)) pin(d.id)")
        for view in _VIEWS:
            _change(browser, view)
            for panel in browser.value(
                "[...document.querySelectorAll('main > section')].filter(s => !s.hidden).map(s => s.id)"
            ):
                name = "-".join(filter(None, [panel, view]))
                (out / f"{name}.png").write_bytes(browser.picture(f"#{panel}"))
        print("\n".join([f"{len(list(out.glob('*.png')))} pictures in {out}", *browser.said]))


def _change(browser: Browser, view: str) -> None:
    """Another screen, colours, or none."""
    browser.size(360, 740, mobile=True) if view == "phone" else browser.size(1280, 900)
    scheme = "dark" if view == "dark" else "light"
    browser.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.ask("Emulation.setEmulatedVisionDeficiency", type="achromatopsia" if view == "gray" else "none")
    browser.value(f"$('patterns').checked = {str(view == 'gray').lower()}; redraw()")


if __name__ == "__main__":
    given = [Path(text) for text in sys.argv[1:]]
    if len(given) < 2:
        given.insert(0, write_study(Path(tempfile.mkdtemp()) / "study"))
    main(given[0], given[1])
