"""What a kept result depends on."""

from __future__ import annotations

from pathlib import Path

import codesign
from codesign.models import load_task
from codesign.quality.cache import deciding_sources
from codesign.sources import digest

ROOT = Path(codesign.__file__).parent


def test_a_study_survives_a_change_of_training_scripts_and_cards() -> None:
    names = {file.relative_to(ROOT).as_posix() for file in deciding_sources(ROOT)}
    assert {"formats/kernel.py", "workload/intercept.py", "models/task.py", "quality/ranges.py"} <= names
    assert not {name for name in names if name.startswith(("search/", "report/", "hardware/", "models/restore/"))}
    folder = ROOT / "models" / "restore"
    deciding = [file for file in folder.rglob("*.py") if file.name not in ("train.py", "card.py", "card_text.py")]
    assert load_task("restore").code == digest(deciding, folder)
