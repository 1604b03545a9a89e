"""``codesign.search``: from a space file to a finished study in one call.

This module imports no other at load time. The top-level package imports it eagerly, as the function shares its name
with the subpackage.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codesign.designs import Study
    from codesign.search.samplers.strategy import StrategyFactory
    from codesign.search.space.resolve import SearchSpace
    from codesign.search.study.progress import Progress
    from codesign.terms import RangeRule

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
    """Search `space`, write the study's folder and return the study: ``search(...).front[0].accelerator``.

    If the space gives the formats of its networks, every accelerator is priced and nothing is measured; all arguments
    that control measurements are then ignored.

    Args:
        space: a resolved SearchSpace, or the path of a YAML file.
        out: the study's folder; default: ``reports/studies/NAME`` with the name of the space.
        evaluations: number of candidates to measure; default: that of the space file.
        timeout_s: no evaluation starts after this many seconds.
        sampler: what proposes candidates: ``codesign`` (the engine), ``nsga2``, ``nsga3``, ``tpe``, ``gp``, ``random``,
            ``python:module:function``, the name of an installed strategy, or a function from a `Problem` to a
            `Strategy`.
        workers: worker processes on this machine; 1: a thread of this process; 0: none, only ``codesign worker``
            processes started separately.
        seed: of all random choices. With the engine, the same seed gives the same front for any number of workers.
        ranges: rule that clips activations in plain formats, for every task and instead of the file's, if `space` is a
            path: mse, minmax or percentile.
        storage: Optuna storage URL; default: SQLite in `out`.
        resume: continue the study in `out`, which must exist.
        progress: called with (stage, done, total, detail).
    Raises:
        InputError: a mistake in the space, an unknown sampler, or another study in `out`.
        MovedError: a sentinel of the resumed study moved out of its interval.
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
