"""The units looked at last, as Verilog: counting and timing follow one another and write it once."""

from __future__ import annotations

from functools import lru_cache

from codesign.hardware.rtl.emit.unit import Built, Unit, build


@lru_cache(maxsize=16)  # a long dot product takes megabytes
def built(unit: Unit) -> Built:
    return build(unit)
