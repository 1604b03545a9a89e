"""Pipelining of a datapath: registers after named steps, and control signals delayed with the data."""

from __future__ import annotations

from collections.abc import Callable, Collection

from codesign.hardware.rtl.emit.verilog import Module, Net

# Steps of a datapath in order; a cut registers all nets that are live after the step.
STEPS = ("multiply", "align", "reduce", "sum", "scale", "group", "normalise", "fp_align", "fp_add")
# Steps in the feedback loop of a floating-point accumulator: cuts here interleave independent sums.
LOOP = ("fp_align", "fp_add")


Step = Callable[..., tuple[Net, ...]]  # as `Pipeline.__call__`, of one part of a datapath


class Pipeline:
    """Called after each step: ``pipe("multiply", a, b)`` returns a and b, registered if that step is cut.

    Parallel parts of a datapath call it for the same step one after the other.
    """

    def __init__(self, module: Module, cuts: Collection[str], controls: dict[str, Net]) -> None:
        self.module = module
        self.cuts = frozenset(cuts)
        self.controls = controls
        self.latency = 0
        self._passed: set[str] = set()
        self._held: dict[str, Net] = {}  # net -> its register, which parallel parts share
        self.boundaries: dict[str, tuple[str, ...]] = {}  # step -> names of its output nets

    def __call__(self, step: str, *nets: Net) -> tuple[Net, ...]:
        self.boundaries[step] = self.boundaries.get(step, ()) + tuple(net.name for net in nets)
        if step not in self.cuts:
            return nets
        if step not in self._passed:
            self._passed.add(step)
            self.latency += 1
            if step not in LOOP:
                self.controls = {name: self.module.register(net, name) for name, net in self.controls.items()}
        return tuple(self._register(net) for net in nets)

    def part(self, name: str) -> Step:
        """For the steps of one part, whose names begin with that of the part; literals pass without registers."""

        def after(step: str, *nets: Net) -> tuple[Net, ...]:
            moving = iter(self(f"{name} {step}", *(net for net in nets if not net.is_literal)))
            return tuple(net if net.is_literal else next(moving) for net in nets)

        return after

    def _register(self, net: Net) -> Net:
        if net.is_literal:
            return self.module.register(net)
        if net.name not in self._held:
            self._held[net.name] = self.module.register(net)
        return self._held[net.name]


def interleave(cuts: Collection[str]) -> int:
    """Number of independent sums that a unit with these cuts interleaves."""
    return 1 + sum(step in cuts for step in LOOP)
