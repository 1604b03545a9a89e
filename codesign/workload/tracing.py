"""`trace`: runs a module once and records its matrix products."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from codesign.errors import InputError
from codesign.workload.completeness import Census, Unseen
from codesign.workload.intercept import ProductInterceptor
from codesign.workload.product import Product
from codesign.workload.shapes import ShapesOnly
from codesign.workload.types import Operator, Workload
from codesign.workload.vector import VectorWork

CACHED_PHASES = ("prefill", "decode")  # the phases in which attention appends to a KV cache


def trace(
    module: nn.Module,
    example_inputs: Tensor | Sequence[Any] | Mapping[str, Any],
    *,
    name: str = "network",
    phase: str = "forward",
    repeats: int = 1,
    unseen: Unseen = "refuse",
    forward: Callable[[nn.Module, Any], Any] | None = None,
) -> Workload:
    """The convolutions, linear layers and attention products of one inference pass, in order of first use.

    Args:
        example_inputs: one tensor, a sequence of arguments, or a mapping of keyword arguments. If they are on the meta
            device, only shapes are computed, whatever device the module is on.
        phase: in the phases prefill and decode, the queries are the new tokens, whose keys and values are written to
            the KV cache; those of earlier tokens are read from it.
        repeats: passes of `phase` per result.
        forward: ``forward(module, example_inputs)`` is run instead of a call of the module.
        unseen: what to do if more than a tenth of the weights enters no product; `Workload.unread` lists them anyway.

    Raises:
        InputError: a matrix product of an unsupported kind, no product at all, products that torch's own count has
            and the trace has not, or too many weights that nothing reads.
    """
    products: list[Operator] = []
    before: Counter[str] = Counter()
    following: list[Counter[str]] = []
    bands: list[int] = []
    work = VectorWork()

    census: Census | None = None

    def begin(product: Product | None = None) -> None:
        """Vector work up to here is attributed to the previous product; that before the first product, to the first."""
        work.liveness.begin(*(() if product is None else _known_operands(product)))
        (following[-1] if products else before).update(work.take())

    def record(product: Product, output: Tensor) -> None:
        if census is not None:
            census.read(product.stationary)
        work.take()  # discard operations inside the product, such as adding its bias
        work.liveness.end()
        following.append(Counter() if products else before)
        products.append(_operator(product, output, phase))
        bands.append(_band(product))

    _refuse_compiled(module, name)
    args, kwargs = _arguments(example_inputs)
    meta = _any_meta((args, kwargs))
    standins = _meta_state(module) if meta else {}
    shapes = ShapesOnly(work.see) if meta else nullcontext()
    census = None if meta else Census(module)
    alone = None if census is None else census.leave
    interceptor = ProductInterceptor(module, begin, after=record, strict=True, names=standins, alone=alone)
    counting = nullcontext() if census is None else census.counting()
    with torch.no_grad(), _inference(module), shapes, counting, interceptor, work:
        if forward is not None:
            forward(module, example_inputs)
        elif standins:
            torch.func.functional_call(module, standins, args, kwargs)
        else:
            module(*args, **kwargs)
    begin()
    born, waiting = work.liveness.kept(len(products))
    operators = _counted(_chained(products, work.liveness.fed(len(products)), bands), following, born)
    _check(operators, name)
    unread = () if census is None else census.check(name, operators, unseen)
    parameters = sum(p.numel() for p in module.parameters())
    return Workload(name, operators, {phase: repeats}, parameters, waiting, unread)


def averaged(workload: Workload, samples: int) -> Workload:
    """The work of one sample where `workload` is that of several at once: rows, heads and what follows are shared out,
    rounded up; weights are read as before."""

    def each(count: int) -> int:
        return -(-count // samples)

    operators = tuple(
        replace(
            op,
            m=op.m if op.is_attention else each(op.m),
            count=each(op.count) if op.is_attention else op.count,
            input_elements=each(op.input_elements),
            stationary_elements=each(op.stationary_elements) if op.is_attention else op.stationary_elements,
            output_elements=each(op.output_elements),
            kv_read_elements=each(op.kv_read_elements),
            kv_write_elements=each(op.kv_write_elements),
            vector=tuple((kind, each(count)) for kind, count in op.vector),
            live_out_elements=each(op.live_out_elements),
        )
        for op in workload.operators
    )
    return replace(workload, operators=operators, peak_live_elements=each(workload.peak_live_elements))


def _chained(products: Sequence[Operator], fed: Sequence[bool], bands: Sequence[int]) -> list[Operator]:
    """The products, with the pairs marked that line-buffered fusion can run together; no product is in two pairs."""
    found = list(products)
    for i in range(1, len(products)):
        first, second = found[i - 1], found[i]
        if fed[i] and not (first.line_elements or first.is_attention or second.is_attention):
            found[i - 1] = replace(first, feeds_next=True)
            found[i] = replace(second, producer_weights=first.stationary_elements, line_elements=bands[i])
    return found


def _counted(
    products: Sequence[Operator], following: Sequence[Counter[str]], born: Sequence[int]
) -> tuple[Operator, ...]:
    """Merge equal products: count their calls and add up the vector work that follows them."""
    vector: defaultdict[Operator, Counter[str]] = defaultdict(Counter)
    kept: Counter[Operator] = Counter()
    for op, work, elements in zip(products, following, born, strict=True):
        # between the two products of an attention is its softmax, which `Operator.vector_elements` counts
        vector[op].update({} if op.kind == "attention_qk" else work)
        kept[op] += elements
    return tuple(
        replace(op, calls=calls, vector=tuple(sorted(vector[op].items())), live_out_elements=kept[op])
        for op, calls in Counter(products).items()
    )


def _band(product: Product) -> int:
    """Elements of the input that one row of results needs: the size of a line buffer."""
    x, w = product.input, product.stationary
    if product.kind == "conv" and x.ndim > 2:
        return x.numel() // (x.shape[0] * x.shape[2]) * min(w.shape[2], x.shape[2])
    return x.shape[product.input_axis]


def _known_operands(product: Product) -> tuple[Tensor, ...]:
    """The operands that exist as tensors: of the second attention product, all but the scores."""
    return (product.stationary,) if product.kind == "attention_pv" else (product.input, product.stationary)


def _operator(product: Product, output: Tensor, phase: str) -> Operator:
    m, n, k, count = _dimensions(product, output)
    run, result_taps = _run(product)
    stationary = product.stationary.numel() - product.idle
    read = written = 0
    if phase in CACHED_PHASES and product.kind.startswith("attention"):
        keys = n if product.kind == "attention_qk" else k
        written = stationary * min(m, keys) // keys
        read = stationary - written
    return Operator(
        layer=product.layer,
        kind=product.kind,
        phase=phase,
        m=m,
        n=n,
        k=k,
        count=count,
        input_elements=product.input.numel(),
        stationary_elements=stationary,
        output_elements=output.numel(),
        kv_read_elements=read,
        kv_write_elements=written,
        idle_elements=product.idle,
        run=run,
        result_taps=result_taps,
    )


def _run(product: Product) -> tuple[int, int]:
    """(elements of K at one tap, taps in N)."""
    channels, w = product.input.shape[product.input_axis], product.stationary
    if product.kind != "conv":
        return channels, 1
    transposed = product.function.startswith("conv_transpose")
    return channels // product.groups, math.prod(w.shape[2:]) if transposed else 1


def _dimensions(product: Product, output: Tensor) -> tuple[int, int, int, int]:
    """(m, n, k, count) of a product."""
    x, w = product.input, product.stationary
    if product.kind == "conv":
        channels_in, channels_out = x.shape[product.input_axis], output.shape[product.input_axis]
        taps = math.prod(w.shape[2:])
        if product.function.startswith("conv_transpose"):  # each input pixel contributes to a patch of outputs
            groups = channels_out // w.shape[1]
            return x.numel() // channels_in, w.shape[1] * taps, channels_in // groups, groups
        groups = channels_in // w.shape[1]
        return output.numel() // channels_out, channels_out // groups, w.shape[1] * taps, groups
    if product.einsum is not None:
        labels = product.einsum
        sizes = dict(zip(labels.a, x.shape, strict=True)) | dict(zip(labels.b, w.shape, strict=True))
        m, n, k, count = (math.prod(sizes[c] for c in part) for part in (labels.m, labels.n, labels.k, labels.batch))
        return m, n, k, count
    k = x.shape[product.input_axis]
    n = w.numel() // k if w.ndim == 2 else w.shape[-3 - product.stationary_axis]
    if w.ndim == 2:  # one weight for the whole batch: all rows belong to one product
        return x.numel() // k, n, k, 1
    m = x.shape[-3 - product.input_axis]
    return m, n, k, output.numel() // (m * n)


def _arguments(example_inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example_inputs, Mapping):
        return (), dict(example_inputs)
    return ((example_inputs,) if isinstance(example_inputs, Tensor) else tuple(example_inputs)), {}


def _any_meta(arguments: Any) -> bool:
    return any(isinstance(leaf, Tensor) and leaf.is_meta for leaf in tree_leaves(arguments))


def _meta_state(module: nn.Module) -> dict[str, Tensor]:
    """Meta tensors for the parameters and buffers of a module on another device; {} if it is on meta."""
    tensors = dict([*module.named_parameters(), *module.named_buffers()])
    return {} if all(t.is_meta for t in tensors.values()) else {n: t.to("meta") for n, t in tensors.items()}


@contextmanager
def _inference(module: nn.Module) -> Iterator[None]:
    """Evaluation mode during a trace, so that running statistics do not change."""
    training = [m for m in module.modules() if m.training]
    try:
        for m in training:
            m.training = False
        yield
    finally:
        for m in training:
            m.training = True


def _refuse_compiled(module: nn.Module, name: str) -> None:
    """Raise InputError for a module of TorchScript, which runs its products where nothing intercepts them."""
    for inner, each in module.named_modules():
        if isinstance(each, torch.jit.ScriptModule):
            where = f"module '{inner}'" if inner else "it"
            raise InputError(
                f"network '{name}': {where} is of TorchScript (torch.jit.script or trace), whose products cannot be "
                "seen: give the module that it was made from"
            )


def _check(operators: tuple[Operator, ...], name: str) -> None:
    if not operators:
        raise InputError(f"network '{name}': no convolution, linear or attention product in its forward pass")
    kinds: dict[str, bool] = {}
    for op in operators:
        if kinds.setdefault(op.layer, op.is_attention) != op.is_attention:
            raise InputError(f"network '{name}': layer '{op.layer}' is both an attention and a weight")
