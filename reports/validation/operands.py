"""Operands of a few layers of the bundled networks, for the switching of compute units on real data.

    python reports/validation/operands.py

Writes codesign/hardware/data/operands.npz: for each chosen product the streamed and the stationary operand, float16
[16, K], as calibration runs it (quality.sample_operands). K is at most 384. And operand_codes.npz beside it: eight
rows of each in the codes of every format, `NETWORK/SIDE/FORMAT` and `.../scales`, layers side by side; `NETWORK`: the
K of its layers.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from codesign.formats import format_names, get_format
from codesign.hardware.units.coefficients import DATA
from codesign.hardware.units.operand_streams import CODES, SIDES, quantized
from codesign.models import load_task
from codesign.quality import sample_operands

MOST = 384
CHOSEN = {
    "restore": (("down0.resnet.conv2", "conv"), ("mid.resnet1.conv1", "conv"), ("down1.attn", "attention_pv")),
    "rewrite": (("layers.1.mlp.down_proj", "linear"), ("layers.2.self_attn.o_proj", "linear"), ("lm_head", "linear")),
}


def main() -> None:
    arrays = {}
    for task, wanted in CHOSEN.items():
        found = {(o.layer, o.kind): o for o in sample_operands(load_task(task))}
        for layer, kind in wanted:
            operands = found[layer, kind]
            for side in ("streamed", "stationary"):
                flat = getattr(operands, side).flatten(1)[:, :MOST]
                arrays[f"{task}/{layer}/{side}"] = flat.numpy().astype(np.float16)
    np.savez_compressed(DATA / "operands.npz", **arrays)
    print(DATA / "operands.npz", {name: array.shape for name, array in arrays.items()})
    np.savez_compressed(CODES, **codes())


def codes() -> dict[str, npt.NDArray[np.generic]]:
    """The contents of operand_codes.npz."""
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for activity in CHOSEN:
        for side in SIDES:
            for name in format_names():
                if get_format(name).per_token:  # whose datapath is that of the plain format
                    continue
                layers = quantized(name, side, activity)
                found = np.concatenate([layer.codes for layer in layers], axis=1)
                arrays[f"{activity}/{side}/{name}"] = found.astype(smallest(found))
                scales = [layer.scales for layer in layers if layer.scales is not None]
                if scales:
                    arrays[f"{activity}/{side}/{name}/scales"] = np.concatenate(scales, axis=1).astype(np.uint16)
                if name == "fp32":  # which is not padded
                    arrays[activity] = np.array([layer.codes.shape[1] for layer in layers])
    return arrays


def smallest(values: npt.NDArray[np.int64]) -> np.dtype[np.generic]:
    """The smallest type of integers that holds the values."""
    types = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32)
    return np.dtype(next(t for t in types if np.iinfo(t).min <= values.min() and values.max() <= np.iinfo(t).max))


if __name__ == "__main__":
    main()
