"""SmolLM2-135M in a design of a study, in three runtimes: perplexity on the study's own windows, and what it writes.

    codesign search examples/public/deploy.yaml --out reports/studies/deploy
    python reports/benchmarks/deployment.py reports/studies/deploy [--design ID] [--only gguf]

exports the design (by default the smallest mixed one whose KL to the float network is at most 0.05 nats per token) to
compressed-tensors, GGUF and ONNX, opens each in its runtime (transformers, llama.cpp, ONNX Runtime), and writes
deployment.json and .md here. The runtimes see the tokens that the study scored. What is there already is not run again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from codesign.designs import load_study
from codesign.designs.design import Design, Metric
from codesign.export import export_design
from codesign.export.proof import PROVENANCE, version_of
from codesign.export.study import read_design
from codesign.report.markdown import table
from codesign.search.space.written import TaskSpec
from examples.public import gguf_perplexity, onnx_runtime, perplexity

HERE = Path(__file__).parent
TASK = "assistant"
MOST_KL = 0.05
PACKAGES = {"compressed-tensors": "transformers", "gguf": "llama-cpp-python", "onnx": "onnxruntime"}

Runtime = Callable[[Path, TaskSpec, Path, str], tuple[float, str]]  # folder, task, study, design -> perplexity, text


def in_transformers(folder: Path, spec: TaskSpec, study: Path, design: str) -> tuple[float, str]:
    found = perplexity.of_directory(folder, text_of(spec, study))
    return found["perplexity"], found["text"]


def in_llama_cpp(folder: Path, spec: TaskSpec, study: Path, design: str) -> tuple[float, str]:
    file = next(folder.glob("*.gguf"))
    with gguf_perplexity.opened(file, spec.length or 256, "bf16") as model:
        tokens = gguf_perplexity.windows(model, text_of(spec, study), spec.sequences or 8, spec.length or 256)
        found = gguf_perplexity.perplexity(model, tokens)
    return found, gguf_perplexity.written(file, perplexity.PROMPT, perplexity.NEW_TOKENS, "bf16")


def in_onnxruntime(folder: Path, spec: TaskSpec, study: Path, design: str) -> tuple[float, str]:
    chosen = read_design(study, design)
    found = onnx_runtime.deployed(folder, chosen.evaluator(TASK, chosen.load(TASK)), perplexity.PROMPT)
    return found.perplexity, found.text


RUNTIMES: dict[str, Runtime] = {
    "compressed-tensors": in_transformers,
    "gguf": in_llama_cpp,
    "onnx": in_onnxruntime,
}


def text_of(spec: TaskSpec, study: Path) -> Path:
    return read_design(study, load_study(study).chosen.id).base / spec.data


def chosen(designs: list[Design]) -> Design:
    """The smallest mixed design of little loss."""
    fitting = [each for each in designs if each.is_mixed and metric(each, "kl").value <= MOST_KL]
    if not fitting:
        raise SystemExit(f"no mixed design has a KL of at most {MOST_KL}; name one with --design")
    return min(fitting, key=lambda each: each.cost.tasks[TASK].weight_bytes)


def metric(design: Design, name: str) -> Metric:
    return next(each for each in design.metrics[TASK] if each.metric == name)


def written(told: dict[str, Any]) -> str:
    scored = told["scored"]
    rows = [
        [
            to,
            f"{found['package']} {found['version']}",
            f"{found['perplexity']:.3f}",
            f"{100 * (found['perplexity'] / scored['perplexity'] - 1):+.2f} %",
            "" if found["sqnr_db"] is None else f"{found['sqnr_db']:.1f}",
        ]
        for to, found in told["runtimes"].items()
    ]
    pairs = ", ".join(f"{count} layers {pair}" for pair, count in told["pairs"].items())
    lines = [
        "# One design in three runtimes\n",
        f"Written by `python reports/benchmarks/deployment.py`. SmolLM2-135M, design `{told['design']}` of the",
        f"study of examples/public/deploy.yaml: {pairs}; {told['weight_bytes'] / 1e6:.1f} MB of weights.",
        f"The study scored KL {scored['kl']:.4f} nats per token and perplexity {scored['perplexity']:.3f} "
        f"(float network: {scored['float_perplexity']:.3f}).\n",
        table(["export", "opened by", "perplexity", "against the study", "SQNR of logits, dB"], rows),
        "",
    ]
    for to, found in told["runtimes"].items():
        lines.append(f"**{to}** writes: {' '.join(found['text'].split())}\n")
        lines += [f"- {deviation}" for deviation in found["deviations"]] + [""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("study", type=Path, nargs="?", default=Path("reports/studies/deploy"))
    parser.add_argument("--design", help="id of a design")
    parser.add_argument("--only", nargs="+", choices=list(RUNTIMES), default=list(RUNTIMES))
    asked = parser.parse_args()
    if not asked.study.is_dir():
        print(f"no study in {asked.study}: codesign search examples/public/deploy.yaml --out {asked.study}")
        return
    front = load_study(asked.study).front
    design = front.design(asked.design) if asked.design else chosen(list(front))
    path = HERE / "deployment.json"
    told: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if told.get("design") != design.id:
        told = {"runtimes": {}}
    told |= {
        "design": design.id,
        "pairs": dict(design.pairs(TASK)),
        "weight_bytes": design.cost.tasks[TASK].weight_bytes,
        "scored": {
            "kl": metric(design, "kl").value,
            "perplexity": metric(design, "perplexity").value,
            "float_perplexity": metric(design, "perplexity").float_value,
        },
    }
    spec = read_design(asked.study, design.id).specs[TASK]
    for to in asked.only:
        folder = asked.study / "exported" / to
        if not (folder / TASK / PROVENANCE).exists():
            export_design(asked.study, design.id, to, folder)
        proof = json.loads((folder / TASK / PROVENANCE).read_text())
        found, text = RUNTIMES[to](folder / TASK, spec, asked.study, design.id)
        told["runtimes"][to] = {
            "package": PACKAGES[to],
            "version": version_of(PACKAGES[to]),
            "perplexity": found,
            "text": text,
            "sqnr_db": proof["proof"]["sqnr_db"],
            "deviations": proof["deviations"],
        }
        print(to, found, text, flush=True)
        path.write_text(json.dumps(told, indent=1) + "\n")
        (HERE / "deployment.md").write_text(written(told))


if __name__ == "__main__":
    main()
