"""A metric is tried before anything rests on it: on the float network itself, and on a network that is ruined."""

from __future__ import annotations

from codesign.errors import InputError
from codesign.formats import Assignment, FormatPair
from codesign.quality.evaluator import Evaluator
from codesign.quality.measure import UnmeasurableError

COARSE = FormatPair("int2", "int2")  # three values


def try_metric(evaluator: Evaluator) -> float:
    """The deciding metric of the float network's own outputs: what every loss is counted from.

    Raises InputError where that is not finite, or `COARSE` in every layer does not come out worse: the metric is then
    no loss of which less is better, and a search by it would end with the worst network and call it the best.
    """
    task = evaluator.task
    try:
        own = evaluator.float_quality().value
    except UnmeasurableError as error:
        raise InputError(
            f"{task.name}: the metric is not finite on the float network's own outputs ({error}); a loss is finite and "
            "smallest there. A negated PSNR or the log10 of an error is cut off at 1e-12 if it is returned as "
            "codesign.Loss(function, scale='db') or scale='log10'"
        ) from None
    try:
        ruined = evaluator(Assignment.of_pairs(dict.fromkeys(evaluator.layers, COARSE), evaluator.layers)).value
    except UnmeasurableError:
        return own  # ruined indeed
    if not ruined > own:
        same = "it does not change." if ruined == own else "is it the wrong way round?"
        raise InputError(
            f"{task.name}: metric '{task.deciding}' is {own:.6g} on the float network's own outputs and {ruined:.6g} "
            f"with {COARSE.weight} in every layer: {same} Quality is a loss, smaller is better: of an accuracy or a "
            "PSNR return the negative"
        )
    return own
