"""What a space file says of a task besides its name: data, sizes, output and metric."""

from __future__ import annotations

from pydantic import PositiveFloat, PositiveInt

from codesign.yamlio import Written


class Phases(Written):
    """The passes of a language model for one answer."""

    prompt: PositiveInt = 512  # tokens of the prefill pass
    new_tokens: PositiveInt = 128  # decode passes, of one token each


class TaskOptions(Written):
    """Keys of a task whose network comes from a directory; what is left out has a default that suits the network."""

    data: str = ""  # text file, folder of images, or .npz or .safetensors of the network's inputs
    calibration: str = ""  # the same for calibration; default: a part of `data` that is not evaluated
    prompts: str = ""  # text file of prompts, one a line, where `data` is a folder of images
    shared: list[str] = []  # inputs in `data` that all samples share, such as a mask
    sequences: PositiveInt | None = None  # samples to evaluate, and as many to calibrate with
    length: PositiveInt | None = None  # tokens of a sample
    batch: PositiveInt | None = None  # samples of one call
    steps: PositiveInt | None = None  # of the sampler of a diffusion network
    guidance: PositiveFloat | None = None  # scale of classifier-free guidance; 1: none
    size: PositiveInt | None = None  # height and width of the images of a diffusion network or autoencoder, pixels
    output: str = ""  # which part of what the network returns is scored, such as logits
    metric: str = ""  # the one that decides
    phases: Phases | None = None  # of a causal language model
    memory_gib: PositiveFloat | None = None  # most memory for weights; a larger network is read block by block
