"""Pipelining of a datapath: registers after named steps, and control signals delayed with the data."""

from __future__ import annotations

from collections.abc import Collection

from codesign.hardware.rtl.emit.verilog import Module, Net

# Steps of a datapath in order; a cut registers all nets that are live after the step.
STEPS = ("multiply", "align", "reduce", "sum", "scale", "group", "normalise", "fp_align", "fp_add")
# Steps in the feedback loop of a floating-point accumulator: cuts here interleave independent sums.
LOOP = ("fp_align", "fp_add")


class Pipeline:
    """Called after each step: ``pipe("multiply", a, b)`` returns a and b, registered if that step is cut."""

    def __init__(self, module: Module, cuts: Collection[str], controls: dict[str, Net]) -> None:
        self.module = module
        self.cuts = frozenset(cuts)
        self.controls = controls
        self.latency = 0
        self.boundaries: dict[str, tuple[str, ...]] = {}  # step -> names of its output nets

    def __call__(self, step: str, *nets: Net) -> tuple[Net, ...]:
        self.boundaries[step] = self.boundaries.get(step, ()) + tuple(net.name for net in nets)
        if step not in self.cuts:
            return nets
        self.latency += 1
        if step not in LOOP:
            self.controls = {name: self.module.register(net, name) for name, net in self.controls.items()}
        return tuple(self.module.register(net) for net in nets)


def interleave(cuts: Collection[str]) -> int:
    """Number of independent sums that a unit with these cuts interleaves."""
    return 1 + sum(step in cuts for step in LOOP)
