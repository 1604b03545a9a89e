"""What is kept of the traffic of one operator, so that equal memories are not tiled for again."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from codesign.hardware.arithmetic.operands import Stored
from codesign.hardware.schedule.footprint import Footprint
from codesign.hardware.schedule.traffic import Memory, kinds_of, traffic
from tests.hardware.cases import linear

NETWORK = Footprint(weights=1 << 20, cache=0, live=0, reserved_bytes=0.0)
RUNS = (512, 512, 512)


def memory(kib: float) -> Memory:
    return Memory(kib * 1024, Stored(4, 0, 0), Stored(8, 0, 0), ratio=1.0, dram_bytes=np.inf)


def test_equal_memories_are_tiled_for_once() -> None:
    first, again = (kinds_of((memory(64), memory(256)), NETWORK, RUNS) for _ in range(2))
    assert first is again
    assert first is not kinds_of((memory(256), memory(64)), NETWORK, RUNS)
    op = linear("up", 512, 512, 512)
    assert traffic(op, 1, first) is traffic(op, 1, again)


def test_the_order_of_memories_is_the_order_of_their_traffic() -> None:
    op = linear("up", 512, 512, 512)
    one, other = (
        traffic(op, 1, kinds_of(tuple(map(memory, sizes)), NETWORK, RUNS)) for sizes in ((64, 256), (256, 64))
    )
    assert one.dram.tolist() == other.dram[::-1].tolist()
    assert one.dram[0] > one.dram[1]


def test_what_is_kept_cannot_be_changed() -> None:
    kinds = kinds_of((memory(64),), NETWORK, RUNS)
    found = traffic(linear("up", 64, 64, 64), 1, kinds)
    for kept in (*(getattr(kinds, field.name) for field in fields(kinds)), found.dram, found.flash):
        with pytest.raises(ValueError, match="read-only"):
            kept[0] = 1.0
