"""What ``import codesign`` gives a user's script."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import codesign

SCRIPT = """
import torch
from torch import nn

import codesign

module = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
inputs = torch.randn(4, 64)
workload: codesign.Workload = codesign.trace(module, inputs)
assignment: codesign.Assignment = codesign.Assignment.uniform(workload, "int4_g32:int8")
quantized: nn.Module = codesign.quantize(module, assignment, inputs, ranges="minmax")
chip: codesign.Accelerator = codesign.load_accelerator("phone-npu-small")
seconds: float = codesign.cost(workload, chip, assignment).latency_s
fmt: codesign.Format = codesign.get_format("mxfp4")
loss = codesign.Loss(lambda outputs, reference: (outputs - reference).square().mean(dim=1), scale="raw")


def first_area(space: codesign.SearchSpace) -> float:
    study: codesign.Study = codesign.search(space, workers=2, sampler="nsga2")
    design: codesign.Design = study.front[0]
    return design.cost.area_mm2
"""


def test_every_name_that_is_promised_is_there() -> None:
    assert all(getattr(codesign, name) is not None for name in codesign.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = codesign.nothing


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, codesign; sys.exit(bool({'torch', 'optuna', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow  # a fresh process: most of its time is the import of torch
def test_importing_all_of_it_changes_nothing_global() -> None:
    code = """
import logging, sys, threading, warnings
import moocore, optuna, scipy.optimize, scipy.sparse, scipy.special, scipy.stats, torch  # these do
before = optuna.logging.get_verbosity(), list(warnings.filters), list(sys.path), torch.get_num_threads()
import codesign, codesign.search.samplers, codesign.search.queue.worker, codesign.report, codesign.export
[getattr(codesign, name) for name in codesign.__all__]
after = optuna.logging.get_verbosity(), list(warnings.filters), list(sys.path), torch.get_num_threads()
sys.exit(before != after)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_quantized_module_is_what_a_study_scores() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
    inputs = torch.randn(16, 64)
    assignment = codesign.Assignment.uniform(codesign.trace(module, inputs[:1]), "int4:int8")
    quantized = codesign.quantize(module, assignment, inputs)
    evaluator = codesign.Evaluator(_task(module, inputs))
    assert torch.equal(quantized(inputs), evaluator.outputs(assignment)["output"])
    assert not torch.equal(quantized(inputs), module(inputs))


def test_an_assignment_of_other_layers_is_refused() -> None:
    module, inputs = nn.Linear(8, 4), torch.randn(4, 8)
    other = codesign.Assignment.uniform(codesign.trace(nn.Sequential(nn.Linear(8, 4)), inputs), "int8")
    with pytest.raises(codesign.InputError, match="no layer '0'"):
        codesign.quantize(module, other, inputs)


def test_a_uniform_assignment_of_an_unknown_format_offers_the_nearest() -> None:
    with pytest.raises(codesign.InputError, match="did you mean 'mxfp4'"):
        codesign.Assignment.uniform(codesign.trace(nn.Linear(8, 4), torch.randn(1, 8)), "mxpf4")


@pytest.mark.slow
def test_a_script_of_a_users_own_passes_mypy_strict(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "script.py"]
    # an editable install is found by an import hook, which mypy does not run; by its path mypy finds it, and looks at
    # the package as closely as at the script: what it says of the script counts
    environment = os.environ | {"MYPYPATH": str(Path(codesign.__file__).parents[1])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "script.py" not in done.stdout, done.stdout
    assert done.stdout, done.stderr


def _task(module: nn.Module, inputs: torch.Tensor) -> codesign.Task:
    from codesign.models.custom import CustomTask

    return CustomTask("net", module, inputs, inputs, None)
