"""How far a chip can shrink the weights of the bundled networks without loss: hardware/data/compression.yaml.

    python reports/validation/compression.py

Every layer's weight is quantized as the network runs it, compressed by both codecs that the cost model knows and
expanded again, which must give the same codes:

- huffman: one Huffman code a layer over its element codes (zlib's Huffman-only strategy, headers included; a 16-bit
  code is two symbols); block scales stay as they are;
- bitmap: one bit an element that says whether it is zero, then the codes of the others.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch

from codesign.formats import Format, Quantized, format_names, get_format
from codesign.formats.pack import pack_codes, unpack_codes
from codesign.hardware.units.coefficients import DATA
from codesign.models import load_task

NETWORKS = ("restore", "rewrite")
HEADER = """\
# Lossless compression ratio of stored weights (bytes before / after) by codec and weight format; below 1: expansion.
# Written by reports/validation/compression.py: value for all layers of both bundled networks, low and high per network.
"""


def huffman_bits(q: Quantized) -> int:
    """Bits of all codes after zlib's Huffman coding."""
    wide = q.format.element_bits == 16
    symbols = (pack_codes(q.codes, q.format.element) if wide else q.codes.to(torch.uint8)).numpy().tobytes()
    coder = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    packed = coder.compress(symbols) + coder.flush()
    assert zlib.decompress(packed, -15) == symbols
    return 8 * len(packed)


def bitmap_bits(q: Quantized) -> int:
    """Bits of the map of zero codes (zero itself, but in a format with a zero point) and of the other codes."""
    codes = q.codes.reshape(-1)
    there = codes != 0
    bitmap = np.packbits(there.numpy())
    packed = pack_codes(codes[there], q.format.element)
    again = torch.zeros_like(codes)
    again[torch.from_numpy(np.unpackbits(bitmap, count=len(codes)).astype(bool))] = unpack_codes(
        packed, q.format.element, (int(there.sum()),)
    )
    assert torch.equal(again, codes)
    return 8 * (len(bitmap) + len(packed))


CODECS = {"huffman": huffman_bits, "bitmap": bitmap_bits}


def weights(network: str) -> list[torch.Tensor]:
    """[outputs, inputs, ...] of every layer that has a weight."""
    task = load_task(network)
    module, layers = task.module, set(task.workload().layers)
    found = {name.removesuffix(".weight"): p for name, p in module.named_parameters()}
    return [p.detach() for name, p in found.items() if name in layers and p.ndim > 1]


def stored(form: Format, weight: torch.Tensor) -> tuple[Quantized, float]:
    """A weight as the network runs it, in codes, and the bits of its scales.

    Blocks run along the input channels at each tap of a convolution, with a scale for each that a run of channels
    starts; plain formats have a scale per output channel, which is neither counted here nor in the cost model.
    """
    if not form.is_block:
        return form.quantize(weight.flatten(1), axis=1), 0.0
    q = form.quantize(weight, axis=1)
    assert form.scaling is not None
    assert form.scaling.block is not None
    assert q.scales is not None
    return q, (form.bits_per_element - form.element_bits) * form.scaling.block * q.scales.numel()


def ratios(form: Format) -> dict[str, list[float]]:
    """codec -> ratio of each network, then of both together."""
    plain, coded = [], {codec: [] for codec in CODECS}
    for network in NETWORKS:
        found = [stored(form, weight) for weight in weights(network)]
        scales = sum(bits for _, bits in found)
        plain.append(form.element_bits * sum(q.codes.numel() for q, _ in found) + scales)
        for codec, bits in CODECS.items():
            coded[codec].append(sum(bits(q) for q, _ in found) + scales)
    return {
        codec: [*(a / b for a, b in zip(plain, each, strict=True)), sum(plain) / sum(each)]
        for codec, each in coded.items()
    }


def main() -> None:
    lines: dict[str, list[str]] = {codec: [] for codec in CODECS}
    for name in format_names():
        form = get_format(name)
        if form.element_bits > 16 or form.per_token:  # as weights, formats per token are plain
            continue
        measured = ratios(form)
        for codec, (*each, both) in measured.items():
            lines[codec].append(
                f"  {name}: {{value: {both:.3f}, low: {min(each):.3f}, high: {max(each):.3f}, "
                'unit: "bytes before / after", source: "reports/validation/compression.py", quality: measured}'
            )
        print(name, {codec: round(values[-1], 3) for codec, values in measured.items()}, flush=True)
    text = HEADER + "\n".join(f"{codec}:\n" + "\n".join(rows) for codec, rows in lines.items()) + "\n"
    (DATA / "compression.yaml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
