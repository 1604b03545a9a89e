"""Other weights in the place of a network's own, measured against the float network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from codesign.errors import InputError
from codesign.formats import Assignment, get_format
from codesign.models.custom import CustomTask
from codesign.quality import Evaluator
from codesign.quality.weights import digest_of, read_weights, with_weights


def moved(task: CustomTask, by: float) -> dict[str, torch.Tensor]:
    return {name: p.detach() + by for name, p in task.module.named_parameters()}


def test_the_reference_stays_the_float_network(tiny: CustomTask) -> None:
    whole = Assignment.uniform(tiny.workload(), "fp32")
    weights = moved(tiny, 0.01)
    evaluator = Evaluator(tiny, weights=weights)
    assert torch.equal(evaluator.reference()[0]["output"], Evaluator(tiny).reference()[0]["output"])
    with torch.no_grad():
        wanted = tiny.run(with_weights(tiny, weights).module)["output"]
    assert torch.allclose(evaluator.outputs(whole)["output"], wanted, atol=1e-4)
    assert evaluator(whole).value > Evaluator(tiny)(whole).value
    assert evaluator.float_quality().value == Evaluator(tiny).float_quality().value


def test_its_own_weights_change_nothing(tiny: CustomTask) -> None:
    assignment = Assignment.uniform(tiny.workload(), "int4:int8 + gptq")
    assert Evaluator(tiny, weights=moved(tiny, 0))(assignment) == Evaluator(tiny)(assignment)


def test_ranges_are_those_of_the_new_weights(tiny: CustomTask) -> None:
    evaluator = Evaluator(tiny, ranges="minmax", weights={"conv.weight": tiny.module.conv.weight.detach() * 3})
    site = ("to_q", "input")
    ranges = [e.network.ranges.get(site, get_format("int8")) for e in (evaluator, Evaluator(tiny, ranges="minmax"))]
    assert ranges[0] > ranges[1]  # type: ignore[operator]  # magnitudes


def test_the_cache_tells_weights_apart(tiny: CustomTask, tmp_path: Path) -> None:
    assignment = Assignment.uniform(tiny.workload(), "int8")
    own = Evaluator(tiny, cache=tmp_path)(assignment)
    other = Evaluator(tiny, cache=tmp_path, weights=moved(tiny, 0.01))
    assert other(assignment).value != own.value
    assert other.measured == 1
    again = Evaluator(tiny, cache=tmp_path, weights=moved(tiny, 0.01))
    assert again(assignment) == other(assignment)
    assert again.measured == 0
    assert digest_of(moved(tiny, 0)) != digest_of(moved(tiny, 0.01))


def test_weights_that_do_not_fit_are_refused_by_name(tiny: CustomTask) -> None:
    with pytest.raises(InputError, match=r"tiny: the network has no weight 'cov.weight'; did you mean 'conv.weight'"):
        with_weights(tiny, {"cov.weight": torch.zeros(1)})
    with pytest.raises(InputError, match=r"weight 'head.bias' has shape \[3\], expected \[4\]"):
        with_weights(tiny, {"head.bias": torch.zeros(3)})
    with pytest.raises(InputError, match=r"weight 'head.bias' holds NaN"):
        with_weights(tiny, {"head.bias": torch.full((4,), torch.nan)})


def test_files_that_hold_no_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    with pytest.raises(InputError, match=r"weights.safetensors: no such file"):
        read_weights(path)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="not a safetensors file"):
        read_weights(path)
    save_file({}, path)
    with pytest.raises(InputError, match="holds no weights"):
        read_weights(path)
