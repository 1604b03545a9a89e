"""Words that no message, log or traceback of this process may show, such as the password of a storage."""

from __future__ import annotations

import re
from collections.abc import Iterable

MASK = "***"
_SHORT = 4  # a shorter word is hidden only where it stands alone

_words: set[str] = set()


def hide(words: Iterable[str]) -> None:
    """From now on, `hidden` replaces these words."""
    _words.update(word for word in words if word)


def hidden(text: str) -> str:
    """The text with every word to hide replaced by ***."""
    for word in sorted(_words, key=len, reverse=True):
        if len(word) >= _SHORT:
            text = text.replace(word, MASK)
        else:
            text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", MASK, text)
    return text
