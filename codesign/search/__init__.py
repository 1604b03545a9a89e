"""Where the front is: the search space, the engine, the study."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

from codesign.designs import StudyFolder
from codesign.quality.calibration import RangeRule
from codesign.search.results.sweep import Sweep, run_sweep, write_sweep
from codesign.search.results.write import write_results
from codesign.search.samplers.codesign_sampler import CodesignSampler
from codesign.search.space.resolve import SearchSpace, load_space
from codesign.search.study.progress import Progress
from codesign.search.study.run import run_study
from codesign.search.study.study import Study, open_study


def search(
    space: SearchSpace | str | Path,
    out: str | Path,
    *,
    evaluations: int | None = None,
    timeout_s: float | None = None,
    seed: int = 0,
    ranges: RangeRule | None = None,
    storage: str | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> StudyFolder:
    """Search `space`, write the study's folder `out` and return what it holds: ``search(...).front[0].accelerator``.

    Where the space gives the formats of its networks, every accelerator is priced; `seed` and `progress` count alone.

    Args:
        space: a resolved SearchSpace, or the path of a YAML file.
        evaluations: measured candidates; default: what the file says.
        timeout_s: no new evaluation starts after this many seconds.
        ranges: what clips the activations of every task, whatever the file says: mse, minmax or percentile.
        storage: Optuna storage URL; default: SQLite in `out`.
    Raises:
        InputError: the space, or a study of another space in `out`.
        EnvironmentProblem: folder or storage cannot be used.
    """
    resolved = space if isinstance(space, SearchSpace) else load_space(Path(space), ranges=ranges)
    if resolved.fixed:
        return write_sweep(run_sweep(resolved, Path(out), seed=seed, progress=progress), progress)
    study = open_study(resolved, Path(out), seed=seed, storage=storage, resume=resume)
    count = evaluations or resolved.spec.search.evaluations
    run_study(study, evaluations=count, timeout_s=timeout_s, progress=progress)
    return write_results(study, progress)


class _CallableModule(types.ModuleType):
    """``codesign.search(space, out)``: the package and its one function share the name."""

    def __call__(self, *args: Any, **kwargs: Any) -> StudyFolder:
        return search(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule

__all__ = [
    "CodesignSampler",
    "Progress",
    "SearchSpace",
    "Study",
    "Sweep",
    "load_space",
    "open_study",
    "run_study",
    "run_sweep",
    "search",
    "write_results",
    "write_sweep",
]
