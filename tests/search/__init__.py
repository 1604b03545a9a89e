"""What tests of the search share: a small space, and a strategy that can be looked at afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from codesign.search import Problem, Strategy

SPACE = """
name: tiny
tasks:
  tiny: {task: "python:tests.tiny:task"}
pairs: [int8, "int4:int8", fp8_e4m3, mxfp4]
hardware:
  units:
    sets: [[int8], [fp8_e4m3], [mxfp4]]
    subsets_of: [[int8, "int4:int8", mxfp4]]
  rows: [2, 4]
  columns: [2, 4]
  sram_kib: [4, 16]
objectives: [tiny.quality, area_mm2, tiny.latency_s]
search: {evaluations: 14, batch: 4, front_size: 12}
"""
S = TypeVar("S", bound=Strategy)


class Kept(Generic[S]):
    """Makes a strategy, and keeps it."""

    def __init__(self, make: Callable[[Problem], S]) -> None:
        self._make = make
        self.strategy: S

    def __call__(self, problem: Problem) -> S:
        self.strategy = self._make(problem)
        return self.strategy
