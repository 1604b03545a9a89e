"""Checks a metric before a search relies on it: on the float network and on a coarsely quantized one."""

from __future__ import annotations

from codesign.errors import InputError
from codesign.formats import Assignment, FormatPair
from codesign.quality.evaluator import Evaluator
from codesign.quality.measure import Quality, UnmeasurableError

COARSE = FormatPair("int2", "int2")  # three values


def try_metric(evaluator: Evaluator) -> Quality:
    """The deciding metric of the float network's own outputs.

    Raises InputError if it is not finite, or if `COARSE` in every layer is not worse: then the metric is not a loss to
    minimize, and a search would return the worst network as the best.
    """
    task = evaluator.task
    name = f"{task.name}: metric '{task.deciding}'"
    try:
        own = evaluator.float_quality()
    except UnmeasurableError as error:
        raise InputError(
            f"{name} is not finite on the float network's own outputs ({error}); a loss is finite and smallest "
            f"there.{_HINTS[task.scale == 'raw']}"
        ) from None
    try:
        ruined = evaluator(Assignment.of_pairs(dict.fromkeys(evaluator.layers, COARSE), evaluator.layers)).value
    except UnmeasurableError:
        return own  # as bad as expected
    found = f"{name} is {own.value:.6g} on the float network's own outputs and {ruined:.6g} with {COARSE.weight} in "
    if ruined == own.value:
        raise InputError(f"{found}every layer: it looks at nothing that formats change, so nothing can be chosen by it")
    if ruined < own.value:
        raise InputError(
            f"{found}every layer: is it the wrong way round? Quality is a loss, smaller is better: of an accuracy or a "
            "PSNR return the negative"
        )
    if task.scale != "raw" and task.raw(ruined) > _MOST:
        raise InputError(f"{found}every layer, which is no {task.scale} of an error: is scale='{task.scale}' right?")
    return own


_MOST = 1e30  # larger raw losses indicate a wrong scale
_HINTS = {
    True: " A negated PSNR or the log10 of an error is cut off at 1e-12 if it is returned as "
    "codesign.Loss(function, scale='db') or scale='log10'",
    False: " Is it the wrong way round? Of a PSNR return the negative",
}
