"""Writing a language model as GGUF, and proving that it is the one that was scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from codesign.errors import CodesignError, InputError
from codesign.export.gguf.blocks import F32, Bytes, Kind, cast, kind_of, narrowest, packed, scales_of, wanted_scales
from codesign.export.gguf.llama import check_outputs, installed
from codesign.export.gguf.network import (
    EMBEDDING,
    HEAD,
    LanguageModel,
    interleaved,
    language_model,
    restored,
)
from codesign.export.gguf.tokenizer import add_tokenizer
from codesign.export.networks import deviations
from codesign.export.origin import Origin
from codesign.export.proof import Proof, check_equal
from codesign.export.scored import ScoredNetwork
from codesign.formats.format import Quantized
from codesign.models.streaming import weights_of
from codesign.targets import get_target

FILE = "model.gguf"


@dataclass(frozen=True)
class Part:
    """A tensor of the file."""

    name: str
    kind: Kind
    shape: tuple[int, ...]
    data: Callable[[], Bytes]  # made when it is written: uint8 [..., bytes of a row]
    layer: str | None = None  # whose weight it is
    heads: int | None = None  # whose rows stand in llama.cpp's order

    @property
    def byte_shape(self) -> tuple[int, ...]:
        return (*self.shape[:-1], self.kind.row_bytes(self.shape[-1]))


def write(network: ScoredNetwork, origin: Origin, folder: Path) -> Proof:
    """Write ``model.gguf``.

    Weights keep their codes and scales; what no layer quantizes is stored in the narrowest of float16, bfloat16 and
    float32 that holds it exactly (vectors in float32). Raises InputError for a network that llama.cpp does not have.
    """
    import gguf

    model = language_model(network.module, origin.spec.task)
    source = origin.directory
    if source is None:
        raise InputError(f"'{origin.spec.task}': gguf exports networks of transformers:DIR")
    parts = list(_parts(network, model))
    path = folder / FILE
    writer = gguf.GGUFWriter(path, model.architecture)
    writer.add_name(origin.task)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for key, value in model.sizes():
        getattr(writer, f"add_{key}")(value)
    if model.rope.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    untold = add_tokenizer(writer, source, int(model.config.vocab_size))
    for part in parts:
        dtype = np.dtype(np.float32 if part.kind.name == "F32" else np.uint8)
        shape = part.shape if part.kind.name == "F32" else part.byte_shape
        size = int(np.prod(part.byte_shape))
        writer.add_tensor_info(part.name, shape, dtype, size, getattr(gguf.GGMLQuantizationType, part.kind.name))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for part in parts:
        writer.write_tensor_data(np.ascontiguousarray(part.data()))
    writer.close()
    layers = _check(network, parts, path)
    told = (*deviations(get_target("llama.cpp"), network), *_own_deviations(network, model, untold))
    if not installed():
        return Proof("gguf", layers, deviations=(*told, "llama.cpp did not run it here"), packages=("gguf",))
    proof = Proof("llama.cpp", layers, deviations=told, packages=("gguf", "llama-cpp-python"))
    return check_outputs(network, path, proof, most=model.window)


# ---- its tensors --------------------------------------------------------------------------------


def _parts(network: ScoredNetwork, model: LanguageModel) -> Iterator[Part]:
    layers = {layer.parameter: name for name, layer in network.layers.items() if layer.parameter is not None}
    frequencies = model.frequencies()
    if frequencies is not None:
        yield Part("rope_freqs.weight", F32, tuple(frequencies.shape), partial(cast, frequencies, F32))
    for name, tensor in weights_of(network.module):
        theirs = model.tensor(name)
        if theirs is None:
            raise InputError(f"llama.cpp has no place for '{name}' in a network of the kind {model.architecture}")
        if name == HEAD and _shares_embedding(network, layers.get(name), tensor):
            continue
        if name in layers:
            yield from _weight(network, layers[name], theirs, model.heads(name))
        else:
            yield _float(tensor, theirs, model.heads(name))


def _float(tensor: Tensor, theirs: str, heads: int | None) -> Part:
    """A parameter that no layer quantizes."""
    kind = narrowest(tensor) if tensor.ndim > 1 else F32
    made = tensor if heads is None else interleaved(tensor, heads)
    return Part(theirs, kind, tuple(tensor.shape), partial(cast, made, kind), heads=heads)


def _shares_embedding(network: ScoredNetwork, layer: str | None, tensor: Tensor) -> bool:
    """Whether the head reads the tensor of the embedding: one parameter, and rounding it changes nothing.

    llama.cpp rounds activations to the type of the tensor that they meet, so that its type has to be the head's.
    """
    if network.module.get_parameter(EMBEDDING) is not network.module.get_parameter(HEAD):
        return False
    if layer is None:
        return True
    fmt = network.layers[layer].weight_format
    return fmt.is_cast and kind_of(fmt) == narrowest(tensor)


def _weight(network: ScoredNetwork, layer: str, theirs: str, heads: int | None) -> Iterator[Part]:
    scored = network.layers[layer]
    kind, shape = kind_of(scored.weight_format), tuple(scored.product.stationary.shape)

    def data() -> Bytes:
        rows = packed(network.weight(layer))
        return rows if heads is None else interleaved(rows, heads)

    yield Part(theirs, kind, shape, data, layer, heads)
    if kind.name == "NVFP4":
        if scored.bias is not None and ".ffn_" in theirs:  # it stops the process at such a file
            raise InputError(f"layer '{layer}': llama.cpp takes no bias beside nvfp4 in a feed-forward layer")
        name = f"{theirs.removesuffix('.weight')}.scale"
        yield Part(name, F32, (1,), lambda: cast(_outer(network.weight(layer)).reshape(1), F32))


def _outer(weight: Quantized) -> Tensor:
    assert weight.tensor_scale is not None
    return weight.tensor_scale


# ---- what the library reads ---------------------------------------------------------------------


def _check(network: ScoredNetwork, parts: list[Part], path: Path) -> int:
    """Compare every tensor of the file, as the library gguf reads it, with what was scored."""
    import gguf

    read = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    if set(read) != {part.name for part in parts}:
        raise CodesignError(f"{path.name}: not the tensors that were written")
    checked = 0
    for part in parts:
        tensor = read[part.name]
        if tensor.tensor_type.name != part.kind.name:
            raise CodesignError(f"{path.name}: '{part.name}' is {tensor.tensor_type.name}, not {part.kind.name}")
        values = torch.from_numpy(np.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type)))
        values = values if part.heads is None else restored(values, part.heads)
        if part.layer is None:
            wanted = torch.from_numpy(part.data().view(np.uint8).copy())
            found = torch.from_numpy(np.array(tensor.data).reshape(-1).view(np.uint8)).reshape(wanted.shape)
            check_equal(part.name, "bytes", found, wanted)
            continue
        checked += 1
        weight = network.weight(part.layer)
        if weight.scales is None:
            check_equal(part.layer, "numbers", values, weight.dequantize())
            continue
        _check_codes(part, weight, np.array(tensor.data), values)
    return checked


def _check_codes(part: Part, weight: Quantized, data: Any, values: Tensor) -> None:
    """Scales by their bytes; codes by what the library makes of them: code times scale, which is exact."""
    assert weight.format.scaling is not None
    assert part.layer is not None
    rows = data if part.heads is None else restored(data, part.heads)
    found = scales_of(rows, part.kind)
    wanted = wanted_scales(weight)
    bits = weight.format.scaling.scale.encode(wanted).contiguous().view(torch.uint8).numpy().reshape(found.shape)
    check_equal(part.layer, "scales", torch.from_numpy(found.copy()), torch.from_numpy(bits))
    spread = wanted.repeat_interleave(values.shape[1] // wanted.shape[1], dim=1)
    check_equal(part.layer, "codes", values.double() / spread.double(), weight.format.element.decode(weight.codes))


def _own_deviations(network: ScoredNetwork, model: LanguageModel, untold: str | None) -> Iterator[str]:
    wide: dict[str, int] = {}
    rounded = 0
    for layer in network.layers.values():
        if layer.formats.weight is None:
            continue
        fmt = layer.weight_format
        if fmt.scaling is not None:
            rounded += 1
            if (fmt.scaling.block or 0) > kind_of(fmt).block:
                wide[fmt.name] = wide.get(fmt.name, 0) + 1
    if rounded:
        yield (
            f"llama.cpp rounds the activations of {rounded} layers to blocks of 32 in 8 bits by the scale that it then "
            "rounds to float16: a code may differ by one"
        )
    for name, count in sorted(wide.items()):
        yield f"{count} layers in {name} take the room of groups of 32: a scale is repeated for each 32 elements"
    caches = {
        (layer.formats.key, layer.formats.activation) for layer in network.layers.values() if layer.operands.get("key")
    }
    if len(caches) > 1:
        yield "llama.cpp has one format for the keys and values of all layers: float32, scored in several"
    if model.window is not None:
        yield f"llama.cpp has no sliding window: the context ends after {model.window} tokens"
    if untold is not None:
        yield f"the file holds no tokenizer ({untold}): give tokens by number"
