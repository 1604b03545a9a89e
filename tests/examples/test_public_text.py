"""The text that language models are scored on: prose from Python's documentation, in two parts."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from codesign import InputError
from examples.public.smollm2 import perplexity, windows
from examples.public.text import PARTS, _prose, documents


class Characters:
    """A tokenizer with a token for each character."""

    def __call__(self, text: str) -> Any:
        return SimpleNamespace(input_ids=[ord(c) for c in text])


@pytest.mark.slow
def test_the_parts_are_the_same_each_time_and_share_no_paragraph() -> None:
    calibration, evaluation = (documents(part) for part in PARTS)
    assert documents("evaluation") == evaluation
    assert min(sum(map(len, part)) for part in (calibration, evaluation)) > 20_000
    both = [set("\n\n".join(part).split("\n\n")) for part in (calibration, evaluation)]
    assert not both[0] & both[1]


def test_prose_is_whole_sentences_on_one_line_without_marks() -> None:
    sentence = "A *block* is a piece of text that is\nexecuted as a unit, and a **module** is a block too"
    long = f"{sentence}, which is said here at some length so that the paragraph is one that is long enough."
    page = f"Title\n=====\n\n{long}\n\n   {long}\n\n{long[:-1]}\n\nx = f(y) {long}\n\nShort one.\n"
    assert _prose(page) == [long.replace("*", "").replace("\n", " ")]


def test_windows_come_from_the_beginnings_of_texts_first() -> None:
    found = windows(Characters(), ["abcdefg", "xy", "hijklm"], 4, 3)
    assert ["".join(map(chr, row)) for row in found.tolist()] == ["abc", "hij", "def", "klm"]
    with pytest.raises(InputError, match="the texts hold 4 windows of 3 tokens, 5 are wanted"):
        windows(Characters(), ["abcdefg", "xy", "hijklm"], 5, 3)


def test_perplexity_of_a_uniform_guess_is_the_number_of_tokens() -> None:
    def model(ids: Tensor) -> Any:
        return SimpleNamespace(logits=torch.zeros(*ids.shape, 50))

    assert math.isclose(perplexity(model, torch.randint(0, 50, (3, 7))), 50, rel_tol=1e-5)
