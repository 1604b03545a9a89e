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
    weights_bytes: int


class PhotographFacts(TypedDict):
    """A photograph with credit and licence."""

    name: str
    credit: str
    licence: str


class TrainingFacts(TypedDict):
    """How the weights were trained, and on what machine."""

    seed: int
    images_per_step: int
    steps: int
    minutes: float  # by the clock
    cpu_minutes: float  # of one core
    note: str  # a remark; may be empty
    torch: str
    machine: str


class Card(TypedDict):
    """card.json."""

    network: NetworkFacts
    photographs: dict[str, list[PhotographFacts]]  # by use
    training: TrainingFacts
    quality: dict[str, dict[str, Claim]]  # restoration method -> metric -> claim
    comparisons: dict[str, Claim]  # gains in PSNR on the committed crops, dB
    wallpapers: dict[str, Claim]  # gains in PSNR on crops of the held-out wallpapers, dB
    goals: dict[str, float]  # least gain that was aimed at, dB


_ROWS = {
    "input": "input (bicubic, blurred, prefilled)",
    "biharmonic": "biharmonic fill",
    "steps_4": "**4 steps (shipped)**",
    "steps_1": "1 step",
    "steps_50": "50 steps",
}
_NOT_FOR = {"biharmonic": ("super_resolution", "deblur")}


def render(card: Card) -> str:
    """card.json -> CARD.md."""
    return "\n\n".join([_network(card), _data(card), _training(card), _quality(card), _gains(card), LIMITS]) + "\n"


def _network(card: Card) -> str:
    n = card["network"]
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
| diffusion | residual from the degraded image (ResShift), noise {n["kappa"]} at time 1; x0 prediction |
| weights | `data/restore.safetensors`, float16, {n["weights_bytes"]:,} bytes; computed in float32 |

The float16 values *are* the float reference of all measurements. Known pixels of an inpainting or outpainting task
are kept; its holes come prefilled by linear prediction from the pixels around them (ordinary kriging, `fill.py`)."""


def _data(card: Card) -> str:
    lines = [
        "## Data",
        "",
        "Photographs in the wheels of scikit-image and scikit-learn and in three packages of Debian 12",
        "(`wallpapers.py` fetches and checks them; the product does not need them). Whole photographs are held out,",
        "never crops of a training photograph. Authors and licences are those that the packages state.",
        "",
        "| photograph | by | licence | used for |",
        "|---|---|---|---|",
    ]
    for use, photographs in card["photographs"].items():
        lines += [f"| {p['name']} | {p['credit']} | {p['licence']} | {use} |" for p in photographs]
    lines += [
        "",
        "No crop of a photograph whose licence is not stated, or asks for the same licence, is in this package.",
        "A tenth of the training images is synthetic (dead leaves: overlapping shapes with a power law of sizes).",
        "`data/samples.npz` holds 16 held-out crops (four of each photograph, at 1/1 to 1/3 of its size, drawn from",
        "those whose gradient energy is above the photograph's median) and 8 training crops for calibration, each with",
        "its four degraded versions, so that results depend on no image library. Its crops of china.jpg and flower.jpg",
        "are cropped, resized and degraded versions under CC BY 2.0 (https://creativecommons.org/licenses/by/2.0/).",
        "Written by `python -m codesign.models.restore.dataset`.",
    ]
    return "\n".join(lines)


def _training(card: Card) -> str:
    t = card["training"]
    images = t["steps"] * t["images_per_step"]
    return f"""## Training

`python -m codesign.models.restore.pool --out POOL`, then `python -m codesign.models.restore.train --pool POOL --out
DIR --seed {t["seed"]} --compile --bfloat16 --from-weights FILE`: {t["steps"]:,} steps of {t["images_per_step"]} \
images ({images:,} in all) of 64 x 64 pixels, in {t["minutes"]:.0f} minutes by the clock and {t["cpu_minutes"]:.0f} \
of one core
({t["machine"]}, shared with other work; torch {t["torch"]}).

The start is the degraded image with little noise. The network predicts the clean image from there and, at random times
of the chain, from states to which its own earlier predictions lead, so that all states of its chains lead to the truth
(a consistency model on its own trajectories). The loss is the logarithm of each image's squared error, over the hole
where there is one. AdamW, warm-up, cosine schedule over the time given, averaged weights. {t["note"]}"""


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
    return "\n".join(lines)


def _gains(card: Card) -> str:
    crops = next(iter(card["wallpapers"].values()))["n"]
    lines = [
        "## Gains and goals",
        "",
        f"Gain in PSNR, crop by crop, dB; `wallpapers`: {crops} crops of the four held-out wallpapers at random sizes.",
        "A goal counts as met where the mean reaches it; the interval says how sure that is.",
        "",
        "| gain | goal | committed crops | | wallpapers | |",
        "|---|---|---|---|---|---|",
    ]
    for name, ours in card["comparisons"].items():
        goal, other = card["goals"].get(name), card["wallpapers"].get(name)
        cells = [cell for c in (ours, other) for cell in (bracket(c, 2, "+") if c else "-", _verdict(c, goal))]
        lines.append(f"| {name} | {'-' if goal is None else f'{goal:+.1f}'} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _verdict(claim: Claim | None, goal: float | None) -> str:
    if claim is None or goal is None:
        return ""
    return "met" if claim["value"] >= goal else "missed"


def _cell(claims: dict[str, Claim], row: str, task: str, pattern: str, digits: int) -> str:
    if task in _NOT_FOR.get(row, ()):
        return "-"
    return bracket(claims[pattern.format(task)], digits)


LIMITS = """## Limits

- Trained for under two hours of one core on 34 photographs: it sharpens edges and invents no objects. What counts here
  is that a *learned* skill is there to be lost, in layers and activations of the real kind. `--from-weights` goes on
  from these weights.
- A shipped hole is little more than its prefill: most of the gain over the biharmonic fill is that of the kriging,
  shown as input in the tables.
- The first pass does nearly all; later ones neither help nor harm much, as the rows with 1, 4 and 50 steps show.
- The mean of what is possible is what the loss asks for; so restored images are smooth where the truth is not known.
- 16 crops of 4 photographs give wide intervals; the four crops of one photograph are not independent of each other.
- No weights were selected on the held-out crops, but their PSNR was in sight during training, and the recipe was
  settled while that of other crops of the same photographs was being watched.
- At this size quantization hurts earlier than in a U-Net of a billion parameters. The ranking of formats by error
  transfers better than the errors themselves.
- The schedule depends on the time spent: another machine runs another number of steps and obtains other weights."""
