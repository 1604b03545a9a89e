"""Options of the named networks: image size, batch, steps, guidance, tokens."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from codesign.yamlio import Written

LATENT_PIXELS = 8  # pixels per latent on each axis: Stable Diffusion's autoencoder halves three times
_LARGEST_IMAGE = 8192
_MOST_TOKENS = 1 << 20


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not re.fullmatch(r"[+-]?\d+", str(value)):
            raise ValueError(f"expected a whole number from {low} to {high}, not '{value}'")
        number = int(value)
        if not low <= number <= high:
            closest = min(max(number, low), high)
            raise ValueError(f"expected a whole number from {low} to {high}, not '{value}'; nearest: {closest}")
        return number

    return check


def _pixels(multiple: int) -> Callable[[Any], tuple[int, int]]:
    what = f"{multiple} to {_LARGEST_IMAGE} pixels a side" + f" in multiples of {multiple}" * (multiple > 1)

    def check(value: Any) -> tuple[int, int]:
        written = image_text(value) if isinstance(value, (tuple, list)) else str(value)
        sides = [int(side) for side in written.split("x")] if re.fullmatch(r"-?\d+(x-?\d+)?", written) else []
        if not sides:
            raise ValueError(f"expected {what}, as 768 or 768x512 (height x width), not '{written}'")
        closest = [min(max(round(side / multiple) * multiple, multiple), _LARGEST_IMAGE) for side in sides]
        if closest != sides:
            nearest = "x".join(map(str, closest))
            raise ValueError(f"expected {what}, not '{written}'; nearest: {nearest}")
        return sides[0], sides[-1]

    return check


def _switch(value: Any) -> bool:
    known = {"on": True, "true": True, "off": False, "false": False}
    if str(value).lower() not in known:
        raise ValueError(f"expected on or off, not '{value}'")
    return known[str(value).lower()]


Tokens = Annotated[int, BeforeValidator(_whole(1, _MOST_TOKENS))]
Image = tuple[int, int]  # height, width


class Options(Written):
    """Options of every network; values as written on the command line (``"768x512"``, ``"on"``) or Python values."""

    batch: Annotated[
        int, BeforeValidator(_whole(1, 1024)), Field(description="results at a time; MACs and costs are of all")
    ] = 1

    def spelled(self, defaults: Options) -> str:
        """The options that differ from `defaults`, as ``image=768x512,steps=20``."""
        mine, theirs = dict(self), dict(defaults)
        return ",".join(f"{key}={as_written(value)}" for key, value in mine.items() if value != theirs[key])


class TextOptions(Options):
    """Options of CLIP's text encoders."""

    prompt: Annotated[int, BeforeValidator(_whole(1, 77)), Field(description="tokens; the rest is padding")] = 77


class LatentOptions(Options):
    """Options of an autoencoder."""

    image: Annotated[
        Image, BeforeValidator(_pixels(LATENT_PIXELS)), Field(description="pixels: one side, or height x width")
    ] = (512, 512)


class DiffusionOptions(LatentOptions):
    """Options of a U-Net, or of a pipeline with one."""

    steps: Annotated[int, BeforeValidator(_whole(1, 1000)), Field(description="denoising passes per result")] = 50
    guidance: Annotated[
        bool, BeforeValidator(_switch), Field(description="classifier-free: a second, empty prompt for each image")
    ] = False

    @property
    def prompts(self) -> int:
        """Prompts per pass, which is the batch size of the U-Net."""
        return self.batch * (2 if self.guidance else 1)


class SuperResolutionOptions(Options):
    image: Annotated[
        Image, BeforeValidator(_pixels(1)), Field(description="pixels of the input: one side, or height x width")
    ] = (180, 320)


class LanguageOptions(Options):
    prompt: Annotated[Tokens, Field(description="tokens that one prefill takes")] = 512
    new_tokens: Annotated[Tokens, Field(description="decode passes per result")] = 128
    context: Annotated[
        Tokens | None,
        Field(description="tokens that the middle decode pass attends to; more than prompt and reply are history"),
    ] = None

    @property
    def attended(self) -> int:
        """Tokens that the decode pass in the middle of the reply attends to, including its own."""
        return self.prompt + self.new_tokens // 2 if self.context is None else self.context

    @property
    def history(self) -> int:
        """Tokens in the KV cache before the prompt."""
        return self.attended - self.prompt - self.new_tokens // 2

    @field_validator("context")
    @classmethod
    def _holds_prompt_and_reply(cls, context: int | None, info: ValidationInfo) -> int | None:
        prompt, reply = info.data.get("prompt"), info.data.get("new_tokens")
        if context is None or prompt is None or reply is None or context >= prompt + reply // 2:
            return context
        least = prompt + reply // 2
        raise ValueError(
            f"expected at least {least} tokens (prompt and half of the reply), not '{context}'; nearest: {least}"
        )


def as_written(value: Any) -> str:
    """An option's value as written on the command line."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return image_text(value) if isinstance(value, tuple) else str(value)


def image_text(sides: tuple[Any, ...] | list[Any]) -> str:
    """``512`` for a square image, else ``768x512``."""
    return "x".join(str(side) for side in (sides[:1] if len(sides) == 2 and sides[0] == sides[1] else sides))
