"""What a directory of diffusers holds: a pipeline's networks and scheduler, or one network, read without its code."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from codesign.errors import InputError, nearest
from codesign.files import read_text
from codesign.jsonio import parse_json, read_json
from codesign.models.directories.safety import check_code, check_counts
from codesign.models.directories.weights import load_weights, reading

INDEX = "model_index.json"
_DENOISERS = ("unet", "transformer")
_AUTOENCODERS = ("vae", "vqvae", "movq")
ADDED = ("text_embeds", "time_ids", "image_embeds", "hint", "resolution", "aspect_ratio")
"""Inputs that diffusers takes in its argument added_cond_kwargs."""


@dataclass(frozen=True)
class Network:
    """A network of a directory, before its weights are read."""

    folder: Path
    cls: Any
    config: Mapping[str, Any]  # the file's, with the defaults of the class

    @property
    def name(self) -> str:
        return str(self.cls.__name__)

    @property
    def inputs(self) -> list[str]:
        """Names of the tensors that its forward pass takes, those of `ADDED` among them."""
        written = inspect.signature(self.cls.forward).parameters
        found = [name for name in written if name not in _NO_TENSORS and "residual" not in name]
        return found + list(ADDED) * self.takes_added

    @property
    def takes_added(self) -> bool:
        return "added_cond_kwargs" in inspect.signature(self.cls.forward).parameters

    def weights(self, memory_gib: float | None) -> nn.Module:
        """The network in float32; raises InputError if its weights are not whole."""
        with quiet():
            return load_weights(self.cls, self.config, self.folder, "", memory_gib)

    def get(self, key: str, default: Any = None) -> Any:
        """A value of the configuration; `default` where it is left out or null."""
        found = self.config.get(key)
        return default if found is None else found


_NO_TENSORS = ("self", "return_dict", "added_cond_kwargs", "kwargs", "cross_attention_kwargs", "joint_attention_kwargs")


@dataclass(frozen=True)
class Pipeline:
    """A directory with model_index.json."""

    folder: Path
    index: Mapping[str, Any]

    def has(self, part: str) -> bool:
        """Whether the index names a part; an optional one is written as [null, null]."""
        named = self.index.get(part)
        return isinstance(named, list) and len(named) == 2 and named[1] is not None

    def network(self, names: Sequence[str]) -> Network | None:
        """The first of these parts that there is."""
        found = next((name for name in names if self.has(name)), None)
        return None if found is None else network(self.part(found))

    def denoiser(self) -> Network:
        """Raises InputError if there is none."""
        found = self.network(_DENOISERS)
        if found is None:
            parts = [part for part in self.index if self.has(part)]
            raise InputError(
                f"'{self.folder / INDEX}' names no denoiser ({' or '.join(_DENOISERS)}); its parts: {', '.join(parts)}"
            )
        return found

    def autoencoder(self) -> Network | None:
        return self.network(_AUTOENCODERS)

    def part(self, name: str) -> Path:
        """The folder of a part that the index names; raises InputError if it is not there."""
        folder = self.folder / name
        if not folder.is_dir():
            raise InputError(f"'{self.folder}' has no folder '{name}', which its {INDEX} names")
        return folder

    def scheduler(self, name: str = "scheduler") -> Any:
        """The scheduler as the directory configures it; raises InputError if there is none."""
        import diffusers

        if not self.has(name):
            raise InputError(
                f"'{self.folder / INDEX}' names no {name}, without which there is no sampler: add it, or give the "
                "denoiser's own directory, which is called once a sample"
            )
        file = self.part(name) / "scheduler_config.json"
        if not file.is_file():
            raise InputError(f"'{file.parent}' holds no {file.name}")
        written = parse_json(read_text(file), str(file), finite=False)  # DPM solvers write -Infinity
        check_counts(file, written)
        wanted = str(written.get("_class_name", "")) if isinstance(written, Mapping) else ""
        known = [each for each in dir(diffusers) if each.endswith("Scheduler")]
        if wanted not in known:
            raise InputError(f"'{file}': _class_name: diffusers has no scheduler '{wanted}'{nearest(wanted, known)}")
        with quiet(), reading(file):
            return getattr(diffusers, wanted).from_config(written)


def pipeline(folder: Path) -> Pipeline:
    index = read_json(folder / INDEX)
    if not isinstance(index, Mapping):
        raise InputError(f"'{folder / INDEX}' is no index of a pipeline")
    return Pipeline(folder, index)


def network(folder: Path) -> Network:
    """The network of a component's directory, by its config.json; raises InputError if diffusers has no such class."""
    import diffusers

    file = folder / "config.json"
    if not file.is_file():
        raise InputError(f"'{folder}' holds no config.json")
    written = read_json(file)
    if not isinstance(written, Mapping) or "_class_name" not in written:
        kind = "a network of transformers" if isinstance(written, Mapping) and "model_type" in written else "no network"
        hint = f": give transformers:{folder}" if kind.endswith("transformers") else " of diffusers"
        raise InputError(f"'{file}' has no _class_name, it is {kind}{hint}")
    check_code(file, written)
    check_counts(file, written)
    name = _renamed(written)
    cls = getattr(diffusers, name, None)
    if not (inspect.isclass(cls) and issubclass(cls, nn.Module)):
        known = [each for each in dir(diffusers) if each.endswith(("Model", "2D")) or each.startswith("Autoencoder")]
        raise InputError(f"'{file}': _class_name: diffusers has no network '{name}'{nearest(name, known)}")
    usual = {
        key: each.default
        for key, each in inspect.signature(cls.__init__).parameters.items()
        if each.default is not each.empty
    }
    return Network(folder, cls, usual | dict(written))


def _renamed(written: Mapping[str, Any]) -> str:
    """The class of a config.json; DiT and PixArt were once saved under the name of their base."""
    name = str(written["_class_name"])
    if name == "Transformer2DModel" and written.get("patch_size"):
        kinds = {"ada_norm_zero": "DiTTransformer2DModel", "ada_norm_single": "PixArtTransformer2DModel"}
        return kinds.get(str(written.get("norm_type")), name)
    return name


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars and warnings of diffusers and transformers."""
    from diffusers.utils import logging as ours
    from transformers.utils import logging as others

    libraries: list[Any] = [ours, others]
    before = [(each, each.get_verbosity(), each.is_progress_bar_enabled()) for each in libraries]
    for each in libraries:
        each.set_verbosity(each.ERROR)
        each.disable_progress_bar()
    try:
        yield
    finally:
        for each, verbosity, bars in before:
            each.set_verbosity(verbosity)
            if bars:
                each.enable_progress_bar()
