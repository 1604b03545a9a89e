"""The model card as Markdown, every number from `card.json`."""

from __future__ import annotations

from typing import TypedDict

from codesign.models.card import Claim, bracket


class Sizes(TypedDict):
    """The configuration of the decoder, as `DecoderConfig`."""

    vocab: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    max_positions: int
    rope_theta: float


class ProseFacts(TypedDict):
    """Size of a split of the prose."""

    documents: int
    characters: int


class GrammarFacts(TypedDict):
    """Numbers of words and sentences in the grammar, and of those held out from training."""

    names: int
    heldout_names: int
    bodies: int
    extras: int
    heldout_pairs: int
    phrasings: int
    heldout_phrasings: int


class DataFacts(TypedDict):
    """Training and evaluation data."""

    python: str  # version whose standard library is the prose
    prose: dict[str, ProseFacts]  # by split
    grammar: GrammarFacts


class TrainingFacts(TypedDict):
    """How the weights were trained, and on what machine."""

    seed: int
    steps: int
    minutes: float
    threads: int
    tokens_per_step: int
    source_weight: float  # weight of a message's source in the loss
    invented_names: float  # share of the names, from step invented_from_step on
    invented_from_step: int
    prose_loss: float  # losses: nats per token, mean of the last 100 steps
    rewrite_loss: float
    torch: str
    machine: str
    note: str  # a remark; may be empty


class RewriteClaims(TypedDict):
    """Claims about a held-out split."""

    exact_match: Claim
    chrf: Claim
    chrf_of_source: Claim  # of returning the source unchanged


class CommittedClaims(TypedDict):
    """Claims on the committed rows."""

    perplexity: Claim
    rewrites: dict[str, RewriteClaims]  # by split


class QualityClaims(CommittedClaims):
    """Claims on larger samples."""

    bits_per_byte: float


class Answer(TypedDict):
    """A message of a held-out split, the right answer and the answer of the network."""

    split: str
    source: str
    wanted: str
    written: str


class Measured(TypedDict):
    """All measurements of the card."""

    quality: QualityClaims
    committed_rows: CommittedClaims
    examples: list[Answer]


class Card(Measured):
    """card.json."""

    parameters: int
    weights_bytes: int  # size of the file
    config: Sizes
    data: DataFacts
    training: TrainingFacts


def render(card: Card) -> str:
    """card.json -> CARD.md."""
    return "\n\n".join([_network(card), _data(card), _training(card), _quality(card), _examples(card), LIMITS]) + "\n"


def _network(card: Card) -> str:
    c = card["config"]
    lookup = f"{c['vocab'] * c['hidden']:,}"
    return f"""# Model card: rewrite

A Llama-style decoder that rewrites short messages (casual to polite, polite to casual, shorter) and
continues English prose. In `codesign` it represents the message-rewriting language models of a phone:
the same operators (RMSNorm, rotary positions, SwiGLU, grouped-query attention, KV cache) at a size whose
quality can be measured in a fraction of a second. It is not meant to be used as a writing aid.

| | |
|---|---|
| parameters | {card["parameters"]:,} (embedding {lookup}, head {lookup}, tied in training) |
| layers | {c["layers"]}, hidden {c["hidden"]}, SwiGLU {c["intermediate"]} |
| attention | {c["heads"]} query heads on {c["kv_heads"]} key/value heads |
| vocabulary | {c["vocab"]}, byte-level BPE |
| weights | `data/rewrite.safetensors`, float16, {card["weights_bytes"]:,} bytes; computed in float32 |

The head is a matrix of its own in the file, so that quantizing it does not touch the embedding lookup, which is
no matrix product and stays float. The float16 values *are* the float reference of all measurements."""


def _data(card: Card) -> str:
    d = card["data"]
    g, train, heldout = d["grammar"], d["prose"]["train"], d["prose"]["heldout"]
    return f"""## Data

| part | source | licence | training | held out |
|---|---|---|---|---|
| prose | `pydoc_data.topics` and docstrings of the library, Python {d["python"]} | PSF-2.0 | \
{train["documents"]} documents, {train["characters"]:,} characters | {heldout["documents"]} documents, \
{heldout["characters"]:,} characters |
| messages | `grammar.yaml`, written for this project | Apache-2.0 | an endless stream | three splits, below |

A prose document is one topic or one top-level module; a hash of its name decides the split, and a docstring
that stands in several modules is kept once. Paragraphs with code or tables are left out.

The grammar has {g["bodies"]} intents in {g["phrasings"]} phrasings, {g["extras"]} second sentences and
{g["names"]} first names. Each message has exactly one right answer (the first phrasing of its intent), which
makes exact match meaningful.

| held-out split | what training never shows |
|---|---|
| names | {g["heldout_names"]} of the names (all names in these messages are such) |
| combinations | {g["heldout_pairs"]} pairs of intent and second sentence |
| phrasings | {g["heldout_phrasings"]} source phrasings: the messages say a known thing in unseen words |

`data/evaluation.npz` holds the rows that every report uses (excerpts of the prose above, under the same
licence), so that results do not depend on the user's version of Python."""


def _training(card: Card) -> str:
    t = card["training"]
    return f"""## Training

`python -m codesign.models.rewrite.train --out DIR --seed {t["seed"]} --minutes {t["minutes"]:.0f}`:
{t["steps"]:,} steps of {t["tokens_per_step"]:,} tokens in {t["minutes"]} minutes on one thread ({t["machine"]},
torch {t["torch"]}). AdamW, cosine schedule over the time given; 5 of 12 rows of a batch are prose, 7 are messages.
The source of a message weighs {t["source_weight"]} in the loss, its answer 1. Last training losses (nats per token):
prose {t["prose_loss"]}, answers {t["rewrite_loss"]}.

From step {t["invented_from_step"]:,} on, {100 * t["invented_names"]:.0f} % of the names in messages are made up of
syllables: with a list alone, the network learned the list and answered unknown names with similar known ones.
(That was seen on the split `names` early in the run, so this one split has influenced the training's design.)
{t["note"]}""".rstrip()


def _quality(card: Card) -> str:
    q, c = card["quality"], card["committed_rows"]
    lines = [
        "## Float quality",
        "",
        "Brackets: 95 % bootstrap interval over rows; n: rows. Answers are decoded greedily. The last column is the",
        "chrF of handing back the source unchanged. Written by `python -m codesign.models.rewrite.card`.",
        "",
        "| split | exact match | chrF | chrF of the source | n |",
        "|---|---|---|---|---|",
    ]
    lines += [_split_row(name, s) for name, s in q["rewrites"].items()]
    lines += [
        "",
        f"Held-out prose: perplexity {bracket(q['perplexity'])} per token over {q['perplexity']['n']} windows of 128",
        f"tokens; {q['bits_per_byte']:.3f} bits per byte.",
        "",
        f"On the rows of `data/evaluation.npz`: perplexity {bracket(c['perplexity'])} over",
        f"{c['perplexity']['n']} windows, and",
        "",
        "| split | exact match | chrF | chrF of the source | n |",
        "|---|---|---|---|---|",
    ]
    lines += [_split_row(name, s) for name, s in c["rewrites"].items()]
    return "\n".join(lines)


def _split_row(name: str, s: RewriteClaims) -> str:
    cells = [
        f"{bracket(s['exact_match'], 1, times=100)} %",
        bracket(s["chrf"], 1),
        f"{s['chrf_of_source']['value']:.1f}",
    ]
    return f"| {name} | {' | '.join(cells)} | {s['exact_match']['n']} |"


def _examples(card: Card) -> str:
    lines = ["## Examples", "", "The first two messages of each split, and the first wrong answer after them.", ""]
    lines += ["| split | source | written | right |", "|---|---|---|---|"]
    for e in card["examples"]:
        verdict = "yes" if e["written"] == e["wanted"] else f"no: {e['wanted']}"
        lines.append(f"| {e['split']} | {e['source']} | {e['written']} | {verdict} |")
    return "\n".join(lines)


LIMITS = """## Limits

- English messages of the grammar's kind only: on free text the network produces fluent-looking nonsense. The
  grammar is narrow, so exact match here says how much of a *learned* skill survives quantization, not how well a
  phone's assistant would write.
- Prose is technical documentation; its perplexity is not comparable to that of other corpora or vocabularies.
- At this size quantization hurts earlier than at a billion parameters, where outliers in activations hurt
  instead. The ranking of formats by error transfers better than the errors themselves.
- Held-out names are held out from messages; as English words (Will, Mark) they may occur in the prose.
- The schedule depends on the time spent: another machine runs another number of steps and obtains other weights. The
  data and all random choices follow from the seed."""
