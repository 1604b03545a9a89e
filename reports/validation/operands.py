"""Operands of a few layers of the bundled networks, for the switching of compute units on real data.

    python reports/validation/operands.py

Writes codesign/hardware/data/operands.npz: for each chosen product the streamed and the stationary operand, float16
[16, K], as calibration runs it (quality.sample_operands). K is at most 384. And operand_bits.json beside it: how
often the bits of every format change on them.
"""

from __future__ import annotations

import json
import re

import numpy as np

from codesign.formats import format_names, get_format
from codesign.hardware.units.activities import NOISE, OPERAND_BITS
from codesign.hardware.units.coefficients import DATA
from codesign.hardware.units.operand_streams import measured_bits
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
    bits = {
        activity: {
            side: {
                name: [round(x, 4) for x in measured_bits(name, side, activity)]
                for name in format_names()
                if not get_format(name).per_token  # whose datapath is that of the plain format
            }
            for side in ("weight", "activation")
        }
        for activity in (*CHOSEN, NOISE)
    }
    facts = {
        "source": "reports/validation/operands.py",
        "figures": "density of ones among significand bits, and of ones that stay from one step to the next",
        "bits": bits,
    }
    text = json.dumps(facts, indent=1)
    text = re.sub(r"\[\s+([\d.]+),\s+([\d.]+)\s+\]", r"[\1, \2]", text) + "\n"
    (DATA / OPERAND_BITS).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
