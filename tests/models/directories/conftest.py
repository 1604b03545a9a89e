"""Directories that are written once, when a test first asks for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.models.directories.diffusers_tiny import PIPELINES
from tests.models.directories.networks import TEXT_FILE, write_images, write_network

pytest.importorskip("transformers", reason="directories are those of transformers (pip)")


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The directory of a kind of network; beside it are data that suit it."""
    base = tmp_path_factory.mktemp("networks")
    write_images(base / "images")
    (base / "words.txt").write_text(TEXT_FILE)
    places = dict[str, Path]()

    def place(kind: str) -> Path:
        if kind not in places:
            places[kind] = base / kind / ("text_encoder" if kind == "clip" else "network")
            write_network(places[kind], kind)
        return places[kind]

    return place


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The directory of a kind of diffusion pipeline."""
    root = tmp_path_factory.mktemp("pipelines")

    def of(kind: str) -> Path:
        return root / kind if (root / kind).exists() else PIPELINES[kind](root / kind)

    return of
