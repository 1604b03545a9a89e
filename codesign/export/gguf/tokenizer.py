"""The tokenizer of a language model in the metadata of GGUF."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from codesign.models.directories.weights import reading

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6  # gguf.TokenType
_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_LAST = -1e9  # score of a token that no merge makes
_SPECIAL = ("bos", "eos", "unk", "pad")
# how text is split before merges, by llama.cpp's names for it (src/llama-vocab.cpp)
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPLITS = {
    _CONTRACTIONS + r"\p{N}{1,3}" + _REST: "llama-bpe",
    _CONTRACTIONS + r"\p{N}" + _REST: "qwen2",
}


@dataclass(frozen=True)
class Tokens:
    """Keys of the metadata, or why there are none."""

    model: str  # llama.cpp's kind of tokenizer
    pre: str = ""  # how it splits text
    tokens: tuple[str, ...] = ()
    kinds: tuple[int, ...] = ()
    merges: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    special: Mapping[str, int] | None = None  # id by name
    adds: Mapping[str, bool] | None = None  # whether texts get a token, by its name
    space: bool | None = None  # whether a text gets a space before it
    template: str | None = None  # of a chat
    missing: str | None = None  # what llama.cpp lacks for this tokenizer


def add_tokenizer(writer: Any, source: Path, size: int) -> str | None:
    """Add the tokenizer of a directory or of a GGUF file to a gguf.GGUFWriter.

    size: tokens of the network. Returns why there is none, if llama.cpp has no such tokenizer; None if there is one.
    """
    file = source if source.is_file() else None
    if file is None and not (source / "config.json").is_file():
        file = next(iter(sorted(source.glob("*.gguf"))), None)
    if file is not None:
        _copy(writer, file)
        return None
    found = _read(source, size)
    writer.add_tokenizer_model(found.model)
    if found.missing is not None:
        return found.missing
    writer.add_tokenizer_pre(found.pre)
    writer.add_token_list(list(found.tokens))
    writer.add_token_types(list(found.kinds))
    if found.merges:
        writer.add_token_merges(list(found.merges))
    if found.scores:
        writer.add_token_scores(list(found.scores))
    for name, number in (found.special or {}).items():
        getattr(writer, f"add_{name}_token_id")(number)
    for name, added in (found.adds or {}).items():
        getattr(writer, f"add_add_{name}_token")(added)
    if found.space is not None:
        writer.add_add_space_prefix(found.space)
    if found.template:
        writer.add_chat_template(found.template)
    return None


def _copy(writer: Any, file: Path) -> None:
    """The metadata of the tokenizer of another file."""
    import gguf

    with reading(file):
        for key, field in gguf.GGUFReader(file).fields.items():
            if key.startswith("tokenizer."):
                sub = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
                writer.add_key_value(key, field.contents(), field.types[0], sub_type=sub)


def _read(folder: Path, size: int) -> Tokens:
    if not any((folder / each).is_file() for each in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        return Tokens("none", missing="the directory holds none")
    from transformers import AutoTokenizer

    with reading(folder):
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            return Tokens("none", missing="it is none of the library tokenizers")
        content = json.loads(backend.to_str())
    model = content["model"]
    if model.get("type") != "BPE":
        return Tokens("none", missing=f"its kind '{model.get('type')}' is none of llama.cpp's")
    pairs = [each.split(" ") if isinstance(each, str) else each for each in model["merges"]]
    if not pairs:
        return Tokens("none", missing="it merges nothing, and llama.cpp wants merges")
    bytewise = not model.get("byte_fallback")
    pre = _split(content) if bytewise else "default"
    if pre is None:
        return Tokens("none", missing="llama.cpp has no name for how it splits text")
    tokens, kinds = _vocabulary(content, size, bytewise)
    ids = tokenizer("a")["input_ids"]
    special = {name: getattr(tokenizer, f"{name}_token_id", None) for name in _SPECIAL}
    known = {name: int(number) for name, number in special.items() if number is not None and number < size}
    adds = {"bos": ids[:1] == [special["bos"]], "eos": len(ids) > 1 and ids[-1:] == [special["eos"]]}
    template = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else None
    found = Tokens("gpt2", pre, tokens, kinds, special=known, adds=adds, template=template)
    if bytewise:
        return replace(found, merges=tuple(" ".join(pair) for pair in pairs))
    return replace(found, model="llama", scores=_scores(tokens, pairs), space=_prefixed(content))


def _vocabulary(content: Mapping[str, Any], size: int, bytewise: bool) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """(text, gguf.TokenType) of each of the network's tokens."""
    texts = {number: text for text, number in content["model"]["vocab"].items()}
    kinds = dict.fromkeys(texts, _NORMAL)
    if not bytewise:
        kinds |= {number: _BYTE for number, text in texts.items() if _BYTE_TOKEN.fullmatch(text)}
        kinds |= {number: _UNKNOWN for number, text in texts.items() if text == content["model"].get("unk_token")}
    for added in content["added_tokens"]:
        texts[added["id"]] = added["content"]
        if kinds.get(added["id"]) != _UNKNOWN:
            kinds[added["id"]] = _CONTROL if added["special"] else _USER_DEFINED
    every = range(size)
    return tuple(texts.get(n, f"[PAD{n}]") for n in every), tuple(kinds.get(n, _UNUSED) for n in every)


def _scores(tokens: tuple[str, ...], pairs: list[list[str]]) -> tuple[float, ...]:
    """llama.cpp joins the pair whose token has the highest score: the one that is merged first."""
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(pairs):
        ranks.setdefault("".join(pair), rank)
    return tuple(-float(ranks[token]) if token in ranks else _LAST for token in tokens)


def _split(content: Mapping[str, Any]) -> str | None:
    """llama.cpp's name for how a tokenizer of bytes splits text; None if it has none."""
    normalizer = content.get("normalizer")
    if normalizer is not None and normalizer.get("type") != "NFC":
        return None
    steps = list(_steps(content.get("pre_tokenizer") or {}))
    kinds = [step.get("type") for step in steps]
    if not kinds or kinds[-1] != "ByteLevel" or steps[-1].get("add_prefix_space"):
        return None
    usual = steps[-1].get("use_regex", True)
    if kinds == ["ByteLevel"] and usual:
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and usual and steps[0].get("individual_digits"):
        return "smollm"
    if kinds == ["Split", "ByteLevel"] and not usual:
        return _SPLITS.get(steps[0].get("pattern", {}).get("Regex", ""))
    return None


def _steps(pre: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if pre.get("type") == "Sequence":
        for each in pre["pretokenizers"]:
            yield from _steps(each)
    elif pre:
        yield pre


def _prefixed(content: Mapping[str, Any]) -> bool:
    """Whether a tokenizer in the way of SentencePiece puts a space before a text."""
    normalizer = content.get("normalizer") or {}
    parts = normalizer.get("normalizers", [normalizer])
    scheme = (content.get("pre_tokenizer") or {}).get("prepend_scheme", "never")
    return scheme != "never" or any(part.get("type") == "Prepend" for part in parts)
