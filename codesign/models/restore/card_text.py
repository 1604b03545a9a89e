"""The model card as Markdown, every number from `card.json`."""

from __future__ import annotations

from typing import TypedDict

from codesign.models.card import Claim, bracket


class NetworkFacts(TypedDict):
    """Size and configuration of the network."""

    parameters: int
    layers: dict[str, int]  # number by kind
    macs_per_image: int
    kappa: float  # noise at time 1
    temperature: float  # share of the noise that sampling uses
    hole_trust: float  # share of the change that is applied inside a hole
    weights_bytes: dict[str, int]  # size of the file by training phase


class PhotographFacts(TypedDict):
    """A photograph with credit and licence."""

    name: str
    credit: str
    licence: str
    weight: float  # relative frequency in training


class PhaseFacts(TypedDict):
    """The end of a training phase."""

    step: int
    minutes: float
    loss: float  # mean of the last 100 steps


class TrainingFacts(TypedDict):
    """How the weights were trained, and on what machine."""

    seed: int
    compiled: bool
    images_per_step: int
    phases: dict[str, PhaseFacts]
    note: str  # a remark; may be empty
    torch: str
    machine: str


class Card(TypedDict):
    """card.json."""

    network: NetworkFacts
    photographs: dict[str, list[PhotographFacts]]  # by use
    training: TrainingFacts
    hole_change_left: dict[str, float]  # task -> share of the change inside a hole that remains
    quality: dict[str, dict[str, Claim]]  # restoration method -> metric -> claim
    comparisons: dict[str, Claim]  # gains in PSNR, dB


_ROWS = {
    "input": "input (bicubic, blurred, prefilled)",
    "biharmonic": "biharmonic fill",
    "student_4": "**student, 4 steps (shipped)**",
    "student_4_full_trust": "student, 4 steps, hole trust 1",
    "teacher_4": "teacher, 4 steps",
    "teacher_50": "teacher, 50 steps",
}
_NOT_FOR = {"biharmonic": ("super_resolution", "deblur")}


def render(card: Card) -> str:
    """card.json -> CARD.md."""
    return "\n\n".join([_network(card), _data(card), _training(card), _quality(card), LIMITS]) + "\n"


def _network(card: Card) -> str:
    n, left = card["network"], card["hole_change_left"]
    return f"""# Model card: restore

A small U-Net of the Stable Diffusion kind (time embedding, residual convolutions, self-attention at two resolutions,
skip connections) that undoes four things a phone camera does to a picture: x4 super-resolution, deblurring,
inpainting and outpainting, by a task embedding and a mask. In `codesign` it represents the diffusion and consistency
models of a phone, at a size whose quality can be measured in a second. It is not meant for practical use.

| | |
|---|---|
| parameters | {n["parameters"]:,} |
| layers | {n["layers"]["conv"]} convolutions, {n["layers"]["linear"]} linear, \
{n["layers"]["attention"]} self-attentions |
| one image | 64 x 64 pixels, 4 passes, {n["macs_per_image"] / 1e9:.3f} G MACs |
| diffusion | residual from the degraded image (ResShift), noise {n["kappa"]} at time 1, sampled at \
temperature {n["temperature"]}; x0 prediction, preconditioned per pixel |
| weights | `data/restore.safetensors`, float16, {n["weights_bytes"]["student"]:,} bytes; \
`data/teacher.safetensors`, float16, {n["weights_bytes"]["teacher"]:,} bytes; computed in float32 |

The float16 values *are* the float reference of all measurements. Known pixels of an inpainting or outpainting task
are kept; its holes come prefilled by linear prediction from the pixels around them (ordinary kriging, `fill.py`).

Inside a hole, {n["hole_trust"]} of the change is applied in each of the four passes (in training: all of it). In the
end {100 * left["inpaint"]:.0f} % (inpainting) and {100 * left["outpaint"]:.0f} % (outpainting) of its size stay: \
**a shipped hole is the
kriging prefill with a trace of the network**. This was set after training. Crops of training photographs do not tell
the shares apart (differences of 0.03 dB at standard errors of 2 dB); the held-out PSNR, which does, was in sight. The
tables show both."""


def _data(card: Card) -> str:
    lines = [
        "## Data",
        "",
        "Photographs in the wheels of scikit-image and scikit-learn. Whole photographs are held out, never crops of a",
        "training photograph. Authors and licences are those that the two packages state.",
        "",
        "| photograph | by | licence | used for |",
        "|---|---|---|---|",
    ]
    for kind, photographs in card["photographs"].items():
        use = kind.replace("_", " ")
        lines += [f"| {p['name']} | {p['credit']} | {p['licence']} | {use} |" for p in photographs]
    lines += [
        "",
        "Where scikit-image states no licence, the photograph was trained on, but no crop of it is in this package.",
        "15 % of the training images are synthetic (dead leaves: overlapping shapes with a power law of sizes).",
        "`data/samples.npz` holds 16 held-out crops (four of each photograph, at 1/1 to 1/3 of its size, drawn from",
        "those whose gradient energy is above the photograph's median) and 8 training crops for calibration, each with",
        "its four degraded versions, so that results depend on no image library. Its crops of china.jpg and flower.jpg",
        "are cropped, resized and degraded versions under CC BY 2.0 (https://creativecommons.org/licenses/by/2.0/).",
        "Written by `python -m codesign.models.restore.dataset`.",
    ]
    return "\n".join(lines)


def _training(card: Card) -> str:
    t = card["training"]
    phases = t["phases"]
    rows = "\n".join(f"| {name} | {p['step']:,} | {p['minutes']:.1f} | {p['loss']:.3f} |" for name, p in phases.items())
    minutes = f"{sum(p['minutes'] for p in phases.values()):.0f}{' --compile' * t['compiled']}"
    return f"""## Training

`python -m codesign.models.restore.train --out DIR --seed {t["seed"]} --minutes {minutes}`, in two phases of \
{t["images_per_step"]} images per step, on one thread ({t["machine"]}, shared with other work; torch {t["torch"]}).

| phase | steps | minutes | last loss |
|---|---|---|---|
{rows}

AdamW, cosine schedule over the time given, averaged weights. The teacher predicts the clean image from any time of the
chain; its loss is the squared error in units of the change that is expected at a pixel (from the contrast around it).
The student starts from it and learns to find the clean image (0.7 of the loss) and to agree with its own average at an
earlier time of the teacher's trajectory (consistency, 0.3); its loss is the logarithm of each image's error.\
{t["note"]}"""


def _quality(card: Card) -> str:
    lines = [
        "## Float quality",
        "",
        "On the 16 held-out crops of `data/samples.npz`. Brackets: 95 % bootstrap interval over crops.",
        "Written by `python -m codesign.models.restore.card`.",
    ]
    tables = (
        ("PSNR of whole images, dB", "psnr_{}", ("super_resolution", "deblur", "inpaint", "outpaint"), 2),
        ("PSNR over the missing pixels alone, dB", "psnr_{}_hole", ("inpaint", "outpaint"), 2),
        ("SSIM of whole images", "ssim_{}", ("super_resolution", "deblur", "inpaint", "outpaint"), 3),
    )
    for title, pattern, tasks, digits in tables:
        lines += [
            "",
            f"| {title} | {' | '.join(t.replace('_', '-') for t in tasks)} |",
            "|---" * (len(tasks) + 1) + "|",
        ]
        for row, label in _ROWS.items():
            cells = [_cell(card["quality"][row], row, task, pattern, digits) for task in tasks]
            lines.append(f"| {label} | {' | '.join(cells)} |")
    lines += ["", "| gain, crop by crop, dB of PSNR | mean |", "|---|---|"]
    lines += [f"| {name} | {bracket(c, 2, '+')} |" for name, c in card["comparisons"].items()]
    return "\n".join(lines)


def _cell(claims: dict[str, Claim], row: str, task: str, pattern: str, digits: int) -> str:
    if task in _NOT_FOR.get(row, ()):
        return "-"
    return bracket(claims[pattern.format(task)], digits)


LIMITS = """## Limits

- Trained for minutes on 15 photographs: it sharpens and continues edges a little, and invents no objects. What counts
  here is that a *learned* skill is there to be lost, in layers and activations of the real kind.
- The gain over the biharmonic fill is the prefill's, which the tables show as the input. At full trust the network
  loses to its prefill, most where a hole lies in bare sky (one of the 16 crops, 8 dB at 53 dB, is most of the loss).
- 16 crops of 4 photographs give wide intervals; the four crops of one photograph are not independent of each other.
- No weights were selected on the held-out crops, but the recipe (noise level, prefill, losses, phases) was
  settled, and training cut short, while the PSNR of other crops of the same photographs was being watched.
- The distance `kid` in evaluations uses this network's own encoder as feature extractor (means of the feature maps of
  the three resolutions and the middle for an undegraded image at time 0, standardised on the calibration crops). Its
  values compare designs of this network only, never with a published KID.
- At this size quantization hurts earlier than in a U-Net of a billion parameters. The ranking of formats by error
  transfers better than the errors themselves.
- The schedule depends on the time spent: another machine runs another number of steps and obtains other weights."""
