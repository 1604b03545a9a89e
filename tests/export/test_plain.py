"""What every export of a network shares: the numbers that were scored, their proof, and complete folders."""

from __future__ import annotations

import hashlib
import json
from itertools import cycle
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from codesign.cli import main
from codesign.errors import CodesignError, EnvironmentProblem, InputError
from codesign.export.networks import NetworkExporter
from codesign.export.origin import Origin
from codesign.export.plain import ASSIGNMENT, CODES, FLOATS, RECORD, SCALES
from codesign.export.proof import PROVENANCE, Proof, check_equal, check_sqnr, sqnr_db
from codesign.export.registry import OWN
from codesign.export.scored import ScoredNetwork
from codesign.formats import Assignment, FormatPair, get_format, read_assignment
from codesign.models import load_task
from codesign.models.custom import CustomTask
from codesign.models.directories import TaskOptions
from codesign.quality import Evaluator
from codesign.search.space.written import TaskSpec
from tests.designs import design, write_front
from tests.models.directories.networks import TEXT_FILE, write_network

PAIRS = ("int8", "int4_g32:int8+gptq", "nvfp4", "fp8_e4m3:fp8_e4m3_token", "bf16", "int4_g32_zp:int8_zp", "mxfp4")
ORIGIN = Origin("study", "d00000001", "tiny", TaskSpec(task="python:tests.tiny:task"), Path())


def mixed(evaluator: Evaluator) -> Assignment:
    pairs = {layer: FormatPair.parse(pair) for layer, pair in zip(evaluator.layers, cycle(PAIRS), strict=False)}
    return Assignment.of_pairs(pairs, evaluator.layers)


@pytest.fixture(scope="module")
def network(tiny: CustomTask) -> ScoredNetwork:
    evaluator = Evaluator(tiny)
    return ScoredNetwork(tiny, mixed(evaluator), evaluator)


def write(to: str, network: ScoredNetwork, folder: Path) -> Path:
    exporter = OWN[to]
    assert isinstance(exporter, NetworkExporter)
    exporter.write(network, ORIGIN, folder)
    return folder


def test_the_weights_of_an_export_are_those_of_the_evaluation(network: ScoredNetwork) -> None:
    used = {}

    def observe(layer: str) -> torch.Tensor:
        product, formats = network.layers[layer].product, network.layers[layer].formats
        return network.evaluator.network.weight(product, network.layers[layer].weight_format, formats.method)

    for name, layer in network.layers.items():
        if layer.formats.weight is not None:
            used[name] = observe(name)
            assert torch.equal(network.values(name), used[name])
            assert torch.equal(network.in_place(name, network.weight(name).dequantize()), used[name])
    assert len(used) > 3


def test_calls_hold_real_inputs_and_the_scored_outputs(network: ScoredNetwork) -> None:
    (call, *_) = network.calls()
    with torch.no_grad(), network.evaluator.network.under(network.assignment) as module:
        assert torch.equal(module(*call.args, **call.kwargs), call.output)
    assert not torch.equal(network.module(*call.args, **call.kwargs), call.output)


def test_calls_are_those_of_the_evaluation_also_where_weights_are_still_to_be_rounded(tiny: CustomTask) -> None:
    evaluator = Evaluator(tiny)
    network = ScoredNetwork(tiny, mixed(evaluator), evaluator)
    first, second = (network.calls(1)[0] for _ in range(2))
    assert torch.equal(first.args[0], second.args[0])
    assert torch.equal(first.output, second.output)


def test_static_scales_are_those_of_fake_quantization(network: ScoredNetwork) -> None:
    found = [operand for layer in network.layers.values() for operand in layer.operands.values() if operand.scale]
    assert found
    x = torch.linspace(-3, 3, 1001)
    for operand in found:
        element, scale, zero = operand.format.element, operand.scale, operand.zero_point or 0
        assert scale is not None
        expected = operand.format.fake_quantize(x, amax=operand.range)
        if operand.format.name.startswith("int"):
            codes = (torch.round(x / scale) + zero).clamp(element.min_value, element.max_value)
            assert torch.equal((codes - zero) * scale, expected)


def test_an_assignment_is_what_evaluate_reads_with_its_scales_beside(network: ScoredNetwork, tmp_path: Path) -> None:
    folder = write("assignment", network, tmp_path / "tiny")
    assert read_assignment(folder / ASSIGNMENT) == network.assignment
    scales = load_file(folder / SCALES)
    name = next(name for name, layer in network.layers.items() if layer.formats.weight == "int8")
    assert torch.equal(scales[f"{name}.weight.scales"], network.weight(name).scales)
    assert float(scales[f"{name}.input.scale"]) == pytest.approx(network.layers[name].operands["input"].scale)


def test_a_record_and_its_codes_give_the_network_that_was_scored(network: ScoredNetwork, tmp_path: Path) -> None:
    folder = write("json", network, tmp_path / "tiny")
    codes, state = load_file(folder / CODES), load_file(folder / FLOATS)
    for record in json.loads((folder / RECORD).read_text())["layers"]:
        if "weight" not in record:
            continue
        name, written = record["name"], record["weight"]
        fmt = get_format(written["format"])
        packed = codes[f"{name}.codes"]
        assert hashlib.sha256(packed.numpy().tobytes()).hexdigest() == written["sha256"]["codes"]
        assert torch.equal(fmt.unpack(packed, tuple(written["shape"])), network.weight(name).codes)
        assert written["parameter"] not in state
    assert set(state) < set(network.module.state_dict())


def test_a_network_that_is_read_block_by_block_is_recorded_as_one_in_memory(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="language models are those of transformers (pip)")
    write_network(tmp_path / "llama", "llama")
    (tmp_path / "words.txt").write_text(TEXT_FILE)
    found = []
    for memory_gib in (1e-6, None):
        options = TaskOptions(data="words.txt", sequences=2, length=16, memory_gib=memory_gib)
        task = load_task("transformers:llama", search_path=tmp_path, options=options)
        evaluator = Evaluator(task)
        pairs = {
            name: FormatPair.parse("fp32" if kind == "attention" else "int8:fp32")
            for name, kind in evaluator.layers.items()
        }
        network = ScoredNetwork(task, Assignment.of_pairs(pairs, evaluator.layers), evaluator)
        found.append(write("json", network, tmp_path / f"out{memory_gib}"))
    for name in (CODES, FLOATS):
        streamed, whole = (load_file(folder / name) for folder in found)
        assert streamed.keys() == whole.keys()
        assert all(torch.equal(streamed[key], whole[key]) for key in whole)


def test_provenance_tells_hashes_versions_and_the_proof(network: ScoredNetwork, tmp_path: Path) -> None:
    folder = write("json", network, tmp_path / "tiny")
    told = json.loads((folder / PROVENANCE).read_text())
    assert told["design"] == ORIGIN.design
    assert told["assignment"] == network.assignment.digest()
    assert told["versions"]["torch"] == torch.__version__
    for name, digest in told["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert told["proof"]["layers"] == sum("sha256" in layer for layer in told["layers"].values())


def test_numbers_that_differ_are_no_export() -> None:
    with pytest.raises(CodesignError, match="layer 'a': 1 of 3 codes differ"):
        check_equal("a", "codes", torch.tensor([1, 2, 3]), torch.tensor([1, 2, 4]))
    with pytest.raises(CodesignError, match=r"SQNR 20.0 dB, at least 40 dB"):
        check_sqnr(20.0, 40.0, "elsewhere")


def test_outputs_that_are_not_finite_are_no_export_whatever_is_asked_of_them() -> None:
    with pytest.raises(CodesignError, match="SQNR -inf"):
        check_sqnr(float("-inf"), float("-inf"), "x")


def test_a_record_says_where_the_parts_of_one_parameter_lie(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 4, 16)
    task = CustomTask("parts", Fused(), x[:4], x[4:], None)
    evaluator = Evaluator(task)
    pairs = dict.fromkeys(evaluator.layers, FormatPair.parse("int8"))
    folder = write("json", ScoredNetwork(task, Assignment.of_pairs(pairs, evaluator.layers), evaluator), tmp_path / "x")
    weights = [each["weight"] for each in json.loads((folder / RECORD).read_text())["layers"]]
    assert [each["parameter"] for each in weights] == ["both", "both"]
    assert [(each["parameter_offset"], each["parameter_strides"]) for each in weights] == [(0, [16, 1]), (128, [16, 1])]


class Fused(torch.nn.Module):
    """Two layers whose weights are one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.both = torch.nn.Parameter(torch.randn(16, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = (torch.nn.functional.linear(x, each) for each in self.both.split(8))
        return torch.cat([a, b], -1)


def test_sqnr_is_that_of_the_worst_output() -> None:
    y = torch.ones(100)
    assert sqnr_db({"a": y, "b": y * 1.1}, {"a": y, "b": y}) == pytest.approx(20, abs=1e-3)
    assert sqnr_db(y, y) == 200
    assert sqnr_db(y[:5], y) == sqnr_db(y * float("nan"), y) == float("-inf")


def test_a_writer_that_fails_leaves_the_earlier_export_as_it_was(network: ScoredNetwork, tmp_path: Path) -> None:
    folder = write("json", network, tmp_path / "tiny")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    halfway = NetworkExporter("json", "tests.export.test_plain:breaking")
    with pytest.raises(CodesignError, match="wrong"):
        halfway.write(network, ORIGIN, folder)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_a_folder_is_replaced_only_by_the_exporter_that_wrote_it(network: ScoredNetwork, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "weights.bin").write_text("years of work")
    with pytest.raises(InputError, match=r"other files than an export \(weights.bin\)"):
        write("assignment", network, tmp_path / "mine")
    folder = write("assignment", network, write("assignment", network, tmp_path / "tiny"))
    with pytest.raises(InputError, match="holds the export to assignment; give another --out"):
        write("json", network, folder)
    (folder / "notes.md").write_text("what I found")
    with pytest.raises(InputError, match=r"other files than an export \(notes.md\)"):
        write("assignment", network, folder)
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "tiny"}
    assert (tmp_path / "mine" / "weights.bin").read_text() == "years of work"
    assert (folder / ASSIGNMENT).is_file()


def test_a_full_disk_is_told_in_one_line(network: ScoredNetwork, tmp_path: Path) -> None:
    exporter = NetworkExporter("full", "tests.export.test_plain:full")
    with pytest.raises(EnvironmentProblem, match=r"tiny: cannot be written \(.*No space left on device"):
        exporter.write(network, ORIGIN, tmp_path / "tiny")
    assert not list(tmp_path.iterdir())


def full(network: ScoredNetwork, origin: Origin, folder: Path) -> Proof:
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def breaking(network: ScoredNetwork, origin: Origin, folder: Path) -> Proof:
    (folder / "half").touch()
    raise CodesignError("wrong")


def failing(network: ScoredNetwork, origin: Origin, folder: Path) -> Proof:
    raise AssertionError("a refused network is not written")


def test_what_a_target_lacks_is_refused_before_anything_is_written(network: ScoredNetwork, tmp_path: Path) -> None:
    exporter = NetworkExporter("gguf", "tests.export.test_plain:failing", target="llama.cpp")
    with pytest.raises(InputError, match=r"layer 'conv': llama.cpp holds no conv layer"):
        exporter.write(network, ORIGIN, tmp_path / "tiny")
    assert not (tmp_path / "tiny").exists()


def test_a_missing_package_is_asked_for_by_its_extra(tmp_path: Path) -> None:
    exporter = NetworkExporter("x", "nowhere:write", packages=("no_such_package",), extra="onnx")
    with pytest.raises(EnvironmentProblem, match=r"no_such_package is needed.*pip install 'codesign\[onnx\]'"):
        exporter(tmp_path, "d00000001", tmp_path / "out")


def test_a_study_finds_what_its_space_names_from_its_own_folder(
    tmp_path: Path, tiny: CustomTask, capsys: pytest.CaptureFixture[str]
) -> None:
    spaces = tmp_path / "spaces"
    spaces.mkdir()
    (spaces / "space.yaml").touch()
    (spaces / "beside.py").write_text("from tests.tiny import untrained as task\n")
    layers = Evaluator(tiny).layers
    assignment = Assignment.of_pairs(dict.fromkeys(layers, FormatPair.parse("mxint8")), layers).to_dict()
    space = "name: small\ntasks:\n  tiny: {task: 'python:beside:task'}\npairs: [int8]\nobjectives: [a, b]\n"
    study = write_front(tmp_path / "study", [design("d00000001", {"tiny": assignment})], space)
    (study / "study.json").write_text(
        json.dumps({"study": "small", "storage": None, "space": {}, "space_file": "../spaces/space.yaml"})
    )
    out = tmp_path / "out"
    assert main(["export", str(study), "--design", "d00000001", "--to", "assignment", "-o", str(out)]) == 0
    assert "codes and scales equal" in capsys.readouterr().out
    assert read_assignment(out / "tiny" / ASSIGNMENT).to_dict() == assignment
