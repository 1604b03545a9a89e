"""What llama.cpp calls the parts of a language model of transformers, and the sizes that it asks for.

Source: llama.cpp, conversion/base.py, llama.py and qwen.py (set_gguf_parameters, permute, generate_extra_tensors).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from codesign.errors import InputError

# kind of network in transformers -> architecture in llama.cpp
ARCHITECTURES: Mapping[str, str] = MappingProxyType(
    {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
)
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


@dataclass(frozen=True)
class LanguageModel:
    """A language model that llama.cpp has, as transformers describes it."""

    config: Any

    @property
    def architecture(self) -> str:
        """Its name in llama.cpp."""
        return ARCHITECTURES[self.config.model_type]

    @property
    def head_dim(self) -> int:
        """Channels of a head."""
        found = getattr(self.config, "head_dim", None)
        return int(found or self.config.hidden_size // self.config.num_attention_heads)

    @property
    def rope(self) -> Mapping[str, Any]:
        """Parameters of the rotary embedding."""
        found = getattr(self.config, "rope_parameters", None)
        return found if isinstance(found, Mapping) else {}

    @property
    def window(self) -> int | None:
        """How many tokens back a token sees, where that is fewer than the context; llama.cpp has no such limit."""
        layers = getattr(self.config, "layer_types", None)
        slides = "sliding_attention" in layers if layers else getattr(self.config, "use_sliding_window", True)
        found = getattr(self.config, "sliding_window", None) if slides else None
        return int(found) if found and found < self.config.max_position_embeddings else None

    def tensor(self, name: str) -> str | None:
        """The name of a parameter in GGUF; None if llama.cpp has no place for it."""
        import gguf

        kind = next(each for each, n in gguf.MODEL_ARCH_NAMES.items() if n == self.architecture)
        names = gguf.get_tensor_name_map(kind, self.config.num_hidden_layers)
        found: str | None = names.get_name(name, try_suffixes=(".weight", ".bias"))
        return found

    def heads(self, name: str) -> int | None:
        """Heads of a parameter whose rows llama.cpp keeps in another order; None for others.

        The architecture `llama` rotates neighbours, transformers the halves of a head.
        """
        if self.architecture != "llama":
            return None
        part = name.rpartition(".")[0].rpartition(".")[2]
        counts = {"q_proj": self.config.num_attention_heads, "k_proj": self.config.num_key_value_heads}
        return int(counts[part]) if part in counts else None

    def sizes(self) -> Iterator[tuple[str, int | float | str]]:
        """Metadata, by the names of the methods of gguf.GGUFWriter without ``add_``."""
        c = self.config
        yield "vocab_size", int(c.vocab_size)
        yield "context_length", self.window or int(c.max_position_embeddings)
        yield "embedding_length", int(c.hidden_size)
        yield "block_count", int(c.num_hidden_layers)
        yield "feed_forward_length", int(c.intermediate_size)
        yield "head_count", int(c.num_attention_heads)
        yield "head_count_kv", int(c.num_key_value_heads)
        yield "key_length", self.head_dim
        yield "value_length", self.head_dim
        yield "layer_norm_rms_eps", float(c.rms_norm_eps)
        yield "rope_dimension_count", self.head_dim
        yield "rope_freq_base", float(self.rope.get("rope_theta", 10000.0))
        if self.rope.get("rope_type") == "linear":
            yield "rope_scaling_factor", float(self.rope["factor"])

    def frequencies(self) -> Tensor | None:
        """What the rotary frequencies of Llama 3.1 are divided by, float32 [head_dim / 2]; None for other networks."""
        if self.rope.get("rope_type") != "llama3":
            return None
        factor, low, high = (float(self.rope[f"{key}factor"]) for key in ("", "low_freq_", "high_freq_"))
        context = float(self.rope["original_max_position_embeddings"])
        steps = torch.arange(0, self.head_dim, 2, dtype=torch.float32) / self.head_dim
        lengths = 2 * math.pi * float(self.rope["rope_theta"]) ** steps
        smooth = ((context / lengths - low) / (high - low)).clamp(0, 1)
        return 1 / ((1 - smooth) / factor + smooth)


def language_model(module: nn.Module, task: str) -> LanguageModel:
    """The language model of a task; raises InputError in one line if llama.cpp cannot compute it."""
    config = getattr(module, "config", None)
    kind = getattr(config, "model_type", None)
    if kind not in ARCHITECTURES or not type(module).__name__.endswith("ForCausalLM"):
        what = f"a {type(module).__name__}" + (f" of kind '{kind}'" if kind else "")
        raise InputError(
            f"'{task}' is {what}; gguf holds causal language models of transformers:DIR of the kinds "
            f"{', '.join(ARCHITECTURES)}"
        )
    found = LanguageModel(config)
    for reason in _unlike(found):
        raise InputError(f"'{task}': llama.cpp computes this kind of network ({kind}) without {reason}")
    return found


def _unlike(model: LanguageModel) -> Iterator[str]:
    """What a configuration asks for and llama.cpp's architecture does not have."""
    c = model.config
    if c.hidden_act not in ("silu", "swish"):
        yield f"the activation '{c.hidden_act}'"
    kind = model.rope.get("rope_type", "default")
    if kind not in ("default", "linear", "llama3"):
        yield f"rotary embeddings of the type '{kind}'"
    if float(model.rope.get("partial_rotary_factor") or 1) != 1:
        yield "rotary embeddings of a part of a head"
    if model.architecture == "qwen2" and model.head_dim * c.num_attention_heads != c.hidden_size:
        yield "heads of another size than their share of the embedding"
    layers = set(getattr(c, "layer_types", None) or ["full_attention"])
    if len(layers) > 1:
        yield "sliding windows in some of its layers"


def interleaved(rows: Any, heads: int) -> Any:
    """Rows of queries or keys [N, ...] in llama.cpp's order, of arrays and of tensors."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def restored(rows: Any, heads: int) -> Any:
    """The inverse of `interleaved`."""
    return rows.reshape(heads, -1, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)
