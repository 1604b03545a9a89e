"""Cache of the last units as Verilog, so that all analyses generate it once."""

from __future__ import annotations

from functools import lru_cache

from codesign.hardware.rtl.emit.unit import Built, Unit, build


@lru_cache(maxsize=16)  # a long dot product takes megabytes
def built(unit: Unit) -> Built:
    return build(unit)
