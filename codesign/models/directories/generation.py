"""Language models that write: the work of prefill and decoding, and what they answer."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from codesign.models.custom import Batch, CustomTask
from codesign.models.directories.options import Phases
from codesign.models.task import Example, Outputs, TextExample
from codesign.workload import Workload, trace

_SHOWN = 48  # tokens of a text that an example shows


def language_work(task: CustomTask, phases: Phases) -> Workload:
    """One answer: a prefill of the prompt, whose head runs for its last token, then a decode pass for each new token.

    A decode pass has the mean context: the prompt and half of the answer in the KV cache. The tokens are those of the
    evaluation data, which decide the experts that are read.
    """
    takes = inspect.signature(task.module.forward).parameters
    keeps = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
    cached = "cache" if "cache" in takes else "past_key_values"  # its name before transformers 5.24

    def run(module: nn.Module, inputs: Mapping[str, Any]) -> Any:
        return module(**inputs, **keeps, use_cache=True)

    prompt = _tokens(task, phases.prompt)
    with torch.no_grad(), _grouped_heads():
        context = run(task.module, {"input_ids": _tokens(task, phases.prompt + phases.new_tokens // 2 - 1 or 1)})
        token = {"input_ids": prompt[:, :1], cached: context[cached]}
        first = trace(
            task.module, {"input_ids": prompt}, name=task.name, phase="prefill", forward=run, unseen=task.unseen
        )
        # a single token is not routed to every expert
        then = trace(
            task.module, token, name=task.name, phase="decode", repeats=phases.new_tokens, forward=run, unseen="warn"
        )
    return first.merged([then])


def _tokens(task: CustomTask, count: int) -> Tensor:
    """The first tokens of the evaluation data, repeated where they are fewer, int64 [1, count]."""
    inputs = task.evaluation.first().inputs
    found = inputs["input_ids"].flatten()[:count] if "input_ids" in inputs else torch.zeros(1, dtype=torch.int64)
    device = next(task.module.parameters()).device
    return found.repeat(-(-count // len(found)))[None, :count].to(device)


def _grouped_heads() -> Any:
    """transformers then leaves keys and values as they are cached, and does not repeat them for every query head."""
    return patch.dict(os.environ, {"TRANSFORMERS_SDPA_FORCE_GQA": "1"})


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
