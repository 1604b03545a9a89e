"""What a network with tensors of torchao promises."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from codesign.errors import CodesignError, InputError
from codesign.export import torchao as exporter
from codesign.export.networks import NetworkExporter, WrittenNetwork
from codesign.export.origin import Origin
from codesign.export.proof import PROVENANCE, sqnr_db
from codesign.export.registry import OWN
from codesign.export.scored import ScoredNetwork
from codesign.export.torchao import load_torchao
from codesign.export.torchao_tensors import check_tensor, quantized_layers
from codesign.formats import Assignment, FormatPair, LayerFormats
from codesign.models import Task
from codesign.models.custom import CustomTask
from codesign.models.directories import TaskOptions, load_directory
from codesign.models.directories.imports import calm
from codesign.quality import Evaluator
from codesign.search.space.written import TaskSpec
from tests.models.directories.diffusers_tiny import stable_diffusion, task_of
from tests.models.directories.networks import TEXT_FILE, write_network

torchao = pytest.importorskip("torchao", reason="codesign[torchao] is not installed")

DIRECTORY = ("int4_g32:fp32", "int8:int8_zp_token", "fp8_e4m3:fp8_e4m3_token", "mxfp4:mxfp4", "nvfp4:fp32")
MIXED = (*DIRECTORY, "int8:int8", "int4_g32_zp:int8_token", "bf16:fp32")


def scored(task: Task, *pairs: str, conv: str = "fp32") -> ScoredNetwork:
    """A network under the pairs in turn over its linear layers."""
    evaluator = Evaluator(task, ranges="minmax")  # the usual search for ranges takes longer than the export
    parsed = [FormatPair.parse(each) for each in pairs]
    layers: dict[str, LayerFormats] = {}
    taken = 0
    for name, kind in evaluator.layers.items():
        pair = FormatPair.parse(conv if kind == "conv" else "fp32")
        if kind == "linear":
            pair, taken = parsed[taken % len(parsed)], taken + 1
        layers[name] = LayerFormats.of_pair(pair, attention=kind == "attention")
    return ScoredNetwork(task, Assignment.of(layers), evaluator)


def export(network: ScoredNetwork, folder: Path, spec: str = "python:tiny:make") -> WrittenNetwork:
    torchao_exporter = OWN["torchao"]
    assert isinstance(torchao_exporter, NetworkExporter)
    return torchao_exporter.write(network, Origin("study", "daaaa1111", "net", TaskSpec(task=spec), Path()), folder)


@pytest.fixture(autouse=True)
def without_executorch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lowering takes longer than all of these tests; the one that is about it undoes this."""
    with monkeypatch.context() as patched:
        patched.setattr("codesign.export.executorch.installed", lambda: False)
        yield


@pytest.fixture(scope="module")
def network(tiny: CustomTask) -> ScoredNetwork:
    """A convolutional network with four linear layers."""
    return scored(
        tiny, "int4_g32_zp:int8_token", "int8:int8", "fp8_e4m3:fp8_e4m3_token", "mxfp4:mxfp4", conv="int8:fp32"
    )


@pytest.fixture
def folder(network: ScoredNetwork, tmp_path: Path) -> Path:
    export(network, tmp_path / "out")
    return tmp_path / "out"


def test_a_convolutional_network_comes_back_with_the_codes_that_were_scored(
    network: ScoredNetwork, folder: Path
) -> None:
    found = json.loads((folder / PROVENANCE).read_text())
    assert found["proof"]["layers"] == 5
    assert found["proof"]["layer_db"] > 50
    assert found["proof"]["sqnr_db"] > found["proof"]["loss_db"]
    assert found["versions"]["torchao"] == torchao.__version__
    fresh = copy.deepcopy(network.module)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.zero_()
    module = load_torchao(folder, fresh)
    kinds = set()
    for layer in quantized_layers(network):
        weight: Any = module.get_submodule(layer.name).weight
        check_tensor(network, layer, weight)
        kinds.add(type(weight).__name__)
    assert kinds == {"IntxUnpackedToInt8Tensor", "Int8Tensor", "Float8Tensor", "MXTensor"}
    (call,) = network.calls(1)
    with torch.no_grad():
        output = module(*call.args)
        program = torch.export.export(module, call.args)
        assert sqnr_db(program.module()(*call.args), output) > 120


def test_deviations_say_what_torchao_rounds_otherwise(folder: Path) -> None:
    said = json.loads((folder / PROVENANCE).read_text())["deviations"]
    assert any("1 layers to int8_zp_token, scored in int8_token" in each for each in said)
    assert any("saturates the calibrated int8 activations of 1 layers at -128" in each for each in said)


def test_the_configuration_is_torchaos_own_by_module_name(network: ScoredNetwork, folder: Path) -> None:
    from torchao.core.config import config_from_dict

    found: Any = config_from_dict(json.loads((folder / exporter.CONFIG).read_text())["config"])
    assert type(found).__name__ == "FqnToConfig"
    assert list(found.fqn_to_config) == [layer.name for layer in quantized_layers(network)]
    layer = nn.Linear(64, 32)
    torchao.quantize_(layer, found.fqn_to_config["to_q"])
    assert type(layer.weight).__name__ == "IntxUnpackedToInt8Tensor"


@pytest.mark.slow
def test_the_bundled_language_model_comes_back(tmp_path: Path) -> None:
    from codesign.models import load_task

    written = export(
        scored(load_task("rewrite"), *MIXED, "int4_g128:fp32", "mxfp8_e4m3:mxfp8_e4m3"), tmp_path / "out", "rewrite"
    )
    proof = json.loads((tmp_path / "out" / PROVENANCE).read_text())["proof"]
    assert proof["layer_db"] > 40
    assert written["sqnr_db"] is not None
    assert written["sqnr_db"] > proof["loss_db"]


def test_a_transformers_directory_is_one_again(tmp_path: Path) -> None:
    import transformers

    source = tmp_path / "snapshots" / "llama"
    write_network(source, "llama")
    (tmp_path / "blobs").mkdir()  # as in the cache of the hub
    (source / "tokenizer.json").rename(tmp_path / "blobs" / "a1")
    (source / "tokenizer.json").symlink_to("../../blobs/a1")
    (tmp_path / "words.txt").write_text(TEXT_FILE)
    options = TaskOptions(data=str(tmp_path / "words.txt"), sequences=2, length=16)
    task = load_directory(f"transformers:{source}", name="llama", options=options)
    written = export(scored(task, *DIRECTORY), tmp_path / "out", f"transformers:{source}")
    assert written["sqnr_db"] is not None
    assert written["sqnr_db"] > 100
    assert written["deviations"] == []
    with calm():
        model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", local_files_only=True)
    assert type(model.lm_head.weight).__name__ == "NVFP4Tensor"
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "out", local_files_only=True).encode("One two")


def test_a_directory_that_transformers_cannot_load_is_not_written_as_one(tmp_path: Path) -> None:
    source = tmp_path / "llama"
    write_network(source, "llama")
    (tmp_path / "words.txt").write_text(TEXT_FILE)
    options = TaskOptions(data=str(tmp_path / "words.txt"), sequences=2, length=16)
    task = load_directory(f"transformers:{source}", name="llama", options=options)
    written = export(scored(task, "int8:int8", "fp32"), tmp_path / "out", f"transformers:{source}")
    assert any("calibrated scales of activations, in 8 layers" in each for each in written["deviations"])
    assert not (tmp_path / "out" / "config.json").exists()


@pytest.mark.slow
def test_a_u_net_of_diffusers_is_one_again(tmp_path: Path) -> None:
    source = stable_diffusion(tmp_path / "pipeline")
    network = scored(task_of(source), "int8:int8_zp_token", "fp8_e4m3:fp8_e4m3_token", conv="int8:fp32")
    written = export(network, tmp_path / "out", f"diffusers:{source}")
    assert (tmp_path / "out" / "diffusion_pytorch_model.safetensors").is_file()
    assert written["sqnr_db"] is not None
    assert written["sqnr_db"] > 50
    assert any("torch_dtype=torch.float32" in each for each in written["deviations"])


def test_what_needs_a_gpu_is_refused_with_a_target_that_can_hold_it(tiny: CustomTask, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"layer 'to_q': torchao has no activations 'fp8_e4m3'.*vllm.*can hold it"):
        export(scored(tiny, "fp8_e4m3:fp8_e4m3"), tmp_path / "out")
    with pytest.raises(InputError, match=r"torchao has no activations 'nvfp4' with weights 'nvfp4'; it has fp32"):
        export(scored(tiny, "nvfp4:nvfp4"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_layer_of_another_class_is_refused_by_name(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv1d(1, 4, 3), nn.Flatten(), nn.Linear(24, 2))
    x = torch.randn(2, 1, 8, generator=torch.Generator().manual_seed(0))
    network = scored(CustomTask("one", module, x, x, None), "fp32", conv="int8:fp32")
    with pytest.raises(InputError, match=r"layer '0' is a Conv1d, and torchao takes weights of Linear and Conv2d"):
        export(network, tmp_path / "out")


def test_a_network_that_computes_something_else_is_not_written(
    network: ScoredNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Any] = exporter.tensor_of

    def wrong(*args: Any) -> Any:
        found = real(*args)
        found.qdata.view(-1)[0] = found.qdata.view(-1)[1]
        return found

    monkeypatch.setattr(exporter, "tensor_of", wrong)
    with pytest.raises(CodesignError, match=r"layer 'conv': 1 of 288 codes differ from what was scored"):
        export(network, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("broken", [b"not a tensor file", None])
def test_a_broken_file_is_one_line(network: ScoredNetwork, folder: Path, broken: bytes | None) -> None:
    file = folder / exporter.WEIGHTS
    file.write_bytes(file.read_bytes()[:-100] if broken is None else broken)
    with pytest.raises(InputError, match=r"model\.safetensors: does not fit the network"):
        load_torchao(folder, copy.deepcopy(network.module))


def test_what_torchao_logs_when_it_is_imported_is_kept_off_for_that_time_only() -> None:
    logger = logging.getLogger("torchao.quantization")
    with calm():
        assert not logger.isEnabledFor(logging.WARNING)
    assert logger.isEnabledFor(logging.WARNING)


def test_executorch_runs_the_network(tiny: CustomTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("executorch.runtime", reason="codesign[executorch] is not installed")
    monkeypatch.undo()
    written = export(scored(tiny, "int4_g32:int8_zp_token", "int8:int8_token"), tmp_path / "out")
    assert any("dB in ExecuTorch with XNNPACK" in each for each in written["deviations"])
    assert (tmp_path / "out" / "model.pte").is_file()
