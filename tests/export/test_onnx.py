"""What an exported ONNX file promises: ONNX Runtime, with all its optimisations, computes what was scored."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from codesign.errors import CodesignError, InputError
from codesign.export.networks import NetworkExporter, WrittenNetwork
from codesign.export.origin import Origin
from codesign.export.registry import OWN
from codesign.export.scored import Operand, ScoredNetwork
from codesign.formats import Assignment, FormatPair, get_format
from codesign.models import Task, load_task
from codesign.models.custom import CustomTask
from codesign.models.directories import TaskOptions, load_directory
from codesign.quality import Evaluator
from codesign.quality.quantized import quantize_tokens
from codesign.search.space.written import TaskSpec
from codesign.targets import get_target

onnx = pytest.importorskip("onnx", reason="codesign[onnx] is not installed")
ort = pytest.importorskip("onnxruntime", reason="codesign[onnx] is not installed")
ir = pytest.importorskip("onnx_ir", reason="codesign[onnx] is not installed")

TARGET = get_target("onnxruntime")
PAIRS = ("int8", "int4_g32:int8", "fp8_e4m3", "mxfp4:int8_token", "nvfp4:fp32", "int4_g128:fp32+gptq", "int8:fp32")
WEIGHTS = ("int8:fp32", "int4_g32:fp32", "fp8_e4m3:fp32", "mxfp4:fp32", "nvfp4:fp32")
EXACT_DB = 100.0  # of outputs that differ by the order of float32 sums
# of those in which a number next to the middle between two codes took the other one, as it may on another processor
ROUNDED_DB = 25.0


def scored(task: Task, attention: str = "fp32", pairs: tuple[str, ...] = PAIRS) -> ScoredNetwork:
    """A task's network with pairs in turn over the layers."""
    evaluator, turn = Evaluator(task, ranges="minmax"), cycle(pairs)
    found = {
        name: FormatPair.parse(attention if kind == "attention" else next(turn))
        for name, kind in evaluator.layers.items()
    }
    return ScoredNetwork(task, Assignment.of_pairs(found, evaluator.layers), evaluator)


def export(network: ScoredNetwork, folder: Path) -> WrittenNetwork:
    exporter = OWN["onnx"]
    assert isinstance(exporter, NetworkExporter)
    return exporter.write(network, Origin("study", "d00000001", "net", TaskSpec(task="net"), Path()), folder)


class Parallel(nn.Module):
    """A linear layer and a convolution for each of so many pairs; 40 channels: a block of 32 and a rest."""

    def __init__(self, count: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.ModuleList(nn.Linear(40, 6) for _ in range(count))
        self.conv = nn.ModuleList(nn.Conv2d(40, 6, 3, padding=1) for _ in range(count))
        self.up = nn.ModuleList(nn.ConvTranspose2d(40, 6, 3, padding=1) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2).transpose(1, 2)
        images = [layer(x).flatten(2).transpose(1, 2) for layer in (*self.conv, *self.up)]
        return torch.stack([layer(flat) for layer in self.linear] + images, 1)


@pytest.fixture(scope="module")
def parallel() -> ScoredNetwork:
    x = torch.randn(3, 40, 3, 3, generator=torch.Generator().manual_seed(0))
    weights = TARGET.formats[0].weights
    task = CustomTask("parallel", Parallel(len(weights)).eval(), x, x)
    evaluator = Evaluator(task, ranges="minmax")
    pairs = {name: FormatPair(weights[int(name.rpartition(".")[2])], "int8") for name in evaluator.layers}
    return ScoredNetwork(task, Assignment.of_pairs(pairs, evaluator.layers), evaluator)


def run(outputs: dict[str, Any], graph: Any, **feed: Tensor) -> dict[str, Tensor]:
    """The values of a graph as ONNX Runtime computes them."""
    graph.outputs.extend(outputs.values())
    model = ir.serde.serialize_model(ir.Model(graph, ir_version=10))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {name: x.numpy() for name, x in feed.items()})
    return {name: torch.from_numpy(x) for name, x in zip(outputs, found, strict=True)}


def graph_of(*inputs: Any) -> Any:
    return ir.Graph(list(inputs), [], nodes=[], opset_imports={"": 21}, name="test")


def test_every_weight_of_the_target_is_dequantized_to_the_scored_one(parallel: ScoredNetwork) -> None:
    from codesign.export.onnx.builder import Builder
    from codesign.export.onnx.weights import emit

    graph = graph_of()
    build = Builder(graph)
    layers = [layer for layer in parallel.layers.values() if layer.weight_format.name != "fp32"]
    found = run({layer.name: emit(build, parallel, layer) for layer in layers}, graph)
    assert len(found) > 70
    for name, values in found.items():
        assert torch.equal(values, parallel.values(name)), parallel.layers[name].formats


def test_every_activation_of_the_target_is_rounded_as_in_the_evaluation() -> None:
    from codesign.export.onnx.activations import emit
    from codesign.export.onnx.builder import Builder

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 5, 40, generator=generator) * 10 ** torch.randn(4, 5, 1, generator=generator)
    x[0, 0], x[0, 1, :4] = 0, torch.tensor([1.0, 0.5, 0.25, -2.0])
    given = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([4, 5, 40]))
    graph, made, wanted = graph_of(given), {}, {}
    build = Builder(graph)
    for name in TARGET.formats[0].activations:
        fmt = get_format(name)
        amax = (-2.0, 5.0) if fmt.has_zero_point else 5.0  # less than the largest: numbers are clipped
        operand = Operand(name, fmt, amax if fmt.takes_range else None, (2,), 3)
        if name != "fp32":
            made[name] = emit(build, "layer", operand, given, multiplied=False)
            if fmt.per_token:
                wanted[name] = quantize_tokens(x, fmt, (2,))
            else:
                wanted[name] = fmt.fake_quantize(x, axis=2 if fmt.is_block else None, amax=operand.range)
    for name, found in run(made, graph, x=x).items():
        assert torch.equal(found, wanted[name]), name


@pytest.fixture(scope="module")
def exported(tiny: CustomTask, tmp_path_factory: pytest.TempPathFactory) -> tuple[ScoredNetwork, WrittenNetwork]:
    network = scored(tiny, "int8")
    return network, export(network, tmp_path_factory.mktemp("onnx") / "tiny")


@pytest.mark.slow
def test_a_convolution_and_an_attention_in_mixed_formats_come_back(
    exported: tuple[ScoredNetwork, WrittenNetwork],
) -> None:
    network, written = exported
    assert written["opened_by"] == "onnxruntime"
    assert written["sqnr_db"] is not None
    assert written["sqnr_db"] > ROUNDED_DB
    held = onnx.load(Path(written["path"]) / "model.onnx")
    types = {each.name: onnx.TensorProto.DataType.Name(each.data_type) for each in held.graph.initializer}
    named = {"int8": "INT8", "int4_g32": "INT4", "fp8_e4m3": "FLOAT8E4M3FN", "mxfp4": "UINT4", "nvfp4": "UINT4"}
    for name, layer in network.layers.items():
        if layer.formats.weight is not None:
            assert types[f"{name}.weight.codes"] == named[layer.formats.weight]


def test_a_code_that_differs_in_the_file_is_found(
    exported: tuple[ScoredNetwork, WrittenNetwork], tmp_path: Path
) -> None:
    from codesign.export.onnx.proof import check_weights

    network, written = exported
    held = onnx.load(Path(written["path"]) / "model.onnx")
    codes = next(each for each in held.graph.initializer if each.name == "conv.weight.codes")
    codes.raw_data = bytes([codes.raw_data[0] ^ 1]) + codes.raw_data[1:]
    onnx.save(held, tmp_path / "model.onnx")
    with pytest.raises(CodesignError, match="layer 'conv': 1 of 288 codes differ"):
        check_weights(tmp_path / "model.onnx", network)


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1.02, None])
def test_an_activation_that_is_rounded_otherwise_or_not_at_all_is_found(
    tiny: CustomTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float | None
) -> None:
    from codesign.export.onnx import activations

    right = activations._static

    def wrong(build: Any, operand: Any, scale: float, x: Any, multiplied: bool) -> Any:
        return x if factor is None else right(build, operand, scale * factor, x, multiplied)

    monkeypatch.setattr(activations, "_static", wrong)
    with pytest.raises(CodesignError, match="not rounded in the file" if factor is None else "numbers of its"):
        export(scored(tiny, "fp32", ("int8",)), tmp_path / "tiny")


def test_a_format_without_a_type_in_onnx_is_refused_by_its_layer(tiny: CustomTask, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="layer 'conv': onnxruntime has no format 'mxfp6_e2m3'"):
        export(scored(tiny, pairs=("mxfp6_e2m3:fp32",)), tmp_path / "tiny")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_bundled_language_model_comes_back_for_any_batch_and_length(tmp_path: Path) -> None:
    network = scored(load_task("rewrite"), pairs=WEIGHTS)
    written = export(network, tmp_path / "rewrite")
    assert written["sqnr_db"] is not None
    assert written["sqnr_db"] > EXACT_DB
    session = ort.InferenceSession(tmp_path / "rewrite" / "model.onnx", providers=["CPUExecutionProvider"])
    tokens = network.calls(1)[0].args[0][:3, :17]
    (logits,) = session.run(None, {"tokens": tokens.numpy()})
    with torch.no_grad(), network.evaluator.network.under(network.assignment) as module:
        assert torch.allclose(torch.from_numpy(logits), module(tokens), atol=1e-3)


@pytest.mark.slow
def test_a_directory_of_transformers_comes_back(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from tests.models.directories.networks import TEXT_FILE, write_network

    write_network(tmp_path / "llama", "llama")
    (tmp_path / "words.txt").write_text(TEXT_FILE)
    options = TaskOptions(data=str(tmp_path / "words.txt"), sequences=2, length=16)
    task = load_directory(f"transformers:{tmp_path / 'llama'}", name="net", options=options)
    written = export(scored(task, "int8"), tmp_path / "net")
    assert written["layers"] == 17
    assert written["sqnr_db"] is not None
    assert written["sqnr_db"] > ROUNDED_DB


@pytest.mark.slow
def test_a_denoiser_of_diffusers_comes_back(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    from tests.models.directories.diffusers_tiny import task_of, unconditional

    task = task_of(unconditional(tmp_path / "unet"))
    written = export(scored(task, pairs=WEIGHTS), tmp_path / "net")
    assert written["sqnr_db"] is not None
    assert written["sqnr_db"] > EXACT_DB
