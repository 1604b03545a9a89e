"""Language models that write: the work of prefill and decoding, and what they answer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from codesign.models.custom import Batch, CustomTask
from codesign.models.directories.options import Phases
from codesign.models.task import Example, Outputs, TextExample
from codesign.workload import Workload, trace

_SHOWN = 48  # tokens of a text that an example shows


def language_work(task: CustomTask, phases: Phases) -> Workload:
    """One answer: a prefill of the prompt, whose head runs for its last token, then a decode pass for each new token.

    A decode pass has the mean context: the prompt and half of the answer in the KV cache.
    """
    module = task.module
    device = next(module.parameters()).device
    prompt = torch.zeros(1, phases.prompt, dtype=torch.int64, device=device)
    context = torch.zeros(1, phases.prompt + phases.new_tokens // 2 - 1 or 1, dtype=torch.int64, device=device)
    last = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(module.forward).parameters else {}

    def prefill(module: nn.Module, tokens: Tensor) -> Any:
        return module(input_ids=tokens, use_cache=True, **last)

    with torch.no_grad():
        cache = prefill(module, context).past_key_values

    def decode(module: nn.Module, token: Tensor) -> Any:
        return module(input_ids=token, cache=cache, use_cache=True)

    first = trace(module, prompt, name=task.name, phase="prefill", forward=prefill, unseen=task.unseen)
    then = trace(
        module,
        prompt[:, :1],
        name=task.name,
        phase="decode",
        repeats=phases.new_tokens,
        forward=decode,
        unseen="warn",  # a single token is not routed to every expert
    )
    return first.merged([then])


def show_texts(tokenizer: Any, evaluation: Sequence[Batch]) -> Callable[[Outputs, bool], dict[str, list[Example]]]:
    """Examples: what the network takes to be the likeliest next token at each position of the first samples."""

    def show(outputs: Outputs, reference: bool) -> dict[str, list[Example]]:
        found: list[Example] = []
        batch = evaluation[0]
        for tokens, logits in zip(batch.inputs["input_ids"], outputs["output"], strict=True):
            source, target = tokens[:_SHOWN], tokens[_SHOWN : 2 * _SHOWN]
            guessed = logits[_SHOWN - 1 : 2 * _SHOWN - 1].argmax(-1)
            found.append(TextExample(*(tokenizer.decode(each.tolist()) for each in (source, target, guessed))))
        return {"output": found}

    return show
