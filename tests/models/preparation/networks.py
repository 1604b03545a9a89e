"""Small networks with weights and gains that matter, and what the tests ask of a prepared task."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.models.custom import CustomTask
from codesign.models.preparation import Match, Preparation, Step, prepared
from codesign.models.preparation.running import difference, first_outputs
from codesign.models.task import Task
from codesign.workload import ProductInterceptor


def shaken(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module with random biases, gains, shifts and running statistics; weights become uneven."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator)
            scale = torch.rand(len(tensor), generator=generator).mul(4).exp().view(-1, *[1] * (tensor.ndim - 1))
            if tensor.ndim > 1:
                tensor.copy_(noise * scale / scale.max() * 0.5)
            else:
                tensor.copy_(noise.abs() + 0.5 if "var" in name or "weight" in name else 0.3 * noise)
    return module.eval()


def task_of(module: nn.Module, *shape: int, **more: Any) -> CustomTask:
    x = torch.randn(4, *shape, generator=torch.Generator().manual_seed(1))
    return CustomTask("small", shaken(module), x, x, **more)


def checked(task: Task, *steps: Step) -> tuple[Task, Preparation]:
    """The prepared task: of the same outputs and layers, while the original is untouched."""
    before = {name: tensor.clone() for name, tensor in task.module.state_dict().items()}
    made = prepared(task, steps)
    found = made.preparation
    assert found is not None
    assert found.steps == steps
    assert type(made) is type(task)
    assert all(torch.equal(before[name], tensor) for name, tensor in task.module.state_dict().items())
    (old, layers), (new, same) = watched(task), watched(made)
    assert layers == same
    assert difference(old, new) < 1e-4
    return made, found


def watched(task: Task) -> tuple[list[Tensor], list[str]]:
    """Outputs of the network on its calibration data, and the layers that run."""
    layers: list[str] = []
    with ProductInterceptor(task.module, lambda product: layers.append(product.layer)):
        return first_outputs(task, task.module), layers


def modules(matches: tuple[Match, ...]) -> list[tuple[str, ...]]:
    return [match.modules for match in matches]


def reasons(found: Preparation) -> dict[str, str]:
    return {each.module: each.reason for each in found.unmatched}


class Apply(nn.Module):
    """Parts by name, put together by a function."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self._put = forward

    def forward(self, x: Tensor) -> Tensor:
        return self._put(self, x)


def resnet() -> CustomTask:
    """Convolutions with batch normalisations, one of them after an addition."""

    def put(m: Any, x: Tensor) -> Tensor:
        x = F.relu(m.bn1(m.conv1(x)))
        x = x + m.bn3(m.conv3(F.relu(m.bn2(m.conv2(x)))))
        x = F.relu(m.bn4(x))
        x = F.relu(m.bn5(m.up(x)))
        return m.head(x.mean(dim=(2, 3)))

    return task_of(
        Apply(
            put,
            conv1=nn.Conv2d(3, 8, 3, padding=1, bias=False),
            bn1=nn.BatchNorm2d(8),
            conv2=nn.Conv2d(8, 8, 3, padding=1, groups=4),
            bn2=nn.BatchNorm2d(8),
            conv3=nn.Conv2d(8, 8, 1, bias=False),
            bn3=nn.BatchNorm2d(8),
            bn4=nn.BatchNorm2d(8),
            up=nn.ConvTranspose2d(8, 6, 2, stride=2, groups=2),
            bn5=nn.BatchNorm2d(6),
            head=nn.Linear(6, 4),
        ),
        *(3, 8, 8),
    )


@functools.cache
def language_model(kind: str, **more: Any) -> CustomTask:
    """A causal language model of transformers with random weights and gains."""
    import transformers

    config: dict[str, Any] = {
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "vocab_size": 100,
        "max_position_embeddings": 64,
    }
    cls = getattr(transformers, "GPT2LMHeadModel" if kind == "GPT2" else f"{kind}ForCausalLM")
    module = shaken(cls(cls.config_class(**config | more)))
    tokens = torch.randint(0, 100, (2, 12), generator=torch.Generator().manual_seed(0))
    data = {"input_ids": tokens, "use_cache": False}
    return CustomTask("language", module, data, data, output="logits")
