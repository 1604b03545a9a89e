"""A network that is larger than memory is the same network, read block by block."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.formats import Assignment, FormatPair
from codesign.models import load_task
from codesign.models.custom import CustomTask
from codesign.models.directories import TaskOptions
from codesign.models.streaming import is_streamed, present, streamed, weights_of
from codesign.quality.evaluator import Evaluator
from codesign.quality.sensitivity import sensitivities
from tests.models.directories.networks import NETWORKS

Written = Callable[[str], Path]
FEW = 1e-5  # GiB: less than any of these networks


def loaded(written: Written, kind: str, memory_gib: float | None) -> CustomTask:
    folder = written(kind)
    images = kind == "vit"
    given = {"data": str(folder.parents[1] / ("images" if images else "words.txt")), "sequences": 3, "batch": 2}
    options = TaskOptions(**given, memory_gib=memory_gib, length=None if images else 16)
    task = load_task(f"transformers:{folder}", options=options)
    assert isinstance(task, CustomTask)
    return task


def held(module: nn.Module) -> int:
    """Bytes of the parameters that are in memory."""
    return sum(parameter.untyped_storage().nbytes() for parameter in module.parameters())


def reached(module: nn.Module) -> list[int]:
    """Appended to, by every layer that is called: the bytes that are in memory then."""
    found: list[int] = []
    for inner in module.modules():
        if isinstance(inner, nn.Linear):
            inner.register_forward_pre_hook(lambda *_: found.append(held(module)))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_streamed_network_is_the_network_loaded_whole(written: Written, kind: str) -> None:
    whole, streamed = loaded(written, kind, None), loaded(written, kind, FEW)
    assert held(whole.module) > 0
    assert held(streamed.module) == 0
    assert streamed.fingerprint() == whole.fingerprint()
    assert streamed.workload() == whole.workload()
    with torch.no_grad():
        ours, theirs = (task.run(task.module)["output"] for task in (streamed, whole))
    assert torch.equal(ours, theirs)
    most = reached(streamed.module)
    for name in ("int8", "mxfp4"):
        assignment = Assignment.uniform(whole.workload(), name)
        one, other = (Evaluator(task)(assignment) for task in (streamed, whole))
        assert one == other
    assert held(streamed.module) == 0
    assert 0 < max(most) < held(whole.module)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "mixtral", "gpt2", "t5"])
def test_sensitivities_of_a_streamed_network_are_those_of_the_whole(written: Written, kind: str) -> None:
    pairs = [FormatPair.parse(name) for name in ("int8", "mxfp4")]
    tables, tasks = [], [loaded(written, kind, memory) for memory in (None, FEW)]
    for task in tasks:
        tables.append(sensitivities(Evaluator(task), pairs))
        assert held(tasks[1].module) == 0
    assert np.array_equal(*tables)
    assert (tables[0] > 0).all()


def test_weights_are_there_while_they_are_looked_at(written: Written) -> None:
    module = loaded(written, "llama", FEW).module
    head = module.get_parameter("lm_head.weight")
    assert is_streamed(module, head)
    with present(module, head):
        assert is_streamed(module, head[3:5].T)
        with present(module, head[3:5]):
            assert held(module) == head.numel() * 4
        assert held(module) == head.numel() * 4
        assert head.abs().sum() > 0
    assert held(module) == 0
    for name, tensor in weights_of(module):
        assert isinstance(tensor, Tensor), name
        assert torch.isfinite(tensor).all()
    assert held(module) == 0


def test_weights_are_given_up_where_a_block_raises(written: Written) -> None:
    module = loaded(written, "llama", FEW).module
    with pytest.raises(IndexError):
        module(input_ids=torch.tensor([[100_000]]))
    assert held(module) == 0


def test_a_weight_without_a_file_is_named(tmp_path: Path) -> None:
    with torch.device("meta"):
        module = nn.Linear(4, 4)
    with pytest.raises(InputError, match="read block by block, and its files hold no 'weight'"):
        streamed(module, tmp_path)
