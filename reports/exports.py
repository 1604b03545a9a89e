"""Which formats leave for which runtime, equal to what was scored: every weight with every activation, tried.

    python reports/exports.py [TARGET ...]

writes reports/exports.json and .md. Each pair is given to all layers of a small network, exported, opened again by the
foreign library and run on real inputs: a language model of the kind Llama, and a network of convolutions and an
attention. Their weights are random: what is compared is arithmetic, not quality. What exports.json holds for the same
versions is not tried again.
"""

from __future__ import annotations

import contextlib
import json
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from codesign.errors import CodesignError, InputError
from codesign.export.networks import NetworkExporter
from codesign.export.origin import Origin
from codesign.export.proof import EQUAL_DB, version_of
from codesign.export.registry import OWN
from codesign.export.scored import ScoredNetwork
from codesign.formats import Assignment, FormatPair, LayerFormats
from codesign.models import Task, load_task
from codesign.models.custom import CustomTask
from codesign.models.directories import TaskOptions
from codesign.quality import Evaluator
from codesign.report.markdown import table
from codesign.search.space.written import TaskSpec
from codesign.targets import Target, get_target, layers_of, target_names

HERE = Path(__file__).parent
WEIGHTS = (
    "int8", "int8_g32", "int4", "int4_g32", "int4_g128", "int4_g32_zp", "fp8_e4m3", "mxfp8_e4m3", "mxfp4", "nvfp4",
    "fp16", "bf16",
)  # fmt: skip
ACTIVATIONS = (
    "fp32", "bf16", "fp16", "int8", "int8_token", "int8_zp_token", "int8_g32_absmax", "fp8_e4m3", "fp8_e4m3_token",
    "mxfp8_e4m3", "nvfp4",
)  # fmt: skip
LLAMA = {
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 320,
    "max_position_embeddings": 64,
    "bos_token_id": 256,
    "eos_token_id": 256,
}
TEXT = "Numbers are rounded as a runtime holds them: one, two, three; four or five? Six! " * 12


class Images(nn.Module):
    """Convolutions, a linear layer and an attention."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.inner = nn.Conv2d(3, 128, 3, padding=1), nn.Conv2d(128, 128, 3, padding=1)
        self.to_q, self.last = nn.Linear(128, 128), nn.Conv2d(128, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(torch.relu(self.first(x)))
        q = self.to_q(y.flatten(2).transpose(1, 2))
        z = nn.functional.scaled_dot_product_attention(q, q, q).transpose(1, 2).reshape(y.shape)
        found: Tensor = self.last(y + z)
        return found


def images(folder: Path) -> tuple[Task, TaskSpec]:
    x = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return CustomTask("images", Images().eval(), x[:4], x[4:]), TaskSpec(task="python:images:task")


def language(folder: Path) -> tuple[Task, TaskSpec]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    path = folder / "llama"
    LlamaForCausalLM(LlamaConfig(**LLAMA)).eval().save_pretrained(path)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<end>"])
    made.save(str(path / "tokenizer.json"))
    facts = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>", "bos_token": "<end>"}
    (path / "tokenizer_config.json").write_text(json.dumps(facts))
    (folder / "text.txt").write_text(TEXT)
    options = {"data": "text.txt", "sequences": 4, "length": 32}
    task = load_task("transformers:llama", name="language", search_path=folder, options=TaskOptions(**options))
    return task, TaskSpec(task="transformers:llama", **options)


NETWORKS = {"language": language, "images": images}


def assigned(task: Task, target: Target, pair: FormatPair) -> Assignment:
    """The pair in every layer with a weight, and in attention the first that the target has.

    Raises InputError with the reason if the target refuses the pair in a layer.
    """
    found = {}
    for name, layer in layers_of(task.workload()).items():
        if layer.kind == "attention":
            casts = (FormatPair(cast, cast) for cast in ("fp32", "fp16", "bf16"))
            own = next((cast for cast in casts if target.refusal(layer, cast) is None), None)
            if own is None:
                raise InputError(f"{target.name} holds no attention in floating point")
            found[name] = LayerFormats.of_pair(own, attention=True)
            continue
        reason = target.refusal(layer, pair, approximated=True)
        if reason is not None:
            raise InputError(reason)
        found[name] = LayerFormats.of_pair(pair, attention=False)
    return Assignment.of(found)


def tried(target: Target, task: Task, spec: TaskSpec, pair: FormatPair, folder: Path) -> dict[str, Any]:
    """What became of a pair: refused with the reason, or exported with the SQNR of its outputs."""
    exporter = OWN[target.exporter]
    assert isinstance(exporter, NetworkExporter)
    told: dict[str, Any] = {"weight": pair.weight, "activation": pair.activation}
    try:
        network = ScoredNetwork(task, assigned(task, target, pair), Evaluator(task, ranges="minmax"))
        origin = Origin("reports/exports.py", "d00000000", task.name, spec, folder)
        written = exporter.write(network, origin, folder / "out")
    except InputError as error:
        return told | {"result": "refused", "reason": str(error)}
    except CodesignError as error:
        return told | {"result": "wrong", "reason": str(error)}
    equal = written["sqnr_db"] == EQUAL_DB
    return told | {
        "result": "equal" if equal else "within",
        "sqnr_db": written["sqnr_db"],
        "opened_by": written["opened_by"],
        "deviations": written["deviations"],
    }


def measured(target: Target, known: dict[str, list[dict[str, Any]]]) -> Iterator[None]:
    """Add to `known`, network -> what became of pairs, those that it lacks, and yield where it may be written down."""
    for name, make in NETWORKS.items():
        found = known.setdefault(name, [])
        there = {(each["weight"], each["activation"]) for each in found}
        missing = [FormatPair(w, a) for w in WEIGHTS for a in ACTIVATIONS if (w, a) not in there]
        if not missing:
            continue
        with tempfile.TemporaryDirectory() as folder:
            task, spec = make(Path(folder))
            for pair in missing:
                found.append(tried(target, task, spec, pair, Path(folder)))
                if found[-1]["result"] != "refused":
                    print(target.name, name, pair, found[-1]["result"], flush=True)
                    yield
        yield


def cell(found: dict[str, Any]) -> str:
    if found["result"] in ("refused", "wrong"):
        return "" if found["result"] == "refused" else "**wrong**"
    star = "*" if found["deviations"] else ""
    if found["sqnr_db"] is None:
        return f"codes{star}"
    return f"equal{star}" if found["result"] == "equal" else f"{found['sqnr_db']:.0f} dB{star}"


def written(results: dict[str, Any]) -> str:
    """The Markdown of what was tried."""
    lines = [
        "# Formats that leave for a runtime\n",
        "Written by `python reports/exports.py`: every weight format (rows) with every activation (columns) in all",
        "layers of a small network, exported, opened again by the foreign library, and run. Codes and scales of all",
        "weights are equal, bit for bit, in every cell that is not empty. `equal`: so are the outputs; a number: their",
        "SQNR against what was scored, as the order of float sums explains; `*`: the runtime computes otherwise",
        "than was scored (activations in another format, mostly), as the export says; `codes`: the library reads the",
        "file and does not run it; empty: refused, with the reason in exports.json.\n",
    ]
    for name, target in results.items():
        versions = ", ".join(f"{package} {version}" for package, version in target["versions"].items() if version)
        lines.append(
            f"## {name}: `codesign export --to {target['exporter']}`\n\n{target['about']}. Tried with {versions}.\n"
        )
        for network, found in target["networks"].items():
            held = [each for each in found if each["result"] != "refused"]
            if not found:
                continue
            if not held:
                lines.append(f"{network}: refused ({found[0]['reason']}).\n")
                continue
            columns = [a for a in ACTIVATIONS if any(each["activation"] == a for each in held)]
            rows = [w for w in WEIGHTS if any(each["weight"] == w for each in held)]
            cells = {(each["weight"], each["activation"]): cell(each) for each in found}
            listed = [[weight, *(cells.get((weight, each), "") for each in columns)] for weight in rows]
            lines.append(table([network, *columns], listed) + "\n")
            told = dict.fromkeys(text for each in held for text in each.get("deviations", ()))
            lines += [f"- {text}" for text in told] + [""]
    return "\n".join(lines)


def main() -> None:
    path = HERE / "exports.json"
    results: dict[str, Any] = json.loads(path.read_text())["targets"] if path.exists() else {}
    for name in sys.argv[1:] or [each for each in target_names() if get_target(each).exporter in OWN]:
        target = get_target(name)
        exporter = OWN[target.exporter]
        assert isinstance(exporter, NetworkExporter)
        with contextlib.suppress(InputError):
            exporter.require()
            packages = dict.fromkeys(("codesign", "torch", target.package, *exporter.packages))
            versions = {package.replace("_", "-"): version_of(package.replace("_", "-")) for package in packages}
            told = results.setdefault(name, {"networks": {}})
            told |= {"exporter": target.exporter, "about": target.about, "package": target.package}
            if told.get("versions") != versions:
                told |= {"versions": versions, "networks": {}}
            for _ in measured(target, told["networks"]):
                path.write_text(json.dumps({"machine": platform.machine(), "targets": results}, indent=1) + "\n")
                (HERE / "exports.md").write_text(written(results))


if __name__ == "__main__":
    main()
