"""One picture file to the square that a network sees, as Inception was trained (Szegedy et al. 2015, section 6).

Training: a random part of 8 to 100 % of the area, its sides 3:4 to 4:3, resized to the square; mirrored or not;
brightness, contrast and saturation each times a factor within 40 % of 1. Evaluation: the central 87.5 % of the shorter
side. The file is not trusted: see `opened`.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dsresearch.data.archive import picture, refusal, shown
from dsresearch.data.listing import content

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 2**26  # of one picture: 67 million, 200 MB decoded
MODES = ("RGB", "L", "CMYK")  # what JPEGs of photographs come in; ImageNet has all three
AREA = (0.08, 1.0)
ASPECT = (3 / 4, 4 / 3)
ATTEMPTS = 10
COLOUR = 0.4
CENTRE = 0.875

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


def opened(source: Path, path: str) -> "Image.Image":
    """The decoded picture of a listed file, as RGB.

    The size is read from the file's head and refused before anything is decoded. Safe in several threads at once.

    Raises:
        InputError: the file is no whole JPEG or PNG, too large, or in a mode that is not converted.
    """
    with picture(source, path, content(source, path)) as image:
        if image.mode not in MODES:
            raise refusal(source, f"{shown(path)} in it has mode {image.mode}, allowed: {', '.join(MODES)}")
        if image.width * image.height > MAX_PIXELS:
            pixels = f"{image.width} x {image.height} pixels"
            raise refusal(source, f"{shown(path)} in it has {pixels}, allowed: {MAX_PIXELS}")
        return image.convert("RGB")


@dataclass(frozen=True)
class Training:
    """(path below the folder, target), a generator -> (uint8 [side, side, 3], target)."""

    source: Path
    side: int

    def __call__(self, element: tuple[str, np.ndarray], draws: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        path, target = element
        image = opened(self.source, path)
        image = resized(image, random_box(image.width, image.height, draws), self.side)
        if draws.random() < 0.5:
            image = mirrored(image)
        return np.asarray(coloured(image, draws)), target


@dataclass(frozen=True)
class Evaluation:
    """(path below the folder, target) -> (uint8 [side, side, 3], target)."""

    source: Path
    side: int

    def __call__(self, element: tuple[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        path, target = element
        image = opened(self.source, path)
        return np.asarray(resized(image, centre_box(image.width, image.height), self.side)), target


def random_box(width: int, height: int, draws: np.random.Generator) -> Box:
    """A part of 8 to 100 % of the area with sides 3:4 to 4:3; where none of ten fits, the largest central one."""
    for _ in range(ATTEMPTS):
        area = width * height * draws.uniform(*AREA)
        aspect = math.exp(draws.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
        across, down = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < across <= width and 0 < down <= height:
            left, top = int(draws.integers(width - across + 1)), int(draws.integers(height - down + 1))
            return left, top, left + across, top + down
    across, down = min(width, round(height * ASPECT[1])), min(height, round(width / ASPECT[0]))
    return _central(width, height, max(across, 1), max(down, 1))


def centre_box(width: int, height: int) -> Box:
    """The central square of 87.5 % of the shorter side."""
    side = max(round(CENTRE * min(width, height)), 1)
    return _central(width, height, side, side)


def _central(width: int, height: int, across: int, down: int) -> Box:
    left, top = (width - across) // 2, (height - down) // 2
    return left, top, left + across, top + down


def resized(image: "Image.Image", box: Box, side: int) -> "Image.Image":
    """A part of a picture as a square, bilinear over all pixels that fall together."""
    from PIL import Image

    return image.resize((side, side), Image.Resampling.BILINEAR, box=box)


def mirrored(image: "Image.Image") -> "Image.Image":
    """Left and right exchanged."""
    from PIL import ImageOps

    return ImageOps.mirror(image)


def coloured(image: "Image.Image", draws: np.random.Generator) -> "Image.Image":
    """Brightness, contrast and saturation, in this order, each times a factor of 0.6 to 1.4."""
    from PIL import ImageEnhance

    for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhancer(image).enhance(float(draws.uniform(1 - COLOUR, 1 + COLOUR)))
    return image
