"""Whether codesign's quantized networks are those of an independent implementation, on public networks.

    python -m examples.public.equality [smollm2] [span]    # needs what examples.public.download has put there

Linear layers and convolutions of SmolLM2-135M-Instruct and of SPAN x4 are quantized twice, by codesign and by
`examples.public.fake_quantization`, with ranges of the same calibration data (`minmax`); attention products stay float.
The difference of their outputs is shown beside what the format itself changes: it is zero where torch sums in the same
order; else an activation that lies between two codes may go to either. Exit code 1 where the difference is more than
SHARE of what the format changes.
"""

from __future__ import annotations

import argparse
import sys

import torch
from torch import Tensor

from codesign import Assignment, CodesignError, Evaluator
from codesign.formats import FormatPair
from codesign.models import load_task
from codesign.models.custom import CustomTask
from codesign.models.directories import TaskOptions
from examples.public import span
from examples.public.download import cache
from examples.public.fake_quantization import quantized
from examples.public.smollm2 import directory

FORMATS = ("int8", "mxfp8_e4m3", "mxfp4")
SHARE = 0.01
SEQUENCES, LENGTH = 2, 128


def smollm2() -> CustomTask:
    """The language model on English prose; its attention product by product, as codesign computes it."""
    options = TaskOptions(data=str(cache() / "english-evaluation.txt"), sequences=SEQUENCES, length=LENGTH)
    task = load_task(f"transformers:{directory()}", name="smollm2", options=options)
    assert isinstance(task, CustomTask)
    task.module.set_attn_implementation("eager")
    return task


def super_resolution() -> CustomTask:
    """SPAN on crops of photographs."""
    module, calibration, evaluation, metric = span.task()
    return CustomTask("span", module, calibration, evaluation, metric)


TASKS = {"smollm2": smollm2, "span": super_resolution}


def compare(task: CustomTask, name: str, evaluator: Evaluator) -> tuple[float, float]:
    """(root mean square of the difference of the two, and of what the format changes)."""
    kinds = task.workload().layer_kinds()
    pair, exact = FormatPair.parse(name), FormatPair.parse("fp32")
    pairs = {layer: exact if kind == "attention" else pair for layer, kind in kinds.items()}
    ours = evaluator.outputs(Assignment.of_pairs(pairs, kinds))["output"]
    with torch.no_grad():
        theirs = task.run(quantized(task.module, name, task.calibrate))["output"]
        plain = task.run(task.module)["output"]
    return _size(ours - theirs), _size(theirs - plain)


def _size(x: Tensor) -> float:
    return float(x.double().square().mean().sqrt())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="*", default=list(TASKS), help="of smollm2 and span; default: both")
    worst = 0.0
    try:
        print(f"{'network':10}{'format':14}{'difference':>14}{'format changes':>18}{'share':>12}")
        for network in parser.parse_args().networks:
            task = TASKS[network]()
            evaluator = Evaluator(task, ranges="minmax")
            for name in FORMATS:
                apart, changed = compare(task, name, evaluator)
                worst = max(worst, apart / changed)
                print(f"{network:10}{name:14}{apart:14.3e}{changed:18.3e}{apart / changed:12.1e}", flush=True)
    except CodesignError as error:
        sys.exit(f"error: {error}")
    sys.exit(worst > SHARE)


if __name__ == "__main__":
    main()
