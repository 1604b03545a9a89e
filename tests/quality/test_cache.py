"""What a kept result depends on."""

from __future__ import annotations

from pathlib import Path

import codesign
from codesign.quality.cache import deciding_sources

ROOT = Path(codesign.__file__).parent


def test_a_study_survives_a_change_of_training_scripts_and_cards() -> None:
    names = {file.relative_to(ROOT).as_posix() for file in deciding_sources(ROOT)}
    assert (ROOT / "models" / "restore" / "train.py").exists()
    assert not {name for name in names if name.endswith(("train.py", "card.py", "card_text.py"))}
    assert {"formats/kernel.py", "workload/intercept.py", "models/restore/task.py", "quality/ranges.py"} <= names
    assert not {name for name in names if name.startswith(("search/", "report/", "hardware/"))}
