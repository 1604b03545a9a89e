"""The photographs shipped with scikit-image and scikit-learn and in Debian's wallpaper packages, and crops of them.

Held-out crops come from photographs that are not used in training.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from codesign.errors import EnvironmentProblem

SIZE = 64
_SCALES = (1.0, 1.5, 2.0, 3.0, 4.0)


@dataclass(frozen=True)
class Photograph:
    """A photograph in a public package."""

    name: str  # package/file, or package/folder/file
    credit: str
    licence: str

    @property
    def stem(self) -> str:
        return Path(self.name).stem


NOT_STATED = "not stated by scikit-image"  # no crop of such a photograph is committed

HELD_OUT = (
    Photograph("skimage/chelsea.png", "Stefan van der Walt", "CC0"),
    Photograph("skimage/coffee.png", "Rachel Michetti, Pikolo Espresso Bar", "CC0"),
    Photograph("skimage/rocket.jpg", "SpaceX", "public domain"),
    Photograph("sklearn/china.jpg", "danielbuechele, flickr.com/photos/danielbuechele/6061409035", "CC BY 2.0"),
)
TRAINING = (
    Photograph("skimage/astronaut.png", "NASA, flic.kr/p/r9qvLn", "public domain"),
    Photograph("skimage/ihc.png", "Center for Microscopy and Molecular Imaging", "no known copyright restrictions"),
    Photograph("skimage/hubble_deep_field.jpg", "NASA, HubbleSite", "public domain"),
    Photograph("skimage/retina.jpg", "Mikael Häggström", "CC0"),
    Photograph("skimage/camera.png", "Lav Varshney", "CC0"),
    Photograph("skimage/brick.png", "CC0Textures, Bricks25", "CC0"),
    Photograph("skimage/grass.png", "linolafett, DeviantArt", "CC0"),
    Photograph("skimage/gravel.png", "CC0Textures, Gravel04", "CC0"),
    Photograph("skimage/coins.png", "Brooklyn Museum", "no known copyright restrictions"),
    Photograph("skimage/text.png", "Wikimedia, Corner.png", "public domain"),
    Photograph("sklearn/flower.jpg", "vultilion, flickr.com/photos/vultilion/6056698931", "CC BY 2.0"),
)

# Trained on in the run that the present weights go back to, and not since
FIRST_RUN_ONLY = (
    Photograph("skimage/motorcycle_left.png", "Scharstein et al., Middlebury Stereo 2014", NOT_STATED),
    Photograph("skimage/motorcycle_right.png", "Scharstein et al., Middlebury Stereo 2014", NOT_STATED),
    Photograph("skimage/moon.png", "not stated", NOT_STATED),
    Photograph("skimage/page.png", "not stated", NOT_STATED),
)


def _wallpapers(package: str, licence: str, credits: dict[str, str]) -> tuple[Photograph, ...]:
    return tuple(Photograph(f"{package}/{file}", credit, licence) for file, credit in credits.items())


# Whole photographs of Debian's packages, with the author and licence of debian/copyright. Drawings are left out.
HELD_OUT_WALLPAPERS = (
    *_wallpapers("mate-backgrounds", "GPL-2+", {"nature/LadyBird.jpg": "Charles Barbin"}),
    *_wallpapers(
        "lomiri-wallpapers-16.04",
        "CC BY 4.0",
        {
            "friends_by_Aitzol_Berasategi.jpg": "Aitzol Berasategi",
            "picosdeeuropa_by_Aitzol_Berasategi.jpg": "Aitzol Berasategi",
            "Wine_by_Jakkub_Mede.jpg": "Jakub Mede",
        },
    ),
)
TRAINING_WALLPAPERS = (
    *_wallpapers(
        "mate-backgrounds",
        "GPL-2+",
        {
            "nature/Aqua.jpg": "Charles Barbin",
            "nature/Blinds.jpg": "Lennart Poettering, Andrea Cimitan",
            "nature/Dune.jpg": "Marco Cogoni, Hylke Bons",
            "nature/FreshFlower.jpg": "Jens Ansorg",
            "nature/Garden.jpg": "Charles Barbin",
            "nature/GreenMeadow.jpg": "Timothy Schellhase, Lapo Calamandrei",
            "nature/RainDrops.jpg": "blackcombwhistler07",
            "nature/Storm.jpg": "Sergey Nazarov",
            "nature/TwoWings.jpg": "Charles Barbin, Hylke Bons",
            "nature/Wood.jpg": "Jean-François Fortin Tam",
            "nature/YellowFlower.jpg": "Charles Barbin",
            "abstract/Elephants_5640x3172.jpg": "Wyng Stancikaite",
        },
    ),
    *_wallpapers(
        "lomiri-wallpapers-16.04",
        "CC BY 4.0",
        {
            "aitzgorri_by_Aitzol_Berasategi.jpg": "Aitzol Berasategi",
            "life_by_Aitzol_Berasategi.jpg": "Aitzol Berasategi",
            "sunset_by_Aitzol_Berasategi.jpg": "Aitzol Berasategi",
            "Picture_0B_by_freespace.jpg": 'Trevor "Freespace"',
            "Picture_1A_by_freespace.jpg": 'Trevor "Freespace"',
        },
    ),
    *_wallpapers(
        "lomiri-wallpapers-16.04",
        "CC BY-SA 4.0",
        {
            "Bridge_by_Sander_Klootwijk.jpg": "Sander Klootwijk",
            "Dragonfly_by_Bolly.jpg": "Bolly",
            "free_by_Peter_Nerlich.jpg": "Peter Nerlich",
            "greentock_by_Peter_Nerlich.jpg": "Peter Nerlich",
        },
    ),
    *_wallpapers("lomiri-wallpapers-16.04", "CC0", {"seeding_by_Clements_Engelhardt.jpg": "Clemens Engelhardt"}),
    *_wallpapers("lomiri-wallpapers-20.04", "CC BY-SA 3.0", {"Kleiber_by_Lukas_Baubkus.jpg": "Lukas Baubkus"}),
)


def read(photograph: Photograph) -> np.ndarray:
    """The image as uint8 [H, W, 3]; grey photographs are repeated over the channels.

    Raises EnvironmentProblem if scikit-image or scikit-learn is not installed, or a wallpaper is not to be had.
    """
    # imported here: only training needs them
    from codesign.models.restore.wallpapers import PACKAGES, unpacked

    try:
        import skimage
        import sklearn.datasets
        from skimage.io import imread
    except ImportError as error:
        hint = "the photographs need scikit-image and scikit-learn: pip install 'codesign[train]'"
        raise EnvironmentProblem(f"{hint} ({error})") from None
    package, _, file = photograph.name.partition("/")
    folders = {
        "skimage": Path(skimage.__file__).parent / "data",
        "sklearn": Path(sklearn.datasets.__file__).parent / "images",
    }
    image = imread((unpacked(package) if package in PACKAGES else folders[package]) / file)
    image = np.stack([image] * 3, axis=-1) if image.ndim == 2 else image[..., :3]
    return np.ascontiguousarray(image)


def pyramid(image: np.ndarray, smallest: int = 96) -> list[Tensor]:
    """The photograph at scales 1 to 1/4 with a shorter side of at least `smallest`: [3, h, w] in -1..1 each."""
    x = torch.from_numpy(image).permute(2, 0, 1).float()[None] / 127.5 - 1
    levels = []
    for scale in _SCALES:
        size = (int(x.shape[2] / scale), int(x.shape[3] / scale))
        if min(size) >= smallest:
            y = x if scale == 1 else F.interpolate(x, size=size, mode="bicubic", antialias=True, align_corners=False)
            levels.append(y[0].clamp(-1, 1))
    return levels


def augmented(crop: Tensor, rng: np.random.Generator) -> Tensor:
    """Random augmentation: channels shuffled, axes swapped, brightness and contrast changed."""
    if rng.random() < 0.5:
        crop = crop[torch.from_numpy(rng.permutation(3))]
    if rng.random() < 0.3:
        crop = crop.transpose(1, 2)
    return (crop * rng.uniform(0.7, 1.1) + rng.uniform(-0.15, 0.15)).clamp(-1, 1)


def dead_leaves(rng: np.random.Generator) -> Tensor:
    """A dead-leaves image: overlapping ellipses and rectangles of random size and colour.

    Sizes follow a power law (Lee, Mumford and Huang, "Occlusion models for natural images", 2001).
    """
    yy, xx = np.mgrid[0:SIZE, 0:SIZE]
    image = np.ones((SIZE, SIZE, 3), np.float32) * rng.uniform(-1, 1, 3)
    base = rng.uniform(-1, 1, 3)
    for _ in range(int(rng.integers(15, 60))):
        radius = min(3.0 * (1 - rng.random()) ** -0.7, 40.0)
        cy, cx = rng.uniform(-8, SIZE + 8, 2)
        colour = np.clip(base + rng.normal(0, 0.45, 3), -1, 1)
        angle = rng.uniform(0, np.pi)
        u = (xx - cx) * np.cos(angle) + (yy - cy) * np.sin(angle)
        v = (yy - cy) * np.cos(angle) - (xx - cx) * np.sin(angle)
        ratio = rng.uniform(0.4, 1.0)
        box = rng.random() < 0.5
        inside = (np.abs(u) < radius) & (np.abs(v) < radius * ratio) if box else u**2 + (v / ratio) ** 2 < radius**2
        shade = (u * rng.normal(0, 0.01) + v * rng.normal(0, 0.01))[..., None]
        grain = rng.normal(0, rng.uniform(0, 0.08), (SIZE, SIZE, 1))
        image[inside] = (colour + shade + grain)[inside]
    return torch.from_numpy(np.clip(image, -1, 1).astype(np.float32)).permute(2, 0, 1)
