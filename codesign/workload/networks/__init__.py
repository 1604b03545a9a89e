"""Named networks at their real scale, built without weights: one module here per kind of entry in catalogue.yaml."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from codesign.workload.catalogue import (
    AutoencoderEntry,
    LanguageModelEntry,
    SuperResolutionEntry,
    TextEncoderEntry,
    UNetEntry,
    request,
)
from codesign.workload.networks.autoencoder import autoencoder_workload
from codesign.workload.networks.language_model import language_workload
from codesign.workload.networks.pipeline import pipeline_workload
from codesign.workload.networks.super_resolution import super_resolution_workload
from codesign.workload.networks.text_encoder import text_workload
from codesign.workload.networks.unet import unet_workload
from codesign.workload.types import Workload

__all__ = ["named_workload"]


def named_workload(name: str, **options: Any) -> Workload:
    """The workload of a named network at its real scale, built without weights.

    `name` may include options: ``named_workload("sd15-unet:image=768x512,steps=20")`` equals
    ``named_workload("sd15-unet", image=(768, 512), steps=20)``. The workload's name is the shortest such spelling.
    Options with units and defaults: `codesign.workload.options`, ``codesign workloads NAME``.

    Raises:
        InputError: unknown name or option, or a value out of range; names the nearest valid one.
    """
    return _built(request(name, options).spelling)


@lru_cache(maxsize=64)
def _built(spelling: str) -> Workload:
    entry = request(spelling, {}).entry
    if isinstance(entry, UNetEntry):
        return unet_workload(spelling, entry)
    if isinstance(entry, AutoencoderEntry):
        return autoencoder_workload(spelling, entry)
    if isinstance(entry, TextEncoderEntry):
        return text_workload(spelling, entry)
    if isinstance(entry, SuperResolutionEntry):
        return super_resolution_workload(spelling, entry)
    if isinstance(entry, LanguageModelEntry):
        return language_workload(spelling, entry)
    return pipeline_workload(spelling, entry, named_workload)
