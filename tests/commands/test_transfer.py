"""``codesign transfer``, and costs in the formats that it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codesign.cli import main
from codesign.formats import FormatPair, LayerFormats
from codesign.models import load_task
from tests import designs

CHIP = designs.CHIP | {"pairs": ["int8:int8", "int4:int8"]}
SPACE = """
name: small
tasks: {rewrite: {task: rewrite}}
pairs: [int8, "int4:int8"]
hardware: {units: {sets: [[int8, "int4:int8"]]}, rows: [8], columns: [8], sram_kib: [1024]}
objectives: [rewrite.quality, area_mm2]
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One design: 4-bit weights in the feed-forward layers, 8 bits elsewhere."""
    folder = tmp_path_factory.mktemp("study")
    kinds = load_task("rewrite").workload().layer_kinds()
    layers = {
        layer: LayerFormats.of_pair(
            FormatPair.parse("int4:int8" if ".mlp." in layer else "int8"), attention=kind == "attention"
        ).to_dict()
        for layer, kind in kinds.items()
    }
    return designs.write_front(folder, [designs.design("d00000001", {"rewrite": layers}, CHIP)], SPACE)


@pytest.mark.slow
def test_a_design_is_stated_by_role_and_costed_on_another_network_under_its_label(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "rules.yaml"
    transfer = ["transfer", str(study), "--design", "d00000001", "--to", "llama3.2-1b", "-o", str(rules), "--json"]
    assert main(transfer) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["label"] == "transferred"
    assert found["origin"] == {"study": "small", "design": "d00000001", "task": "rewrite"}
    assert found["rules"]["ff_up"] == "int4:int8"
    assert found["rules"]["attention_q"] == "int8:int8"
    assert found["layers"]["ff_gate"] == 16
    assert "quality" not in found

    chip = tmp_path / "chip.yaml"
    chip.write_text(
        'name: same\npairs: ["int8", "int4:int8"]\ndot: 16\nrows: 8\ncolumns: 8\nsram_kib: 1024\n'
        "dram: lpddr5x_8533\ndram_channels: 2\nclock_mhz: 1000\nnode_nm: 7\n"
    )
    cost = ["cost", "--workload", "llama3.2-1b", "--accelerator", str(chip), "--rules", str(rules), "--json"]
    assert main(cost) == 0
    costed = json.loads(capsys.readouterr().out)
    assert (costed["label"], costed["origin"]) == ("transferred", found["origin"])
    assert costed["latency_s"] == found["cost"]["latency_s"]


def test_what_is_printed_says_that_quality_was_not_measured(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transfer", str(study), "--design", "d00000001", "--to", "llama3.2-1b"]) == 0
    assert "its quality on llama3.2-1b was not measured" in capsys.readouterr().out


def test_roles_that_the_design_lacks_are_named(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transfer", str(study), "--design", "d00000001", "--to", "sd15-unet"]) == 2
    error = capsys.readouterr().err
    assert "no rule for these roles of sd15-unet" in error
    assert "resnet_conv" in error
    default = ["--to", "sd15-unet", "--default", "int8"]
    assert main(["transfer", str(study), "--design", "d00000001", *default]) == 0
    assert "int8:int8 (default)" in capsys.readouterr().out
    assert main(["transfer", str(study), "--design", "d00000001", *default, "--json"]) == 0
    assert "resnet_conv" in json.loads(capsys.readouterr().out)["defaulted"]


def test_an_unknown_task_offers_the_nearest(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transfer", str(study), "--design", "d00000001", "--task", "rewirte"]) == 2
    assert "did you mean 'rewrite'" in capsys.readouterr().err


@pytest.mark.slow
def test_an_unknown_default_is_refused_before_anything_is_written(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "rules.yaml"
    assert main(["transfer", str(study), "--design", "d00000001", "--default", "itn8", "-o", str(rules)]) == 2
    assert "itn8" in capsys.readouterr().err
    assert main(["transfer", str(study), "--design", "d00000001", "--default", "int4", "-o", str(rules)]) == 2
    assert "computes int8:int8, int4:int8" in capsys.readouterr().err
    assert not rules.exists()


def test_json_names_the_default(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transfer", str(study), "--design", "d00000001", "--default", "int8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["default"] == "int8:int8"
