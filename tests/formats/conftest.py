"""Every test of the formats runs twice: on the compiled loops and on the torch operations that are their reference."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from codesign.formats import compiled


@pytest.fixture(params=["compiled", "torch"], autouse=True)
def kernels(request: pytest.FixtureRequest) -> Iterator[str]:
    """The kernels of the test."""
    with compiled.switched_off() if request.param == "torch" else contextlib.nullcontext():
        yield request.param
