"""A language model as one GGUF file, the types of whose tensors follow its formats, for llama.cpp."""

from codesign.export.gguf.writing import write

__all__ = ["write"]
