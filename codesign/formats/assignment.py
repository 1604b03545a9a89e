"""The formats of a network's layers: `LayerFormats` for one layer, `Assignment` for the whole network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from codesign.errors import InputError, nearest
from codesign.files import read_text
from codesign.formats.format import datapath
from codesign.formats.table import get_format
from codesign.jsonio import line_of, read_json


class Layered(Protocol):
    """Anything that lists the layers of a network with their kinds, such as a `Workload`."""

    def layer_kinds(self) -> dict[str, str]: ...


NEAREST = "nearest"
METHODS = {
    NEAREST: "each number to the nearest of the format",
    "clip": "scales that lose least on the layer's inputs, each number to the nearest",
    "gptq": "such scales, and each number so that it makes up for the errors of those before it",
    "descent": "as gptq, and then each number again, three times, with all others known",
}
"""How weights are rounded; see `codesign.quality.rounding`."""


@dataclass(frozen=True, order=True)
class FormatPair:
    """Names of the formats of the two operands of a matrix product, and how a weight is rounded to its format."""

    weight: str  # of the stationary operand: the weight, or the key or value of an attention product
    activation: str  # of the streamed operand
    method: str = NEAREST  # one of METHODS; keys and values are always rounded to the nearest

    def __str__(self) -> str:
        text = f"{self.weight}:{self.activation}"
        return text if self.method == NEAREST else f"{text}+{self.method}"

    @classmethod
    def parse(cls, text: str) -> FormatPair:
        """Parse ``"int4_g32:int8"`` or ``"int4_g32:int8 + gptq"``; a single name stands for both operands.

        The names are not checked.
        """
        formats, plus, method = text.partition("+")
        weight, colon, activation = formats.partition(":")
        return cls(weight.strip(), (activation if colon else weight).strip(), method.strip() if plus else NEAREST)

    @property
    def datapath(self) -> FormatPair:
        """The pair as a compute unit sees it: ``int4_g32:int8`` of ``int4_g32:int8_token``."""
        return FormatPair(datapath(self.weight), datapath(self.activation))

    def checked(self) -> FormatPair:
        """Return the pair; raises InputError with the nearest name if a format or the method is unknown."""
        for name in (self.weight, self.activation):
            get_format(name)
        check_method(self.method)
        return self

    @property
    def formats(self) -> FormatPair:
        """The pair without its method, on which no cost depends."""
        return self if self.method == NEAREST else FormatPair(self.weight, self.activation)


def check_method(name: str) -> str:
    """Return `name`; raises InputError with the nearest method if it is none."""
    if name not in METHODS:
        raise InputError(f"unknown method '{name}'{nearest(name, METHODS)}")
    return name


@dataclass(frozen=True)
class LayerFormats:
    """Names of the formats of one layer.

    A convolution or linear layer has ``activation`` and ``weight``, and the ``method`` by which the weight is rounded;
    an attention layer has ``activation``, ``key`` and ``value``.
    """

    activation: str  # of the input; in an attention layer, of the queries and the attention probabilities
    weight: str | None = None
    key: str | None = None
    value: str | None = None
    method: str = NEAREST

    @classmethod
    def of_pair(cls, pair: FormatPair, *, attention: bool) -> LayerFormats:
        """Formats of a layer that uses `pair` in every product."""
        if attention:
            return cls(activation=pair.activation, key=pair.weight, value=pair.weight)
        return cls(activation=pair.activation, weight=pair.weight, method=pair.method)

    @property
    def choice(self) -> FormatPair:
        """The pair of the layer with its method; of an attention layer that of its first product."""
        return FormatPair(self.weight or self.key or "", self.activation, self.method)

    @property
    def roles(self) -> dict[str, str]:
        """The name of each operand's format."""
        fields = {"weight": self.weight, "activation": self.activation, "key": self.key, "value": self.value}
        return {role: name for role, name in fields.items() if name is not None}

    def pair(self, kind: str) -> FormatPair:
        """Operand formats of a product of `kind` (conv, linear, attention_qk, attention_pv), without the method.

        Raises ValueError if the stationary operand has no format.
        """
        stationary = {"attention_qk": self.key, "attention_pv": self.value}.get(kind, self.weight)
        if stationary is None:
            raise ValueError(f"no stationary format for a product of kind {kind!r} in {self}")
        return FormatPair(stationary, self.activation)

    def to_dict(self) -> dict[str, str]:
        """JSON form, without the fields that are None, and without the method if it is the nearest."""
        return self.roles if self.method == NEAREST else self.roles | {"method": self.method}


@dataclass(frozen=True)
class Assignment(Mapping[str, LayerFormats]):
    """Layer name -> LayerFormats for a whole network; immutable, hashable by content."""

    layers: tuple[tuple[str, LayerFormats], ...]  # sorted by name

    @classmethod
    def of(cls, layers: Mapping[str, LayerFormats]) -> Assignment:
        """The assignment of a mapping from layers to their formats."""
        return cls(tuple(sorted(layers.items())))

    @classmethod
    def of_pairs(cls, pairs: Mapping[str, FormatPair], kinds: Mapping[str, str]) -> Assignment:
        """One pair per layer, for all of its products; `kinds` as returned by `Workload.layer_kinds`."""
        return cls.of({n: LayerFormats.of_pair(p, attention=kinds[n] == "attention") for n, p in pairs.items()})

    @classmethod
    def uniform(cls, network: Layered, formats: str) -> Assignment:
        """The same format pair, such as ``"int8"`` or ``"int4_g32:int8"``, in every layer of a workload.

        Raises InputError with the nearest name if a format is unknown.
        """
        kinds = network.layer_kinds()
        return cls.of_pairs(dict.fromkeys(kinds, FormatPair.parse(formats).checked()), kinds)

    @classmethod
    def from_dict(cls, data: Mapping[str, Mapping[str, str]]) -> Assignment:
        """Inverse of `to_dict`; raises TypeError on unknown keys."""
        return cls.of({name: LayerFormats(**fields) for name, fields in data.items()})

    @cached_property
    def _by_name(self) -> dict[str, LayerFormats]:
        return dict(self.layers)

    def __getitem__(self, layer: str) -> LayerFormats:
        return self._by_name[layer]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def to_dict(self) -> dict[str, dict[str, str]]:
        """JSON form: layer -> its formats, as `codesign evaluate --assignment` reads it."""
        return {name: formats.to_dict() for name, formats in self.layers}

    def digest(self) -> str:
        """Short content hash (hex), the same on every machine."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


_ROLES = ("weight", "activation", "key", "value")
_METHOD = "method"


class AssignmentError(InputError):
    """A mistake in the JSON form of an assignment."""

    def __init__(self, text: str, *location: str) -> None:
        super().__init__(text)
        self.location = location  # the layer, and the role in it


def parse_assignment(data: object) -> Assignment:
    """The Assignment of JSON that people may have edited, {layer: {weight: format, activation: format}}.

    Raises AssignmentError on another form, an unknown format, or no layer.
    """
    if not isinstance(data, Mapping):
        raise AssignmentError(f"expected {{layer: {{weight: format, activation: format}}}}, found {_kind(data)}")
    if not data:
        raise AssignmentError("an assignment without layers")
    return Assignment.of({layer: _parse_layer(layer, written) for layer, written in data.items()})


def _parse_layer(layer: str, written: object) -> LayerFormats:
    where = f"layer '{layer}'"
    if not isinstance(written, Mapping):
        wanted = "{weight: format, activation: format}"
        raise AssignmentError(f"{where}: expected {wanted}, found {_kind(written)}", layer)
    for role, name in written.items():
        if role not in (*_ROLES, _METHOD):
            raise AssignmentError(f"{where}: unknown key '{role}'{nearest(role, (*_ROLES, _METHOD))}", layer, role)
        if not isinstance(name, str):
            wanted = "a method" if role == _METHOD else "the name of a format"
            raise AssignmentError(f"{where}: {role}: expected {wanted}, found {_kind(name)}", layer, role)
        try:
            check_method(name) if role == _METHOD else get_format(name)
        except InputError as error:
            raise AssignmentError(f"{where}: {role}: {error}", layer, role) from None
    if "activation" not in written:
        raise AssignmentError(f"{where}: key 'activation' is missing", layer)
    if ("weight" in written) == ("key" in written or "value" in written) or ("key" in written) != ("value" in written):
        raise AssignmentError(f"{where}: needs either a weight, or a key and a value", layer)
    if _METHOD in written and "weight" not in written:
        raise AssignmentError(f"{where}: method goes with a weight", layer, _METHOD)
    return LayerFormats(**written)


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__


def read_assignment(path: Path) -> Assignment:
    """Read an Assignment from a JSON file, {layer: {weight: format, activation: format}}.

    Raises InputError with file and line if the file has another form or names an unknown format.
    """
    try:
        return parse_assignment(read_json(path))
    except AssignmentError as error:
        raise InputError(f"{path}:{line_of(read_text(path), *error.location)}: {error}") from None
