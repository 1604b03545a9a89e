"""Perplexity of any language model on the windows of tokens that a task scores, and text from an exported directory.

    python -m examples.public.perplexity DIRECTORY    # one that `codesign export --to compressed-tensors` wrote

prints the perplexity of the directory, as transformers opens it, and a sentence that it writes.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from codesign.models.directories.data import read_text, windows
from examples.public.download import cache
from examples.public.smollm2 import PROMPT, written

SEQUENCES, LENGTH = 8, 128  # as examples/public/deploy.yaml and search_spaces/public.yaml have them
NEW_TOKENS = 40

Logits = Callable[[Tensor], Tensor]  # of tokens [1, n], [1, n, vocabulary]


def perplexity(logits: Logits, tokens: Iterable[Tensor]) -> float:
    """exp of the mean negative log-likelihood of the next token, window by window as a task's metric `perplexity` has
    it; tokens: int64 [n] each."""
    losses = []
    for window in tokens:
        with torch.no_grad():
            found = logits(window[None])[0, :-1].float()
        losses.append(float(F.cross_entropy(found, window[1:])))
    return math.exp(sum(losses) / len(losses))


def scored_windows(tokenizer: Any, text: Path, sequences: int = SEQUENCES, length: int = LENGTH) -> Tensor:
    """The windows of a text file that a task with `data` and `calibration` evaluates, int64 [sequences, length]."""
    ids = tokenizer(read_text(text), add_special_tokens=False)["input_ids"]
    return windows(ids, sequences, length, f"'{text}'")


def of_directory(folder: Path, text: Path, dtype: torch.dtype | str = "auto") -> dict[str, Any]:
    """Perplexity of a directory in transformers, quantized or not, and what it writes."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, **options)
    module: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **options).eval()
    found = perplexity(lambda ids: module(input_ids=ids, use_cache=False).logits, scored_windows(tokenizer, text))
    answer = written(module, tokenizer, PROMPT, chat=tokenizer.chat_template is not None, tokens=NEW_TOKENS)
    return {"perplexity": found, "dtype": str(module.dtype).removeprefix("torch."), "text": answer.strip()}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--text", type=Path, default=cache() / "english-evaluation.txt")
    arguments = parser.parse_args(argv)
    print(json.dumps(of_directory(arguments.directory, arguments.text), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
