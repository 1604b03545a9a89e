"""The public networks as tasks, for the scripts below reports/; the networks and texts have to be there already."""

from __future__ import annotations

from codesign.models import Task, TaskOptions, load_task
from examples.public.download import cache


def there() -> list[str]:
    """Those that have been downloaded."""
    from examples.public.smollm2 import directory

    return [name for name, path in (("span", cache() / "span"), ("smollm2", directory())) if path.exists()]


def public_task(name: str, *, sequences: int = 8, length: int = 128) -> Task:
    """`span`, or `smollm2` on sequences of so many tokens."""
    if name == "span":
        return load_task("python:examples.public.span:task", name=name)
    from examples.public.smollm2 import directory

    data, calibration = (str(cache() / f"english-{part}.txt") for part in ("evaluation", "calibration"))
    options = TaskOptions(data=data, calibration=calibration, sequences=sequences, length=length)
    return load_task(f"transformers:{directory()}", name=name, options=options)
