"""The grammar, the corpus, the tokenizer: what is held out stays held out."""

from __future__ import annotations

import re
from itertools import islice

import numpy as np
import pytest

from codesign.models.rewrite.corpus import Document, prose
from codesign.models.rewrite.dataset import (
    LENGTH,
    TUNING_PROSE,
    TUNING_REWRITES,
    heldout_rows,
    load_data,
    training_windows,
)
from codesign.models.rewrite.generator import (
    HELDOUT_NAMES,
    HELDOUT_PAIRS,
    HELDOUT_PHRASINGS,
    HELDOUT_SPLITS,
    Rewrite,
    heldout,
    training_stream,
)
from codesign.models.rewrite.templates import BODIES, EXTRAS, NAMES
from codesign.models.rewrite.tokens import DATA, END_ID, SPECIAL, load_tokenizer, pad_rows


@pytest.fixture(scope="module")
def training() -> list[Rewrite]:
    return list(islice(training_stream("0:17"), 5000))


@pytest.fixture(scope="module")
def invented() -> list[Rewrite]:
    return list(islice(training_stream("0:17", invented=0.6), 2000))


def pattern(template: str) -> re.Pattern[str]:
    """The template with any words in its slots."""
    return re.compile(".+?".join(re.escape(part) for part in re.split(r"{\w+}", template)))


def test_training_never_shows_a_held_out_name(training: list[Rewrite]) -> None:
    words = {word for e in training for word in re.findall(r"[A-Z][a-z]+", e.text)}
    assert len(HELDOUT_NAMES) >= 30
    assert not words & HELDOUT_NAMES
    assert len(words & set(NAMES)) == len(NAMES) - len(HELDOUT_NAMES)


def test_invented_names_are_new_almost_every_time_and_never_held_out(invented: list[Rewrite]) -> None:
    names = [name for e in invented for name in e.names]
    new = [name for name in names if name not in NAMES]
    assert not set(names) & HELDOUT_NAMES
    assert 0.5 < len(new) / len(names) < 0.7
    assert len(set(new)) > 0.6 * len(new)


def test_training_never_shows_a_held_out_phrasing_in_source_or_target(training: list[Rewrite]) -> None:
    assert len(HELDOUT_PHRASINGS) >= 15
    text = "\n".join(f"{e.source}\n{e.target}" for e in training)
    for phrasing in HELDOUT_PHRASINGS:
        assert not [m for m in pattern(phrasing).findall(text) if "\n" not in m], phrasing


def test_training_never_joins_a_held_out_pair_of_sentences(training: list[Rewrite]) -> None:
    assert len(HELDOUT_PAIRS) >= 30
    assert not {(e.body, e.extra) for e in training} & HELDOUT_PAIRS


def test_every_intent_is_in_training_in_every_direction(training: list[Rewrite]) -> None:
    assert {(e.body, e.style) for e in training} >= {(b.name, s) for b in BODIES for s in ("shorten", "casual->polite")}
    assert {e.extra for e in training} == {None, *(x.name for x in EXTRAS)}


def test_each_held_out_split_holds_what_its_name_says() -> None:
    names, combinations, phrasings = (heldout(split, 60) for split in HELDOUT_SPLITS)
    assert all(set(e.names) <= HELDOUT_NAMES for e in names)
    assert all(e.phrasing not in HELDOUT_PHRASINGS for e in names)
    assert all((e.body, e.extra) in HELDOUT_PAIRS for e in combinations)
    assert all(e.phrasing in HELDOUT_PHRASINGS for e in phrasings)


def test_one_source_has_one_right_answer(training: list[Rewrite]) -> None:
    answers: dict[str, set[str]] = {}
    for e in training:
        answers.setdefault(e.prompt, set()).add(e.target)
    assert all(len(found) == 1 for found in answers.values())


def test_every_slot_is_filled(training: list[Rewrite]) -> None:
    assert not [e.text for e in training if re.search(r"[{}]", e.text)]


def test_the_same_seed_gives_the_same_stream() -> None:
    first, again, other = (list(islice(training_stream(s), 50)) for s in (5, 5, 6))
    assert first == again
    assert first != other


def test_text_survives_the_tokenizer(training: list[Rewrite]) -> None:
    tokenizer = load_tokenizer()
    samples = [e.source for e in training[:200]] + ["naïve café, 12:30 — ok?\n\tdone", "", " two  spaces "]
    assert [tokenizer.decode(tokenizer.encode(s).ids) for s in samples] == samples


def test_the_vocabulary_has_1024_entries_and_each_special_token_is_one_id() -> None:
    tokenizer = load_tokenizer()
    assert tokenizer.get_vocab_size() == 1024
    assert [tokenizer.encode(s).ids for s in SPECIAL] == [[i] for i in range(len(SPECIAL))]


def test_a_number_is_encoded_digit_by_digit() -> None:
    assert load_tokenizer().encode("12:30").tokens == ["1", "2", ":", "3", "0"]


def test_the_committed_messages_are_those_of_the_generator() -> None:
    stored, drawn = load_data().rewrites, heldout_rows(32)
    assert np.array_equal(stored.tokens, drawn.tokens)
    assert np.array_equal(stored.split, drawn.split)


def test_committed_rows_end_their_answers_and_prose_fills_its_windows() -> None:
    data = load_data()
    rows = data.rewrites
    assert data.prose.shape == (32, LENGTH)
    assert all(row[total - 1] == END_ID for row, total in zip(rows.tokens, rows.total, strict=True))
    assert not any(END_ID in answer for answer in rows.targets())


def test_committed_files_are_small() -> None:
    assert (DATA / "rewrite.safetensors").stat().st_size < 5_000_000
    assert (DATA / "tokenizer.json").stat().st_size < 200_000
    assert (DATA / "evaluation.npz").stat().st_size < 200_000


def test_a_row_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="3 tokens; at most 2"):
        pad_rows([[1, 2, 3]], 2)


def test_prose_keeps_sentences_and_drops_code_and_tables() -> None:
    text = """First sentence of a paragraph
    that goes on here, long enough.

    >>> f(x[0], {1: 2})
    3

    +---+---+---+---+---+---+---+---+---+---+
    """
    assert prose(text) == "First sentence of a paragraph that goes on here, long enough."


def test_the_split_of_a_document_follows_from_its_name_alone() -> None:
    assert Document("topic:with", "a").split == Document("topic:with", "b").split == "heldout"
    assert Document("module:json", "a").split == "train"


@pytest.mark.slow
def test_windows_to_tune_on_are_those_of_training_alone() -> None:
    windows, data = training_windows(), load_data()
    assert windows.shape == (TUNING_PROSE + TUNING_REWRITES, LENGTH)
    held_out = {row.tobytes() for row in data.prose}
    assert not held_out & {row.tobytes() for row in windows}
    tokenizer = load_tokenizer()
    text = " ".join(tokenizer.decode(row.tolist()) for row in windows[TUNING_PROSE:])
    assert not [name for name in HELDOUT_NAMES if f"{name}," in text]
    assert (training_windows(1) != windows).any()
