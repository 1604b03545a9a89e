"""Networks of every kind from transformers' directories, by nothing but a space file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from codesign.cli import main
from codesign.formats import Assignment
from codesign.models import load_task
from codesign.models.custom import CustomTask
from codesign.models.directories import Phases, TaskOptions
from codesign.quality.evaluator import Evaluator
from tests.models.directories.networks import NETWORKS, TEXT_FILE

Written = Callable[[str], Path]
QUICK = ("gpt2", "vit")
CAUSAL = ("llama", "qwen3", "gemma3", "mixtral", "gpt2")
TEXT = {"sequences": 2, "length": 16, "phases": {"prompt": 16, "new_tokens": 8}}


def options(kind: str, folder: Path) -> dict[str, Any]:
    if kind == "vit":
        return {"data": str(folder.parents[1] / "images"), "sequences": 3}
    given = TEXT | {"data": str(folder.parents[1] / "words.txt")}
    return given if kind in CAUSAL else {key: value for key, value in given.items() if key != "phases"}


def in_a_space(kind: str, folder: Path) -> dict[str, Any]:
    return {"task": f"transformers:{folder}"} | options(kind, folder)


def loaded(kind: str, folder: Path, **more: Any) -> CustomTask:
    given = options(kind, folder) | more
    if "phases" in given:
        given["phases"] = Phases(**given["phases"])
    task = load_task(f"transformers:{folder}", options=TaskOptions(**given))
    assert isinstance(task, CustomTask)
    return task


def space(folder: Path, task: Mapping[str, Any], **more: Any) -> Path:
    """A space file of one network, in formats alone unless `more` has hardware."""
    content = {
        "name": "found",
        "tasks": {"net": task},
        "pairs": ["int8", "mxfp4"],
        "objectives": ["net.quality", "net.weight_bytes"],
        "search": {"evaluations": 4, "batch": 2, "front_size": 4},
    } | more
    file = folder / "space.yaml"
    file.write_text(json.dumps(content, indent=1))  # JSON is YAML too
    return file


class Counted(TorchFunctionMode):
    """What runs in a module, by hooks of its own: names of weights in products, and products of activations."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.layers = module, set[str]()
        self.attention = 0  # products of two activations, two to each attention
        self._running: list[str] = []
        self._bare = {  # weights of modules that call functions: routers, banks of experts
            id(p): f"{name}.{key}".removesuffix(".weight")
            for name, inner in module.named_modules()
            if not isinstance(inner, (nn.Linear, nn.Conv2d, nn.Embedding))
            for key, p in inner._parameters.items()
            if p is not None and p.ndim > 1
        }

    def __enter__(self) -> Counted:
        from transformers.pytorch_utils import Conv1D

        self._hooks = []
        for name, inner in self.module.named_modules():
            if isinstance(inner, (nn.Linear, nn.Conv1d, nn.Conv2d, Conv1D)):
                self._hooks.append(inner.register_forward_hook(lambda *_, name=name: self.layers.add(name)))
        super().__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        super().__exit__(*exc)
        for hook in self._hooks:
            hook.remove()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").strip("_")
        operands = [each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)]
        if func is F.scaled_dot_product_attention:
            self.attention += 2
        elif name in ("matmul", "bmm") and all(each.ndim == 4 for each in operands[:2]):
            self.attention += operands[0].shape[-1] > 1  # not the angles of rotary positions
        for each in operands if name in ("linear", "grouped_mm") else ():
            owner = self._bare.get(id(each if each._base is None else each._base))
            self.layers |= {owner} if owner else set()
        return func(*args, **kwargs)


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
def test_layers_that_run_are_layers_that_are_found(written: Written, kind: str) -> None:
    task = loaded(kind, written(kind))
    with torch.no_grad(), Counted(task.module) as counted:
        task.call(task.module, task.evaluation.first().inputs)
    kinds = task.workload().layer_kinds()
    assert {layer for layer, what in kinds.items() if what != "attention"} == counted.layers
    assert 2 * sum(what == "attention" for what in kinds.values()) == counted.attention > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
def test_fp32_is_the_float_network_and_fewer_bits_lose_more(written: Written, kind: str) -> None:
    task = loaded(kind, written(kind))
    evaluator, workload = Evaluator(task), task.workload()
    exact = evaluator.outputs(Assignment.uniform(workload, "fp32"))["output"]
    with torch.no_grad():
        plain = torch.cat([task._scored(task.call(task.module, batch.inputs)) for batch in task.evaluation])
    assert torch.equal(exact, torch.cat([part["output"] for part in evaluator.reference()]))
    assert torch.allclose(exact, plain, atol=1e-4, rtol=1e-4)  # torch's fused attention sums in another order
    floats = evaluator.float_quality().value
    int8, mxfp4 = (evaluator(Assignment.uniform(workload, name)).value for name in ("int8", "mxfp4"))
    assert floats < int8 < mxfp4


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_space_file_is_valid_and_explained(
    written: Written, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = space(tmp_path, in_a_space(kind, written(kind)))
    assert main(["validate", str(file)]) == 0
    capsys.readouterr()
    assert main(["explain", str(file), "--json"]) == 0
    explained = json.loads(capsys.readouterr().out)
    assert "net" in str(explained)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [pytest.param(k, marks=[] if k in QUICK else pytest.mark.slow) for k in NETWORKS])
def test_a_space_file_is_all_that_a_search_needs(written: Written, kind: str, tmp_path: Path) -> None:
    file = space(tmp_path, in_a_space(kind, written(kind)))
    assert main(["search", str(file), "--out", str(tmp_path / "study")]) == 0
    front = json.loads((tmp_path / "study" / "front.json").read_text())
    assert front["designs"]
    assert front["evaluations"] == 4


def test_paths_count_from_the_space_file(written: Written, tmp_path: Path) -> None:
    (tmp_path / "here").symlink_to(written("bert"), target_is_directory=True)
    (tmp_path / "words.txt").write_text(TEXT_FILE)
    given = TaskOptions(data="words.txt", sequences=2, length=16)
    task = load_task("transformers:here", search_path=tmp_path, options=given)
    assert task.name == "here"


@pytest.mark.slow
@pytest.mark.long
def test_workers_and_exports_have_the_data_of_the_space(written: Written, tmp_path: Path) -> None:
    """Its sizes too, and what they name from its folder."""
    pytest.importorskip("brevitas")
    folder = written("llama")
    task = in_a_space("llama", folder) | {"task": f"transformers:{folder.name}", "data": "words.txt"}
    (tmp_path / folder.name).symlink_to(folder, target_is_directory=True)
    (tmp_path / "words.txt").write_text(TEXT_FILE)
    study = tmp_path / "study"
    assert main(["search", str(space(tmp_path, task)), "--out", str(study), "--workers", "2"]) == 0
    front = json.loads((study / "front.json").read_text())
    assert front["evaluations"] == 4
    for name in (folder.name, "words.txt"):  # a study that is looked at elsewhere names them from there
        (study / name).symlink_to(tmp_path / name)
    design = front["designs"][0]
    assert main(["export", str(study), "--design", design["id"], "--to", "brevitas", "-o", str(tmp_path / "out")]) == 0
    manifest = json.loads((tmp_path / "out" / "net" / "manifest.json").read_text())
    assert manifest["options"] == TEXT | {"data": "words.txt"}


# ---- language models ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CAUSAL)
def test_a_language_model_reads_a_prompt_and_writes_tokens(written: Written, kind: str) -> None:
    work = loaded(kind, written(kind)).workload()
    assert work.repeats == {"prefill": 1, "decode": 8}
    by_phase = {phase: [op for op in work.operators if op.phase == phase] for phase in work.phases}
    for phase, passes in by_phase.items():
        (head,) = (op for op in passes if op.layer == "lm_head")
        assert (head.m, head.n) == (1, 260), phase
        assert {op.layer for op in passes} == set(work.layers)
    elements = {"gpt2": 32, "gemma3": 16}.get(kind, 16)  # of a token's keys in a layer: heads of keys times their size
    for op in by_phase["prefill"]:
        if op.is_attention:
            assert (op.kv_read_elements, op.kv_write_elements) == (0, 16 * elements)
    for op in by_phase["decode"]:
        if op.is_attention:
            seen = (
                8 if kind == "gemma3" and ".0." in op.layer else 20
            )  # a sliding window; the prompt and half the answer
            assert op.kv_write_elements == elements
            assert op.kv_read_elements == (seen - 1) * elements
            assert op.m == 1


def test_a_token_reads_the_experts_that_it_is_sent_to(written: Written) -> None:
    work = loaded("mixtral", written("mixtral")).workload()
    banks = [op for op in work.operators if op.phase == "decode" and "experts" in op.layer]
    assert banks
    for op in banks:
        assert op.idle_elements == op.stationary_elements == op.weight_elements // 2
        assert op.m == 2


@pytest.mark.slow
def test_time_of_a_token_is_an_objective(written: Written, tmp_path: Path) -> None:
    hardware = {"units": {"sets": [["int8"], ["mxfp4"]]}, "rows": [4], "columns": [4], "sram_kib": [16, 64]}
    file = space(
        tmp_path,
        in_a_space("llama", written("llama")),
        hardware=hardware,
        objectives=["net.quality", "area_mm2", "net.latency_per_token_s"],
    )
    assert main(["search", str(file), "--out", str(tmp_path / "study")]) == 0
    designs = json.loads((tmp_path / "study" / "front.json").read_text())["designs"]
    assert all(design["objectives"]["net.latency_per_token_s"] > 0 for design in designs)
    assert all(design["cost"]["latency_s"] > 8 * design["objectives"]["net.latency_per_token_s"] for design in designs)


# ---- a fixed pair of attention products ---------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("pair", ["bf16", "fp16:fp16"])
def test_attention_takes_the_pair_that_is_written_and_other_layers_do_not(
    written: Written, tmp_path: Path, pair: str
) -> None:
    file = space(tmp_path, in_a_space("llama", written("llama")) | {"attention": pair})
    assert main(["search", str(file), "--out", str(tmp_path / "study")]) == 0
    front = json.loads((tmp_path / "study" / "front.json").read_text())
    name = pair.partition(":")[0]
    for design in front["designs"]:
        for layer, formats in design["assignments"]["net"].items():
            if layer.endswith("self_attn"):
                assert formats == {"activation": name, "key": name, "value": name}
            else:
                assert set(formats.values()) <= {"int8", "mxfp4", "gptq"}
    details = json.loads((tmp_path / "study" / "details.json").read_text())
    assert {each["label"] for each in details["baselines"]} == {"uniform int8:int8", "uniform mxfp4:mxfp4+gptq"}


@pytest.mark.slow
def test_on_a_chip_the_units_have_the_pair_of_attention(written: Written, tmp_path: Path) -> None:
    hardware = {"units": {"sets": [["int8", "bf16"], ["mxfp4", "bf16"], ["int8"]]}}
    hardware |= {"rows": [4], "columns": [4], "sram_kib": [64]}
    more = {"hardware": hardware, "objectives": ["net.quality", "area_mm2"]}
    file = space(tmp_path, in_a_space("llama", written("llama")) | {"attention": "bf16"}, **more)
    assert main(["search", str(file), "--out", str(tmp_path / "study")]) == 0
    study = tmp_path / "study"
    for design in json.loads((study / "front.json").read_text())["designs"]:
        assert "bf16:bf16" in design["accelerator"]["pairs"]
    baselines = json.loads((study / "details.json").read_text())["baselines"]
    assert {each["label"] for each in baselines} == {"uniform int8:int8", "uniform mxfp4:mxfp4+gptq"}
    assert all(len(each["accelerator"]["pairs"]) == 2 for each in baselines)


def test_units_without_the_pair_of_attention_are_refused(
    written: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hardware = {"units": {"sets": [["int8"], ["mxfp4"]]}, "rows": [4], "columns": [4], "sram_kib": [64]}
    file = space(tmp_path, in_a_space("llama", written("llama")) | {"attention": "bf16"}, hardware=hardware)
    assert main(["validate", str(file)]) == 2
    said = capsys.readouterr().err.strip()
    line = next(i for i, text in enumerate(file.read_text().splitlines(), 1) if '"attention"' in text)
    assert f"{file}:{line}: attention: no unit of the space supports bf16:bf16" in said
    assert len(said.splitlines()) == 1
