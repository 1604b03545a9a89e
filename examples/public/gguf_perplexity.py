"""What a language model exported as GGUF is worth in llama.cpp: its perplexity on a text, and what it writes.

    python -m examples.public.gguf_perplexity build/exported/assistant/model.gguf build/public/english-evaluation.txt \
        --sequences 8 --length 128 --cache fp16

needs llama-cpp-python (0.3.36). The windows of the text are those of a `transformers:DIR` task with the same numbers of
sequences and tokens and a `calibration` text of its own, so that its metric `perplexity` can be compared.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codesign import CodesignError
from codesign.export.gguf.llama import CACHES, logits, opened
from codesign.models.directories import data, text_metrics

PROMPT = "Rewrite this politely: I will not come to your meeting, it is a waste of my time."


def windows(model: Any, text: Path, sequences: int, length: int) -> Tensor:
    """The windows of a text that a task evaluates, by the tokenizer in the file, int64 [sequences, length]."""
    ids = model.tokenize(data.read_text(text).encode(), add_bos=False, special=True)
    return data.windows(ids, sequences, length, f"'{text}'")


def perplexity(model: Any, tokens: Tensor) -> float:
    """The metric `perplexity` of a task, of tokens [sequences, length]."""
    losses = []
    for row in tokens:
        found = logits(model, row.tolist())[None]
        losses.append(text_metrics.cross_entropy(found, found, text_metrics.next_tokens(row[None])))
    reduce = text_metrics.PERPLEXITY.reduce
    assert reduce is not None
    return float(reduce(torch.cat(losses).numpy()))


def written(file: Path, prompt: str, tokens: int, cache: str) -> str:
    """What the network answers, the most probable token each time."""
    with opened(file, 256 + tokens, cache) as model:
        message = [{"role": "user", "content": prompt}]
        made = model.create_chat_completion(message, max_tokens=tokens, temperature=0.0)
        found: str = made["choices"][0]["message"]["content"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="a .gguf file")
    parser.add_argument("text", type=Path, help="a text file in UTF-8")
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--length", type=int, default=256, help="tokens of a sequence")
    parser.add_argument("--cache", choices=list(CACHES), default="fp16", help="format of keys and values")
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--tokens", type=int, default=40, help="to write after the prompt")
    asked = parser.parse_args()
    try:
        with opened(asked.file, asked.length, asked.cache) as model:
            found = perplexity(model, windows(model, asked.text, asked.sequences, asked.length))
        answer = written(asked.file, asked.prompt, asked.tokens, asked.cache)
    except CodesignError as error:
        sys.exit(f"error: {error}")
    print(json.dumps({"perplexity": found, "prompt": asked.prompt, "answer": answer}, indent=1))


if __name__ == "__main__":
    main()
