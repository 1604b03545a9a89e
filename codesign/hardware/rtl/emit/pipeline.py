"""Where a datapath is cut: registers after named steps, and the controls that travel with the data."""

from __future__ import annotations

from collections.abc import Collection

from codesign.hardware.rtl.emit.verilog import Module, Net

# Steps of a datapath in the order of the data; a cut registers everything alive after the step.
STEPS = ("multiply", "align", "reduce", "sum", "scale", "group", "normalise", "fp_align", "fp_add")
# Steps inside of the loop of a floating-point accumulator: cuts here interleave independent sums.
LOOP = ("fp_align", "fp_add")


class Pipeline:
    """Calls after each step: ``pipe("multiply", a, b)`` gives a and b, one clock later if that step is cut."""

    def __init__(self, module: Module, cuts: Collection[str], controls: dict[str, Net]) -> None:
        self.module = module
        self.cuts = frozenset(cuts)
        self.controls = controls
        self.latency = 0
        self.boundaries: dict[str, tuple[str, ...]] = {}  # what each step hands on, by net name

    def __call__(self, step: str, *nets: Net) -> tuple[Net, ...]:
        self.boundaries[step] = self.boundaries.get(step, ()) + tuple(net.name for net in nets)
        if step not in self.cuts:
            return nets
        self.latency += 1
        if step not in LOOP:
            self.controls = {name: self.module.register(net, name) for name, net in self.controls.items()}
        return tuple(self.module.register(net) for net in nets)


def interleave(cuts: Collection[str]) -> int:
    """Independent sums that a unit with these cuts adds to in turn."""
    return 1 + sum(step in cuts for step in LOOP)
