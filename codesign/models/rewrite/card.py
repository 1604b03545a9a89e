"""Measure the float network and write its model card: ``python -m codesign.models.rewrite.card [--run DIR]``.

``--run DIR`` first installs tokenizer and weights and reads the log of a training run; without it, the facts about the
training in `card.json` are kept.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from codesign.files import write_atomic
from codesign.models.card import claim
from codesign.models.rewrite import card_text
from codesign.models.rewrite.card_text import Answer, Card, DataFacts, Measured, RewriteClaims, Sizes, TrainingFacts
from codesign.models.rewrite.corpus import documents
from codesign.models.rewrite.dataset import RewriteRows, heldout_rows, load_data, prose_windows
from codesign.models.rewrite.generate import generate, texts
from codesign.models.rewrite.generator import HELDOUT_NAMES, HELDOUT_PAIRS, HELDOUT_PHRASINGS, HELDOUT_SPLITS
from codesign.models.rewrite.metrics import chrf, exact_match, perplexity
from codesign.models.rewrite.network import Decoder, DecoderConfig
from codesign.models.rewrite.task import Forced, load_network
from codesign.models.rewrite.templates import BODIES, EXTRAS, NAMES
from codesign.models.rewrite.tokens import DATA
from codesign.models.rewrite.train import INVENTED_FROM_STEP, INVENTED_NAMES, LENGTH, ROWS, SOURCE_WEIGHT
from codesign.models.task import Samples

HERE = Path(__file__).parent
PER_SPLIT, SEED = 300, 1  # messages per held-out split; other ones than those committed (seed 0)
BATCH = 100


@torch.inference_mode()
def prose_samples(network: Decoder, windows: np.ndarray) -> Samples:
    """Perplexity per window of tokens [n, length], teacher-forced."""
    no_rewrites = load_data().rewrites.take(np.arange(0))
    losses, counts = [], []
    for part in np.array_split(windows, -(-len(windows) // BATCH)):
        forced = Forced.of(part, no_rewrites)
        losses.append(forced.sums(forced.losses(forced.log_probs(network))))
        counts.append(forced.counts)
    return perplexity(np.concatenate(losses), np.concatenate(counts))


def write_answers(network: Decoder, rows: RewriteRows) -> list[str]:
    """Greedy answers to all prompts."""
    prompts = rows.prompts()
    parts = [prompts[i : i + BATCH] for i in range(0, len(prompts), BATCH)]
    return [text for part in parts for text in texts(generate(network, network.config, part))]


def rewrite_claims(network: Decoder, rows: RewriteRows) -> tuple[dict[str, RewriteClaims], list[Answer]]:
    """(exact_match, chrf and chrf of the unchanged source per held-out split, up to three examples of each)."""
    written, wanted = write_answers(network, rows), texts(rows.targets())
    sources = texts([p[1:-1] for p in rows.prompts()])
    claims: dict[str, RewriteClaims] = {}
    examples: list[Answer] = []
    for index, split in enumerate(HELDOUT_SPLITS):
        chosen = np.flatnonzero(rows.split == index)
        ours, goal, source = ([column[i] for i in chosen] for column in (written, wanted, sources))
        claims[split] = {
            "exact_match": claim(exact_match(ours, goal)),
            "chrf": claim(chrf(ours, goal)),
            "chrf_of_source": claim(chrf(source, goal)),
        }
        examples += _examples(split, source, goal, ours)
    return claims, examples


def _examples(split: str, sources: Sequence[str], wanted: Sequence[str], written: Sequence[str]) -> list[Answer]:
    """The first two answers of a split, and the first wrong one after them."""
    wrong = [i for i in range(2, len(wanted)) if wanted[i] != written[i]][:1]
    return [{"split": split, "source": sources[i], "wanted": wanted[i], "written": written[i]} for i in (0, 1, *wrong)]


def measure(network: Decoder) -> Measured:
    """All claims about the float network: on large samples, and on the committed rows."""
    committed = load_data()
    claims, examples = rewrite_claims(network, heldout_rows(PER_SPLIT, SEED))
    small, _ = rewrite_claims(network, committed.rewrites)
    windows = prose_windows("heldout", None)
    prose = claim(prose_samples(network, windows))
    heldout_bytes = sum(len(d.text.encode()) + 1 for d in documents("heldout"))
    nats_per_byte = np.log(prose["value"]) * windows.size / heldout_bytes
    return {
        "quality": {
            "perplexity": prose,
            "bits_per_byte": round(float(nats_per_byte / np.log(2)), 4),
            "rewrites": claims,
        },
        "committed_rows": {"perplexity": claim(prose_samples(network, committed.prose)), "rewrites": small},
        "examples": examples,
    }


def describe_data() -> DataFacts:
    """Sizes of corpus and grammar."""
    prose = {split: documents(split) for split in ("train", "heldout")}
    return {
        "python": platform.python_version(),
        "prose": {s: {"documents": len(d), "characters": sum(len(x.text) for x in d)} for s, d in prose.items()},
        "grammar": {
            "names": len(NAMES),
            "heldout_names": len(HELDOUT_NAMES),
            "bodies": len(BODIES),
            "extras": len(EXTRAS),
            "heldout_pairs": len(HELDOUT_PAIRS),
            "phrasings": sum(len(b.casual) + len(b.polite) for b in BODIES),
            "heldout_phrasings": len(HELDOUT_PHRASINGS),
        },
    }


def describe_training(run: Path, note: str) -> TrainingFacts:
    """Facts about a training run from its log: steps, minutes, last losses (mean of 100 steps)."""
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    last = log[-1]
    progress = json.loads(_metadata(run / "state.safetensors")["progress"])
    return {
        "seed": progress["seed"],
        "steps": progress["step"],
        "minutes": round(progress["seconds"] / 60, 1),
        "threads": 1,
        "tokens_per_step": ROWS * LENGTH,
        "source_weight": SOURCE_WEIGHT,
        "invented_names": INVENTED_NAMES,
        "invented_from_step": INVENTED_FROM_STEP,
        "prose_loss": round(last["prose"], 4),
        "rewrite_loss": round(last["rewrite"], 4),
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, one core",
        "note": note,
    }


def describe_config(config: DecoderConfig) -> Sizes:
    return {
        "vocab": config.vocab,
        "hidden": config.hidden,
        "layers": config.layers,
        "heads": config.heads,
        "kv_heads": config.kv_heads,
        "intermediate": config.intermediate,
        "max_positions": config.max_positions,
        "rope_theta": config.rope_theta,
    }


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as opened:
        return dict(opened.metadata())


def install(run: Path) -> None:
    """Copy weights and tokenizer of a finished run into the package."""
    for name in ("rewrite.safetensors", "tokenizer.json"):
        shutil.copyfile(run / name, DATA / name)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, help="take over the result of this training run first")
    parser.add_argument("--note", default="", help="with --run: what else happened in it, a sentence or two")
    given = parser.parse_args(arguments)
    if given.run:
        install(given.run)
        training = describe_training(given.run, given.note)
    else:
        training = json.loads((HERE / "card.json").read_text(encoding="utf-8"))["training"]
    network = load_network()
    card: Card = {
        "parameters": sum(p.numel() for p in network.parameters()),
        "weights_bytes": (DATA / "rewrite.safetensors").stat().st_size,
        "config": describe_config(network.config),
        "data": describe_data(),
        "training": training,
        **measure(network),
    }
    write_atomic(HERE / "card.json", json.dumps(card, indent=1, ensure_ascii=False) + "\n")
    write_atomic(HERE / "CARD.md", card_text.render(card))


if __name__ == "__main__":
    main()
