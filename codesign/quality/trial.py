"""A metric is tried before anything rests on it: on the float network itself, and on a network that is ruined."""

from __future__ import annotations

from codesign.errors import InputError
from codesign.formats import Assignment, FormatPair
from codesign.quality.evaluator import Evaluator
from codesign.quality.measure import Quality, UnmeasurableError

COARSE = FormatPair("int2", "int2")  # three values


def try_metric(evaluator: Evaluator) -> Quality:
    """The deciding metric of the float network's own outputs: what every loss is counted from.

    Raises InputError where that is not finite, or `COARSE` in every layer does not come out worse: the metric is then
    no loss of which less is better, and a search by it would end with the worst network and call it the best.
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
        return own  # ruined indeed
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


_MOST = 1e30  # raw losses beyond it are a wrong scale
_HINTS = {
    True: " A negated PSNR or the log10 of an error is cut off at 1e-12 if it is returned as "
    "codesign.Loss(function, scale='db') or scale='log10'",
    False: " Is it the wrong way round? Of a PSNR return the negative",
}
