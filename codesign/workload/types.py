"""`Operator` (one matrix product) and `Workload` (all products of a network)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from codesign.errors import InputError

KINDS = ("conv", "linear", "attention_qk", "attention_pv")
VECTOR_KINDS = ("norm", "softmax", "activation", "elementwise")


@dataclass(frozen=True)
class Operator:
    """One matrix product, [M, K] x [K, N], `count` times, in one pass of one phase.

    The streamed operand [M, K] is the input; the stationary operand [K, N] is the weight, or the key or value of an
    attention product. Element counts are those of the stored tensors (an implicit GEMM does not store im2col).
    """

    layer: str  # key of the Assignment
    kind: str  # one of KINDS
    phase: str  # forward | denoise | prefill | decode | text | encode_image | decode_image
    m: int
    n: int
    k: int
    count: int  # convolution groups; batch x heads for attention; experts; repeats of one shape
    input_elements: int
    stationary_elements: int  # of the weight, key or value: what the product reads
    output_elements: int
    kv_read_elements: int = 0  # elements of the stationary operand that are read from a KV cache
    kv_write_elements: int = 0  # elements that this pass appends to a KV cache
    idle_elements: int = 0  # of the weight, stored but not read by this product (experts without a token)
    calls: int = 1  # how often the layer runs with this shape in one pass
    vector: tuple[tuple[str, int], ...] = ()  # (one of VECTOR_KINDS, elements) after all calls, without softmax
    live_out_elements: int = 0  # of its results, all calls, that stay live while other products run
    # line-buffered fusion of a pair of products
    feeds_next: bool = False  # producer: only the next product reads its result (through elementwise operations)
    producer_weights: int = 0  # consumer: weight elements of the producer
    line_elements: int = 0  # consumer: elements of its input that one row of results needs; 0 if it is not fused
    # runs of elements along which blocks of a format lie, see `runs`
    run: int = 0  # elements of K at one tap: input channels of a group of a convolution, K itself of others; 0: K
    result_taps: int = 1  # taps that are part of N: of a transposed convolution

    def __post_init__(self) -> None:
        if self.run and self.k % self.run:
            raise InputError(f"layer '{self.layer}': run {self.run} does not divide K {self.k}")

    @property
    def anonymous(self) -> Operator:
        """The operator without layer and phase: operators with equal anonymous forms have the same cost."""
        return replace(self, layer="", phase="")

    @property
    def runs(self) -> tuple[int, int, int]:
        """Elements along which the blocks of a format run: (stationary operand, input, output).

        Blocks of the stationary operand run along K at a fixed tap, those of a convolution's input along the channels
        of all groups, and those of the output along its channels, as the next product reads it.
        """
        run = self.run or self.k
        if self.kind == "linear":
            return run, run, self.n
        channels = self.n // self.result_taps * self.count  # attention: of all heads
        return run, run * self.count if self.kind == "conv" else run, channels

    @property
    def taps(self) -> int:
        """Taps of which each contributes one run to K."""
        return self.k // (self.run or self.k)

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations of one pass."""
        return self.m * self.n * self.k * self.count * self.calls

    @property
    def vector_elements(self) -> dict[str, int]:
        """Kind -> elements of vector work after the product in one pass, including the softmax of attention."""
        softmax = {"softmax": self.m * self.n * self.count * self.calls} if self.kind == "attention_qk" else {}
        return dict(self.vector) | softmax

    @property
    def is_attention(self) -> bool:
        """Whether both operands are activations: queries with keys, or probabilities with values."""
        return self.kind.startswith("attention")

    @property
    def weight_elements(self) -> int:
        """Elements of the stored weight, read or not; 0 for attention products."""
        return 0 if self.is_attention else self.stationary_elements + self.idle_elements


@dataclass(frozen=True)
class Workload:
    """The matrix products of a network in order, and how often each phase runs for one result."""

    name: str
    operators: tuple[Operator, ...]
    repeats: dict[str, int] = field(default_factory=dict)  # phase -> passes per result (denoise: steps; decode: tokens)
    parameters: int = 0  # all parameters of the module, quantized or not
    peak_live_elements: int = 0  # largest number of elements that are live across a product, see `Liveness.kept`
    unread: tuple[tuple[str, int], ...] = ()  # (name, elements) of weights in no product and no lookup; they stay float

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases of its operators, in order: forward, or denoise, or prefill and decode."""
        return tuple(dict.fromkeys(op.phase for op in self.operators))

    @property
    def layers(self) -> tuple[str, ...]:
        """Layer names in order of first use: the keys of an Assignment for this network."""
        return tuple(dict.fromkeys(op.layer for op in self.operators))

    def layer_kinds(self) -> dict[str, str]:
        """Layer -> ``conv``, ``linear`` or ``attention``."""
        return {op.layer: "attention" if op.is_attention else op.kind for op in self.operators}

    def macs(self, phase: str | None = None) -> int:
        """MACs of one pass of `phase`; if None, of one result (all phases times their repeats)."""
        if phase is not None:
            return sum(op.macs for op in self.operators if op.phase == phase)
        return sum(op.macs * self.repeats.get(op.phase, 1) for op in self.operators)

    def merged(self, others: Iterable[Workload]) -> Workload:
        """This workload followed by `others` (for example prefill and decode of the same network)."""
        operators, repeats, live = list(self.operators), dict(self.repeats), self.peak_live_elements
        for other in others:
            operators += other.operators
            repeats.update(other.repeats)
            live = max(live, other.peak_live_elements)
        return Workload(self.name, tuple(operators), repeats, self.parameters, live, self.unread)
