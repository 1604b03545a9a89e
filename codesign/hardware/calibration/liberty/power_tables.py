"""Liberty's ``internal_power`` tables reduced to one energy per pin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from codesign.hardware.calibration.liberty.lookup import centre
from codesign.hardware.calibration.liberty.text import Group


def pin_energies(pins: Sequence[tuple[str, Group]], clock: str | None, rising: bool) -> dict[str, float]:
    """Pin -> energy per toggle, in the library's unit: mean of rise and fall, at the centre of the tables.

    Gates (``clock`` None): outputs only; energy without a change of the output ("hidden power") depends on the other
    pins and is omitted. Flip-flops: all pins. Some libraries attribute the whole active clock edge to the output that
    it changes, with 0 at the clock pin for these states; then the clock energy with a constant output is subtracted
    from the output, since the energy of the clock pin counts in every cycle.
    """
    energies: dict[str, float] = {}
    edge = 0.0
    for name, pin in pins:
        output = pin.attributes.get("direction") == "output"
        if not output and clock is None:
            continue
        groups = pin.all("internal_power")
        if output and clock is not None:  # without the arcs of set and reset
            groups = [group for group in groups if group.attributes.get("related_pin") == clock]
        rise, fall = (_energy(groups, key, nonzero=name == clock) for key in ("rise_power", "fall_power"))
        energies[name] = (rise + fall) / 2
        if name == clock:
            active = "rise_power" if rising else "fall_power"
            values = [centre(group, active, "power") for group in groups]
            if any(values) and not all(values):
                edge = rise if rising else fall
    if clock is not None:
        for name, pin in pins:
            if pin.attributes.get("direction") == "output":
                energies[name] = max(0.0, energies[name] - edge)
    return energies


def _energy(groups: list[Group], key: str, nonzero: bool) -> float:
    """Sum over supplies of the mean over conditions; ``nonzero``: only over conditions with non-zero energy."""
    supplies: dict[str, list[Group]] = {}
    for group in groups:
        supplies.setdefault(group.attributes.get("related_pg_pin", ""), []).append(group)
    total = 0.0
    for members in supplies.values():
        conditional = [group for group in members if "when" in group.attributes] or members
        values = [centre(group, key, "power") for group in conditional]
        total += mean(value for value in values if value or not nonzero)
    return total


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean; 0 for no values."""
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0
