"""Memory of a network that is larger than memory: streaming.json and streaming.md.

    python reports/benchmarks/streaming.py [--layers 20] [--folder build/streaming]

Writes a Llama directory of random bfloat16 weights once (8.6 GB with 20 layers of width 4096), and evaluates it in
uniform int8 in a process of its own that may keep 2 GiB of weights (`memory_gib`). The process reports its largest
resident memory. Values of random weights mean nothing, and are not shown.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MEMORY_GIB = 2.0
WIDTH, INNER, HEADS, TOKENS = 4096, 11008, 32, 32000


def config(layers: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "vocab_size": TOKENS,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
    }


def write(folder: Path, layers: int) -> None:
    """A shard for each layer, and one for the rest, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return (torch.randn(shape, generator=generator) * shape[-1] ** -0.5).to(torch.bfloat16)

    def shard(name: str, shapes: dict[str, tuple[int, ...]], norms: list[str]) -> None:
        file = folder / name
        if not file.exists():
            norm = {key: torch.ones(WIDTH, dtype=torch.bfloat16) for key in norms}
            save_file({key: drawn(*shape) for key, shape in shapes.items()} | norm, file.with_suffix(".part"))
            file.with_suffix(".part").rename(file)

    square, wide = (WIDTH, WIDTH), (INNER, WIDTH)
    ends = {"model.embed_tokens.weight": (TOKENS, WIDTH), "lm_head.weight": (TOKENS, WIDTH)}
    shard("model-rest.safetensors", ends, ["model.norm.weight"])
    for i in range(layers):
        at = f"model.layers.{i}."
        shapes = {f"{at}self_attn.{each}_proj.weight": square for each in "qkvo"}
        shapes |= {f"{at}mlp.{each}_proj.weight": wide for each in ("gate", "up")}
        shapes[f"{at}mlp.down_proj.weight"] = (WIDTH, INNER)
        norms = [f"{at}{each}_layernorm.weight" for each in ("input", "post_attention")]
        shard(f"model-{i:03d}.safetensors", shapes, norms)
    tokens = torch.randint(0, TOKENS, (2, 32), generator=generator)
    save_file({"input_ids": tokens}, folder / "tokens.safetensors.part")
    (folder / "data").mkdir(exist_ok=True)
    (folder / "tokens.safetensors.part").rename(folder / "data" / "tokens.safetensors")
    places: dict[str, str] = {}
    for file in sorted(folder.glob("model-*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            places |= dict.fromkeys(opened.keys(), file.name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    (folder / "config.json").write_text(json.dumps(config(layers)))


def measure(folder: Path) -> dict[str, Any]:
    """Evaluate in int8; returns seconds of each part and the largest memory of this process."""
    from codesign.formats import Assignment
    from codesign.models import TaskOptions, load_task
    from codesign.quality import Evaluator

    torch.set_num_threads(1)
    seconds, started = {}, time.monotonic()

    def part(name: str) -> None:
        nonlocal started
        seconds[name] = round(time.monotonic() - started, 1)
        started = time.monotonic()
        print(f"{name}: {seconds[name]} s, {peak() / 1e9:.2f} GB", flush=True)

    options = TaskOptions(
        data=str(folder / "data" / "tokens.safetensors"), memory_gib=MEMORY_GIB, phases={"prompt": 16, "new_tokens": 2}
    )
    task = load_task(f"transformers:{folder}", name="large", options=options)
    part("load")
    workload = task.workload()
    part("trace")
    evaluator = Evaluator(task, ranges="minmax")
    part("fingerprint")
    evaluator.reference()
    part("float pass")
    assignment = Assignment.uniform(workload, "int8")
    evaluator(assignment)
    part("evaluation with calibration")
    evaluator.again(assignment)
    part("evaluation")
    return {"parameters": workload.parameters, "layers": len(workload.layers), "seconds": seconds, "peak_bytes": peak()}


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--layers", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "streaming")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        result = measure(arguments.folder)
        (arguments.folder / "result.json").write_text(json.dumps(result))
        return
    write(arguments.folder, arguments.layers)
    command = [sys.executable, __file__, "--measure", "--folder", str(arguments.folder)]
    subprocess.run(command, check=True, cwd=ROOT)
    result = json.loads((arguments.folder / "result.json").read_text())
    result["files_bytes"] = sum(each.stat().st_size for each in arguments.folder.glob("*.safetensors"))
    result["memory_gib"] = MEMORY_GIB
    (HERE / "streaming.json").write_text(json.dumps(result, indent=1) + "\n")
    rows = "\n".join(f"| {name} | {value} |" for name, value in result["seconds"].items())
    (HERE / "streaming.md").write_text(
        "# A network larger than memory\n\nWritten by `python reports/benchmarks/streaming.py`.\n\n"
        f"A Llama directory of {result['files_bytes'] / 1e9:.1f} GB of safetensors ({result['parameters'] / 1e9:.2f} "
        f"billion parameters, {result['layers']} layers) was evaluated in int8 with `memory_gib: {MEMORY_GIB:g}`: the "
        f"largest resident memory of the process was {result['peak_bytes'] / 1e9:.2f} GB. One sequence of 32 tokens "
        "calibrates, one is evaluated; one thread.\n\n| part | seconds |\n|---|---|\n" + rows + "\n"
    )
    print((HERE / "streaming.md").read_text())


if __name__ == "__main__":
    main()
