"""The nouns of what a network asks for: `Operator` (one matrix product) and `Workload`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

KINDS = ("conv", "linear", "attention_qk", "attention_pv")
VECTOR_KINDS = ("norm", "softmax", "activation", "elementwise")


@dataclass(frozen=True)
class Operator:
    """One matrix product, [M, K] x [K, N], `count` times, in one pass of one phase.

    The stationary operand [K, N] is the weight, or the key/value of an attention product.
    Element counts are those of the stored tensors (an implicit GEMM does not store im2col):
    `stationary_elements` is the weight's, or the key's / value's, size: what the product reads. A weight
    of which it reads a part (the experts that a token takes) adds the rest as `idle_elements`.
    """

    layer: str  # key of the Assignment
    kind: str  # one of KINDS
    phase: str  # forward | denoise | prefill | decode | text | encode_image | decode_image
    m: int
    n: int
    k: int
    count: int  # convolution groups; batch x heads for attention; experts; repeats of one shape
    input_elements: int
    stationary_elements: int
    output_elements: int
    kv_read_elements: int = 0  # elements of the stationary operand that come from a KV cache
    kv_write_elements: int = 0  # elements that this pass appends to a KV cache
    idle_elements: int = 0  # of the weight, stored and not read by this product
    calls: int = 1  # how often the layer runs in one pass with this shape
    vector: tuple[tuple[str, int], ...] = ()  # (one of VECTOR_KINDS, elements) that follow all calls, softmax aside
    kept_elements: int = 0  # of its results, all calls, that wait for a later product while others run
    handed_on: bool = False  # its result goes to the next product alone, element by element ...
    feed_weights: int = 0  # ... which has the weight elements of this one here ...
    feed_band: int = 0  # ... and the elements of its input that one row of results needs

    @property
    def anonymous(self) -> Operator:
        """The same work without its names: operators whose anonymous forms are equal cost the same."""
        return replace(self, layer="", phase="")

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one pass."""
        return self.m * self.n * self.k * self.count * self.calls

    @property
    def vector_elements(self) -> dict[str, int]:
        """Elements of the work that follows in one pass, by kind; the scores of an attention go through a softmax."""
        softmax = {"softmax": self.m * self.n * self.count * self.calls} if self.kind == "attention_qk" else {}
        return dict(self.vector) | softmax

    @property
    def is_attention(self) -> bool:
        return self.kind.startswith("attention")

    @property
    def weight_elements(self) -> int:
        """Stored parameters, read or not: zero for attention products."""
        return 0 if self.is_attention else self.stationary_elements + self.idle_elements


@dataclass(frozen=True)
class Workload:
    """The ordered products of a network, and how often each phase runs for one result.

    `repeats` maps a phase to its passes per result (denoise: 4 steps; decode: tokens per message).
    `parameters` counts all of the module's parameters, quantized or not; `waiting_elements` those of the
    tensors that wait for a later product at the worst moment of a pass.
    """

    name: str
    operators: tuple[Operator, ...]
    repeats: dict[str, int] = field(default_factory=dict)
    parameters: int = 0
    waiting_elements: int = 0

    @property
    def phases(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(op.phase for op in self.operators))

    @property
    def layers(self) -> tuple[str, ...]:
        """Layer names in order of first use: the keys of an Assignment for this network."""
        return tuple(dict.fromkeys(op.layer for op in self.operators))

    def layer_kinds(self) -> dict[str, str]:
        """Layer -> ``conv``, ``linear`` or ``attention``."""
        return {op.layer: "attention" if op.is_attention else op.kind for op in self.operators}

    def macs(self, phase: str | None = None) -> int:
        """MACs of one pass of `phase`, or of one whole result (all phases times their repeats)."""
        if phase is not None:
            return sum(op.macs for op in self.operators if op.phase == phase)
        return sum(op.macs * self.repeats.get(op.phase, 1) for op in self.operators)

    def merged(self, others: Iterable[Workload]) -> Workload:
        """This workload followed by `others` (a prefill and a decode pass of one network)."""
        operators, repeats, waiting = list(self.operators), dict(self.repeats), self.waiting_elements
        for other in others:
            operators += other.operators
            repeats.update(other.repeats)
            waiting = max(waiting, other.waiting_elements)
        return Workload(self.name, tuple(operators), repeats, self.parameters, waiting)
