"""``transformers:DIR``: language models, encoders and image classifiers that `save_pretrained` or GGUF has written."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codesign.errors import InputError, nearest
from codesign.jsonio import read_json
from codesign.models.custom import Batch, CustomTask
from codesign.models.directories import data as sources
from codesign.models.directories import image_metrics, text_metrics
from codesign.models.directories.data import Split
from codesign.models.directories.generation import language_work, show_texts
from codesign.models.directories.imports import quiet_transformers
from codesign.models.directories.options import Phases, TaskOptions
from codesign.models.directories.safety import check_code, check_counts, check_directory
from codesign.models.directories.weights import load_weights, reading
from codesign.models.losses import Loss, Metric

SEQUENCES, LENGTH = 8, 256  # of a sample of text
_PICTURES = 16  # most images that are evaluated
_GGUF = ".gguf"


@dataclass(frozen=True)
class Kind:
    """What a class of transformers takes and gives."""

    cls: Any
    config: Any

    @property
    def takes_images(self) -> bool:
        return str(getattr(self.cls, "main_input_name", "")) == "pixel_values"

    @property
    def causal(self) -> bool:
        name = self.cls.__name__
        return not self.config.is_encoder_decoder and (
            name.endswith(("ForCausalLM", "LMHeadModel")) or "ForConditionalGeneration" in name
        )

    @property
    def longest(self) -> int | None:
        """Most tokens of a text; None where the network has no limit, or reads no text."""
        found = getattr(self.config.get_text_config(), "max_position_embeddings", None)
        return int(found) if found else None

    @property
    def masked(self) -> bool:
        return str(self.cls.__name__).endswith("ForMaskedLM")

    @property
    def inputs(self) -> list[str]:
        """Names of the arguments of its forward pass."""
        return [name for name in inspect.signature(self.cls.forward).parameters if name not in ("self", "kwargs")]


def load(path: Path, name: str, options: TaskOptions, base: Path) -> CustomTask:
    """The task of a directory, or of one GGUF file in it, see `load_directory`."""
    with quiet_transformers():
        folder, gguf = _place(path)
        if not gguf:
            check_directory(folder)
        kind = _kind(folder, gguf)
        module = load_weights(kind.cls, kind.config, folder, gguf, options.memory_gib)
    _check(kind, options)
    output = options.output or _output(kind)
    split = _split(kind, folder, gguf, options, base)
    loss, more = _metrics(kind, output, options)
    phases = options.phases or _phases(kind)
    return CustomTask(
        name,
        module,
        split.calibration,
        split.evaluation,
        loss,
        more=more,
        output=output,
        work=(lambda task: language_work(task, phases)) if kind.causal else None,
        show=show_texts(_tokenizer(folder, gguf), split.evaluation)
        if kind.causal and output == "logits" and _has_tokenizer(folder, gguf)
        else None,
    )


def _check(kind: Kind, options: TaskOptions) -> None:
    """Raise InputError, naming the key, for an option that means nothing here, or that the network has no room for."""
    arrays = Path(options.data).suffix in sources.ARRAYS
    for key in ("steps", "guidance", "size"):
        if getattr(options, key) is not None:
            raise InputError(f"{key}: goes with diffusers:DIR")
    if options.length is not None and (arrays or kind.takes_images):
        raise InputError("length: is that of samples of text; here the data have their own")
    if options.shared and not arrays:
        raise InputError("shared: names inputs in .npz or .safetensors, which 'data' is not")
    if options.phases is not None and not kind.causal:
        raise InputError(f"phases: are those of a causal language model, and this is a {kind.cls.__name__}")
    longest = kind.longest
    if longest is None:
        return
    if options.length is not None and options.length > longest:
        raise InputError(f"length: {options.length} tokens, and the network has room for {longest}")
    if options.phases is not None and (wanted := options.phases.prompt + options.phases.new_tokens) > longest:
        raise InputError(f"phases: {wanted} tokens, and the network has room for {longest}")


# ---- the network --------------------------------------------------------------------------------


def _place(path: Path) -> tuple[Path, str]:
    """(directory, name of its GGUF file or '')."""
    if path.is_file():
        if path.suffix != _GGUF:
            raise InputError(f"'{path}' is a file; give the directory that holds config.json, or a {_GGUF} file")
        return path.parent, path.name
    if (path / "config.json").is_file():
        return path, ""
    found = sorted(each.name for each in path.glob(f"*{_GGUF}"))
    if len(found) == 1:
        return path, found[0]
    if found:
        raise InputError(f"'{path}' holds {len(found)} GGUF files: name one, such as transformers:{path / found[0]}")
    inside = sorted(each.parent.name for each in path.glob("*/config.json"))
    hint = f"; its parts are {', '.join(inside)}: give one, or diffusers:{path}" if inside else ""
    raise InputError(f"'{path}' holds no config.json and no {_GGUF} file{hint}")


def _kind(folder: Path, gguf: str) -> Kind:
    import transformers

    if gguf:
        with reading(folder / gguf):
            config = transformers.AutoConfig.from_pretrained(folder, gguf_file=gguf, local_files_only=True)
            return Kind(transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)], config)
    file = folder / "config.json"
    written = read_json(file)
    if not isinstance(written, Mapping):
        raise InputError(f"'{file}': expected a mapping of keys to values, found {type(written).__name__}")
    check_code(file, written)
    check_counts(file, written)
    if done := written.get("quantization_config"):
        how = done.get("quant_method", "") if isinstance(done, Mapping) else done
        raise InputError(f"'{file}': its weights are quantized already ({how}): give the network that they come from")
    with reading(file):
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        names = [str(each) for each in getattr(config, "architectures", None) or ()]
        cls = getattr(transformers, names[0], None) if names else transformers.MODEL_MAPPING[type(config)]
    if not (isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel)):
        raise InputError(f"'{file}': transformers has no network '{names[0]}'{_near(names[0])}")
    return Kind(cls, config)


def _near(name: str) -> str:
    import transformers

    return nearest(name, [each for each in dir(transformers) if "For" in each or each.endswith("Model")])


# ---- its data -----------------------------------------------------------------------------------


def _split(kind: Kind, folder: Path, gguf: str, options: TaskOptions, base: Path) -> Split:
    given = sources.placed(base, options.data) if options.data else None
    calibration = sources.placed(base, options.calibration) if options.calibration else None
    if given is not None and given.suffix in sources.ARRAYS:
        split = sources.split_arrays(
            given, calibration, kind.inputs, options.shared, options.sequences, options.batch or 1
        )
        return Split(*([_labelled(kind, batch) for batch in part] for part in split))
    if kind.takes_images:
        if given is None:
            raise InputError("data: name a folder of images, or an .npz or .safetensors of pixel_values")
        shape = (*_size(kind.config), *_normalised(folder))
        first = sources.pictures(calibration, *shape, least=1) if calibration is not None else None
        images = sources.pictures(given, *shape, least=2 if first is None else 1)
        return sources.split_pictures(images, options.sequences or _PICTURES, options.batch or 4, _as_pixels, first)
    return _texts(kind, folder, gguf, options, given, calibration)


def _as_pixels(images: Tensor) -> dict[str, Tensor]:
    return {"pixel_values": images}


def _texts(
    kind: Kind, folder: Path, gguf: str, options: TaskOptions, given: Path | None, calibration: Path | None
) -> Split:
    count = options.sequences or SEQUENCES
    length = options.length or min(LENGTH, kind.longest or LENGTH)
    tokenizer = _tokenizer(folder, gguf)
    what = f"'{given}'" if given else "the default text (Python's language reference)"

    def ids(text: str) -> list[int]:
        with quiet_transformers():
            found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    text = sources.read_text(given) if given else sources.documentation()
    if calibration is not None:
        first = sources.windows(ids(sources.read_text(calibration)), count, length, f"'{calibration}'")
        second = sources.windows(ids(text), count, length, what)
    else:
        whole = ids(text)
        half = len(whole) // 2
        first, second = (
            sources.windows(part, count, length, f"half of {what}") for part in (whole[:half], whole[half:])
        )
    largest = int(kind.config.get_text_config().vocab_size)
    highest = int(max(first.max(), second.max()))
    if highest >= largest:
        raise InputError(f"'{folder}': its tokenizer gives token {highest}, its network has {largest}")
    size = options.batch or 1
    parts = ([_labelled(kind, batch) for batch in sources.in_batches({"input_ids": x}, size)] for x in (first, second))
    return Split(*parts)


def _labelled(kind: Kind, batch: Batch) -> Batch:
    """A batch of tokens with what its network needs besides, and the tokens that are to be predicted."""
    inputs = dict(batch.inputs)
    tokens = inputs.get("input_ids")
    labels = batch.labels
    if tokens is not None and kind.config.is_encoder_decoder and "decoder_input_ids" not in inputs:
        half = tokens.shape[1] // 2  # the encoder reads the first half of the text, the decoder writes the second
        answer = tokens[:, half:]
        start = getattr(kind.config, "decoder_start_token_id", None) or getattr(kind.config, "pad_token_id", None) or 0
        shifted = torch.cat([torch.full_like(answer[:, :1], start), answer[:, :-1]], dim=1)
        inputs = {**inputs, "input_ids": tokens[:, :half], "decoder_input_ids": shifted}
        labels = answer
    elif tokens is not None and kind.causal:
        labels = text_metrics.next_tokens(tokens)
        if "use_cache" in kind.inputs:
            inputs["use_cache"] = False
    elif tokens is not None and kind.masked:
        labels = tokens
    return Batch(inputs, labels)


def _has_tokenizer(folder: Path, gguf: str) -> bool:
    return bool(gguf) or _tokenizer_folder(folder) is not None


def _tokenizer_folder(folder: Path) -> Path | None:
    """The folder of the tokenizer: the network's own, or beside it, as diffusers keeps it."""
    names = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model")
    beside = folder.parent / folder.name.replace("text_encoder", "tokenizer")
    for place in (folder, beside):
        if any((place / each).is_file() for each in names):
            return place
    return None


def _tokenizer(folder: Path, gguf: str) -> Any:
    from transformers import AutoTokenizer

    place = folder if gguf else _tokenizer_folder(folder)
    if place is None:
        raise InputError(
            f"'{folder}' holds no tokenizer: add its files, or give 'data' as an .npz or .safetensors of input_ids"
        )
    if not gguf:
        check_directory(place)
    more = {"gguf_file": gguf} if gguf else {}
    with reading(place), quiet_transformers():
        return AutoTokenizer.from_pretrained(place, local_files_only=True, trust_remote_code=False, **more)


def _size(config: Any) -> tuple[int, int]:
    size = getattr(config, "image_size", 224)
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    return int(height), int(width)


def _normalised(folder: Path) -> tuple[Sequence[float], Sequence[float]]:
    """(mean, std) of each colour, by preprocessor_config.json; 0.5 without it."""
    file = folder / "preprocessor_config.json"
    written = read_json(file) if file.is_file() else {}
    return written.get("image_mean", [0.5] * 3), written.get("image_std", [0.5] * 3)


# ---- what is scored -----------------------------------------------------------------------------


def _output(kind: Kind) -> str:
    name = kind.cls.__name__
    heads = ("ForCausalLM", "LMHeadModel", "ForMaskedLM", "ForConditionalGeneration", "Classification")
    return "logits" if name.endswith(heads) else "last_hidden_state"


def _metrics(kind: Kind, output: str, options: TaskOptions) -> tuple[Loss, list[Metric]]:
    if output != "logits":
        known = image_metrics.LOSSES
        return _named(options.metric, known, image_metrics.MSE), [image_metrics.PSNR]
    labelled = not kind.takes_images and (kind.causal or kind.masked or kind.config.is_encoder_decoder)
    known = text_metrics.LOSSES if labelled else {"kl_to_float": text_metrics.KL}
    more = [text_metrics.PLAIN_KL, text_metrics.AGREEMENT]
    if labelled and not kind.masked:
        more.append(text_metrics.PERPLEXITY)
    return _named(options.metric, known, text_metrics.KL), more


def _named(name: str, known: Mapping[str, Loss], usual: Loss) -> Loss:
    if name and name not in known:
        raise InputError(f"metric: unknown metric '{name}'{nearest(name, known)}")
    return known[name] if name else usual


def _phases(kind: Kind) -> Phases:
    """The usual phases, within the longest context."""
    usual, longest = Phases(), kind.longest
    if longest is None or usual.prompt + usual.new_tokens <= longest:
        return usual
    return Phases(prompt=max(longest // 2, 1), new_tokens=max(longest // 4, 1))


__all__ = ["LENGTH", "SEQUENCES", "load"]
