"""The named networks, and the syntax ``NAME:OPTION=VALUE,...`` to request one.

Needs no torch: names, options and published counts are read from catalogue.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from codesign.errors import InputError, nearest
from codesign.workload.configs import (
    AutoencoderConfig,
    LanguageModelConfig,
    SuperResolutionConfig,
    TextEncoderConfig,
    UNetConfig,
)
from codesign.workload.options import (
    DiffusionOptions,
    LanguageOptions,
    LatentOptions,
    Options,
    SuperResolutionOptions,
    TextOptions,
)
from codesign.yamlio import Written, load_yaml

_FILE = Path(__file__).with_name("catalogue.yaml")


class Entry(Written):
    """What all entries of catalogue.yaml have in common."""

    source: str  # of the configuration
    parameters: int
    gmacs: dict[str, float]  # phase -> 10^9 MACs of one pass with the entry's options


class UNetEntry(Entry):
    kind: Literal["unet"]
    config: UNetConfig
    options: DiffusionOptions = DiffusionOptions()


class AutoencoderEntry(Entry):
    kind: Literal["vae-decoder", "vae-encoder"]
    config: AutoencoderConfig
    options: LatentOptions = LatentOptions()


class TextEncoderEntry(Entry):
    kind: Literal["text-encoder"]
    config: TextEncoderConfig
    options: TextOptions = TextOptions()


class SuperResolutionEntry(Entry):
    kind: Literal["edsr", "imdn"]
    config: SuperResolutionConfig
    options: SuperResolutionOptions = SuperResolutionOptions()


class LanguageModelEntry(Entry):
    kind: Literal["language-model"]
    config: LanguageModelConfig
    options: LanguageOptions = LanguageOptions()


class PipelineEntry(Entry):
    kind: Literal["pipeline"]
    parts: dict[str, str]  # prefix of the layer names -> name of the network, in order of execution
    options: DiffusionOptions = DiffusionOptions()


AnyEntry = Annotated[
    UNetEntry | AutoencoderEntry | TextEncoderEntry | SuperResolutionEntry | LanguageModelEntry | PipelineEntry,
    Field(discriminator="kind"),
]


class _Catalogue(Written):
    networks: dict[str, AnyEntry]


@dataclass(frozen=True)
class Request:
    """A named network with the requested options."""

    name: str
    entry: AnyEntry  # with the requested options
    spelling: str  # the shortest spelling of this request


@lru_cache(maxsize=1)
def catalogue() -> Mapping[str, AnyEntry]:
    """Name -> entry, in the order of catalogue.yaml."""
    return load_yaml(_FILE, _Catalogue, strict=False).networks


def workload_names() -> tuple[str, ...]:
    """Names accepted by `named_workload`, sorted."""
    return tuple(sorted(catalogue()))


def request(spelling: str, given: Mapping[str, Any]) -> Request:
    """Parse `spelling` (``NAME`` or ``NAME:OPTION=VALUE,...``) and combine it with the options in `given`.

    Raises:
        InputError: unknown name or option, an option given twice, or a value out of range; names the nearest valid one.
    """
    name, colon, written = spelling.partition(":")
    if name not in catalogue():
        raise InputError(f"unknown network '{name}'{nearest(name, catalogue())}")
    entry = catalogue()[name]
    asked = _written_options(name, written) if colon else {}
    twice = next((key for key in asked if key in given), None)
    if twice:
        raise InputError(f"{name}: option '{twice}' is given twice")
    options = _checked(name, entry.options, asked | dict(given))
    differing = options.spelled(entry.options)
    found = entry.model_copy(update={"options": options})
    return Request(name, found, f"{name}:{differing}" if differing else name)


def _written_options(name: str, written: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in written.split(","):
        key, equals, value = (text.strip() for text in part.partition("="))
        if not (key and equals and value):
            raise InputError(f"{name}: expected {name}:OPTION=VALUE,OPTION=VALUE, not '{name}:{written}'")
        if key in found:
            raise InputError(f"{name}: option '{key}' is given twice")
        found[key] = value
    return found


def _checked(name: str, defaults: Options, asked: Mapping[str, Any]) -> Options:
    known = type(defaults).model_fields
    unknown = next((key for key in asked if key not in known), None)
    if unknown is not None:
        raise InputError(f"{name} has no option '{unknown}'{nearest(unknown, known)}")
    try:
        return type(defaults).model_validate(dict(defaults) | dict(asked))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{name}: {first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}") from None
