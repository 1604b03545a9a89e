"""What codesign quantizes is what an independent implementation of the formats quantizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from codesign.models import load_task
from codesign.models.custom import CustomTask
from codesign.models.directories import TaskOptions
from codesign.quality.evaluator import Evaluator
from examples.public import equality, fake_quantization


@pytest.mark.slow
@pytest.mark.parametrize("name", equality.FORMATS)
@pytest.mark.parametrize("kind", ["llama", "vit"])
def test_a_network_quantized_twice_is_the_same(written: Callable[[str], Path], kind: str, name: str) -> None:
    folder = written(kind)
    images = kind == "vit"
    data = str(folder.parents[1] / ("images" if images else "words.txt"))
    options = TaskOptions(data=data, sequences=3, batch=2, length=None if images else 32)
    task = load_task(f"transformers:{folder}", options=options)
    assert isinstance(task, CustomTask)
    task.module.set_attn_implementation("eager")
    apart, changed = equality.compare(task, name, Evaluator(task, ranges="minmax"))
    assert apart < 1e-4 * changed
    assert changed > 1e-3


def test_the_independent_implementation_knows_nothing_of_codesign() -> None:
    assert "codesign" not in fake_quantization.__dict__
    assert "import codesign" not in Path(fake_quantization.__file__).read_text()
    assert "from codesign" not in Path(fake_quantization.__file__).read_text()


def test_elements_of_fp4_are_rounded_to_even() -> None:
    given = torch.tensor([6.0, 5.0, 0.25, 0.75, 2.5, -3.5, 0.2, 0.3])
    assert fake_quantization.mx(given, "mxfp4", -1).tolist() == [6.0, 4.0, 0.0, 1.0, 2.0, -4.0, 0.0, 0.5]
