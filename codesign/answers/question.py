"""`Question`: a question with its options, which are written KEY=VALUE."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from codesign.answers.answer import Answer
from codesign.formats import FormatPair
from codesign.hardware.chip.accelerator import AXES, check_node
from codesign.yamlio import Written, parse_options

Say = Callable[[str], None]  # told what is being computed


class Options(Written):
    """Base of the options of a question."""

    @classmethod
    def shown(cls) -> list[tuple[str, str, str]]:
        """(name, usual value, meaning) of every option."""
        usual = cls().written()
        return [(name, usual[name], field.description or "") for name, field in cls.model_fields.items()]

    def written(self) -> dict[str, str]:
        """Option -> its value as it is written on the command line."""
        return {name: _text(getattr(self, name)) for name in type(self).model_fields}


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Question:
    """A question that ``codesign ask`` answers."""

    name: str
    summary: str  # the question in words, with its usual options
    options: type[Options]
    answer: Callable[[Any, Say], Answer]  # of its options

    def asked(self, written: Sequence[str]) -> Options:
        """The options KEY=VALUE; raises InputError on an unknown key, with the nearest, or a wrong value."""
        if not written:
            return self.options()
        form = "KEY=VALUE (codesign ask lists the options)"
        return parse_options(self.name, written, self.options, form, strict=False)

    def command(self, options: Options) -> str:
        """The command line with the options that are not as usual."""
        usual = self.options().written()
        given = [f"{key}={value}" for key, value in options.written().items() if value != usual[key]]
        return " ".join(["codesign ask", self.name, *given])


def _listed(written: Any) -> Any:
    """A list of the command line, separated by commas."""
    if isinstance(written, str):
        return tuple(part.strip() for part in written.split(","))
    return (written,) if isinstance(written, (int, float)) else written


def _pair(text: str) -> str:
    return str(FormatPair.parse(text).checked().datapath)


def _node(nm: float) -> float:
    check_node(nm)
    return nm


def _short(pair: str) -> str:
    """``int8`` for ``int8:int8``."""
    weight, _, activation = pair.partition(":")
    return weight if weight == activation else pair


Positive = Annotated[float, Field(gt=0, le=1e9)]
Node = Annotated[float, BeforeValidator(float), Field(gt=0)]
Pair = Annotated[str, BeforeValidator(lambda text: _short(_pair(str(text))))]
Pairs = Annotated[tuple[Pair, ...], BeforeValidator(_listed), Field(min_length=1)]
Numbers = Annotated[tuple[Positive, ...], BeforeValidator(_listed), Field(min_length=1)]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed), Field(min_length=1)]


class ChipOptions(Options):
    """Options of the chips among which the smallest is found."""

    dram: Annotated[str, Field(description="DRAM type, or the file of one")] = "lpddr5x_8533"
    channels: Annotated[int, Field(ge=1, description="channels of DRAM")] = 4
    clock_mhz: Annotated[Numbers, Field(description="clocks of the array")] = (1000,)

    def axes(self) -> dict[str, Any]:
        """The axes of the grid that the options fix."""
        clocks = [AXES["clock_hz"].value(mhz) for mhz in self.clock_mhz]
        return {"dram": [self.dram], "dram_channels": [self.channels], "clock_hz": clocks}
