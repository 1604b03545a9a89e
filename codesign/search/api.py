"""``codesign.search``: the whole way from a space to a study, in one call.

Importing it loads nothing else: the top of the package imports it, as a function that is called like its package.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codesign.designs import Study
    from codesign.quality.calibration import RangeRule
    from codesign.search.samplers.strategy import StrategyFactory
    from codesign.search.space.resolve import SearchSpace
    from codesign.search.study.progress import Progress

STUDIES = Path("reports/studies")


def search(
    space: SearchSpace | str | Path,
    out: str | Path | None = None,
    *,
    evaluations: int | None = None,
    timeout_s: float | None = None,
    sampler: str | StrategyFactory = "codesign",
    workers: int = 1,
    seed: int = 0,
    ranges: RangeRule | None = None,
    storage: str | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Study:
    """Search `space`, write the study's folder and return what it holds: ``search(...).front[0].accelerator``.

    Where the space gives the formats of its networks, every accelerator is priced; `seed` and `progress` count alone.

    Args:
        space: a resolved SearchSpace, or the path of a YAML file.
        out: the study's folder; default: ``reports/studies/NAME``, NAME being the space's.
        evaluations: measured candidates; default: what the file says.
        timeout_s: no new evaluation starts after this many seconds.
        sampler: what proposes candidates: ``codesign`` (the engine), ``nsga2``, ``nsga3``, ``tpe``, ``gp``, ``random``,
            ``python:module:function``, an installed package's name, or a function from a `Problem` to a `Strategy`.
        workers: processes that evaluate on this machine; 1: a thread of this process; 0: only ``codesign worker``
            processes that are started elsewhere.
        seed: of everything that is drawn; the same seed gives the same front, with any number of workers.
        ranges: what clips the activations of every task, whatever the file says: mse, minmax or percentile.
        storage: Optuna storage URL; default: SQLite in `out`.
        resume: go on with the study in `out`, which must exist.
        progress: called with (stage, done, total, detail).
    Raises:
        InputError: the space, the sampler, or a study of another space in `out`.
        EnvironmentProblem: folder or storage cannot be used.
    """
    from codesign.search.results.sweep import run_sweep, write_sweep
    from codesign.search.results.write import write_results
    from codesign.search.space.resolve import load_space
    from codesign.search.study.run import run_study
    from codesign.search.study.study import open_study

    resolved = load_space(Path(space), ranges=ranges) if isinstance(space, (str, Path)) else space
    folder = STUDIES / resolved.spec.name if out is None else Path(out)
    if resolved.fixed:
        return write_sweep(run_sweep(resolved, folder, seed=seed, progress=progress), progress)
    study = open_study(resolved, folder, seed=seed, storage=storage, resume=resume, workers=workers)
    count = resolved.spec.search.evaluations if evaluations is None else evaluations
    run_study(study, evaluations=count, timeout_s=timeout_s, sampler=sampler, progress=progress)
    return write_results(study, progress)
