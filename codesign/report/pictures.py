"""Example pictures side by side in one image."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

_ZOOM = 2
_GAP, _LINE = 6, 16  # pixels: space between pictures, height of a line of text


def sheet(shown: Mapping[str, Sequence[Mapping[str, Any]]]) -> bytes:
    """A PNG of examples at twice their size, one column per kind and one row per example.

    Args:
        shown: kind -> its examples: `label`, and `png` in base64.
    """
    columns = {kind: [_opened(item["png"]) for item in items] for kind, items in shown.items()}
    labels = [item["label"] for item in next(iter(shown.values()))]
    pictures = [picture for column in columns.values() for picture in column]
    width = max(picture.width for picture in pictures) + _GAP
    height = max(picture.height for picture in pictures) + _LINE + _GAP
    page = Image.new("RGB", (len(columns) * width + _GAP, len(labels) * height + _LINE), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=12)
    for i, (kind, column) in enumerate(columns.items()):
        left = _GAP + i * width
        draw.text((left, 1), kind, "black", font)
        for j, picture in enumerate(column):
            top = _LINE + j * height
            if i == 0:
                draw.text((left, top), labels[j], "gray", font)
            page.paste(picture, (left, top + _LINE))
    buffer = io.BytesIO()
    page.save(buffer, "PNG")
    return buffer.getvalue()


def _opened(png: str) -> Image.Image:
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    return picture.resize((picture.width * _ZOOM, picture.height * _ZOOM), Image.Resampling.NEAREST)
