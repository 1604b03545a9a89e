"""A language model that `codesign export --to onnx` wrote, run by ONNX Runtime: what it writes, and how it scores.

    python -m examples.public.onnx_runtime DIR    # the folder of an exported SmolLM2; needs onnxruntime

Without a folder, SmolLM2-135M is exported first, to build/public/smollm2-onnx: int4_g32 rounded by GPTQ in the MLPs,
int8 elsewhere with activations scaled per token, attention in float32. Scored: perplexity 35.51, KL 0.0787; in ONNX
Runtime 1.32: perplexity 35.20, KL 0.0790, 214 MB. (Of such rounded activations, a change of 1e-6 in the embeddings
alone moves the perplexity by 1 to 2 %: the windows are 8 x 128 tokens.)
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from codesign import CodesignError
from codesign.export.networks import NetworkExporter
from codesign.export.onnx.proof import session
from codesign.export.onnx.write import MODEL
from codesign.export.origin import Origin
from codesign.export.registry import OWN
from codesign.export.scored import ScoredNetwork
from codesign.formats import Assignment, FormatPair
from codesign.models import Task
from codesign.quality import Evaluator
from codesign.search.space.written import TaskSpec
from examples.public.download import cache
from examples.public.smollm2 import PROMPT, directory
from examples.public.tasks import public_task

TOKENS = 40


class OnnxLanguageModel(nn.Module):
    """An exported language model with the interface of transformers: token ids in, an object with `logits` out."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.session = session(folder / MODEL)

    def forward(self, input_ids: Tensor, **_: Any) -> SimpleNamespace:
        (logits,) = self.session.run(["logits"], {"input_ids": input_ids.numpy()})
        return SimpleNamespace(logits=torch.from_numpy(logits))


@dataclass(frozen=True)
class Deployed:
    """What a network does in the foreign runtime."""

    text: str  # that it wrote after the prompt
    perplexity: float  # over the task's own windows
    kl: float  # of the next token from the float network's distribution, nats per token
    seconds_per_token: float  # of the text, each token by a pass over all before it


def deployed(folder: Path, evaluator: Evaluator, prompt: str = PROMPT, tokens: int = TOKENS) -> Deployed:
    """Run an exported SmolLM2 on the windows of its task, and let it write."""
    network = OnnxLanguageModel(folder)
    metrics = scores(evaluator.task, network, evaluator)
    start = time.perf_counter()
    text = written(network, prompt, tokens)
    return Deployed(text, metrics["perplexity"], metrics["kl"], (time.perf_counter() - start) / tokens)


def scores(task: Task, network: nn.Module, evaluator: Evaluator) -> dict[str, float]:
    """The metrics of a task for another network that takes the same inputs."""
    with torch.no_grad():
        found = task.scored(task.batches(network, full=True), evaluator.reference(full=True), full=True)
    return {each.name: each.reduce(each.values) for each in found}


def written(network: nn.Module, prompt: str, tokens: int) -> str:
    """What a network writes after a prompt of the chat, the most probable token each time."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory(), local_files_only=True)
    message = [{"role": "user", "content": prompt}]
    given = tokenizer.apply_chat_template(message, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    ids = given["input_ids"]
    length = ids.shape[1]
    while ids.shape[1] < length + tokens:
        best = network(input_ids=ids).logits[:, -1:].argmax(-1)
        ids = torch.cat([ids, best], dim=1)
        if int(best) == tokenizer.eos_token_id:
            break
    text: str = tokenizer.decode(ids[0, length:], skip_special_tokens=True)
    return text


def mixed(layers: Sequence[tuple[str, str]]) -> Assignment:
    """The design by hand: a pair for each (layer, kind)."""

    def pair(name: str, kind: str) -> FormatPair:
        if kind == "attention":
            return FormatPair("fp32", "fp32")
        return FormatPair.parse("int4_g32:fp32+gptq" if ".mlp." in name else "int8:int8_token")

    return Assignment.of_pairs({name: pair(name, kind) for name, kind in layers}, dict(layers))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="the folder of an exported SmolLM2")
    folder = parser.parse_args().folder
    try:
        evaluator = Evaluator(public_task("smollm2"), ranges="minmax")
        if folder is None:
            folder = cache() / "smollm2-onnx"
            network = ScoredNetwork(evaluator.task, mixed(list(evaluator.layers.items())), evaluator)
            origin = Origin("by hand", "mixed", "smollm2", TaskSpec(task=f"transformers:{directory()}"), Path())
            exporter = OWN["onnx"]
            assert isinstance(exporter, NetworkExporter)
            print(exporter.write(network, origin, folder), flush=True)
            said = {each.metric: each.value for each in evaluator.metrics(network.assignment)}
            print(f"scored: perplexity {said['perplexity']:.3f}, KL {said['kl']:.5f}", flush=True)
        found = deployed(folder, evaluator)
        print(f"onnxruntime: perplexity {found.perplexity:.3f}, KL {found.kl:.5f}")
        print(f"{PROMPT} -> {found.text} ({found.seconds_per_token:.2f} s a token)")
    except CodesignError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
