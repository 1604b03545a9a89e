"""What a space file says of a task besides its name: data, sizes, output and metric."""

from __future__ import annotations

from pydantic import Field, PositiveFloat, PositiveInt

from codesign.yamlio import Written


class Phases(Written):
    """The passes of a language model for one answer."""

    prompt: PositiveInt = Field(default=512, description="tokens of the prefill pass")
    new_tokens: PositiveInt = Field(default=128, description="decode passes, of one token each")


class TaskOptions(Written):
    """Keys of a task whose network comes from a directory; what is left out has a default that suits the network."""

    data: str = Field(
        default="", description="text file, folder of images, or .npz or .safetensors of the network's inputs"
    )
    calibration: str = Field(
        default="", description="the same for calibration; default: a part of 'data' not evaluated"
    )
    prompts: str = Field(default="", description="text file of prompts, one a line, where 'data' is a folder of images")
    shared: list[str] = Field(default=[], description="inputs in 'data' that all samples share, such as a mask")
    sequences: PositiveInt | None = Field(
        default=None, description="samples to evaluate, and as many to calibrate with"
    )
    length: PositiveInt | None = Field(default=None, description="tokens of a sample")
    batch: PositiveInt | None = Field(default=None, description="samples of one call")
    steps: PositiveInt | None = Field(default=None, description="steps of the sampler of a diffusion network")
    guidance: PositiveFloat | None = Field(default=None, description="scale of classifier-free guidance; 1: none")
    size: PositiveInt | None = Field(default=None, description="height and width of the images, pixels")
    output: str = Field(default="", description="which part of what the network returns is scored, such as logits")
    metric: str = Field(default="", description="the metric that decides")
    phases: Phases | None = Field(default=None, description="passes of a causal language model")
    memory_gib: PositiveFloat | None = Field(
        default=None, description="most memory for weights; beyond it, block by block"
    )
