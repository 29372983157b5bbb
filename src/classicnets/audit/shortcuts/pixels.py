"""Clues in cheap statistics of the pixels: brightness, colour, and the rim of the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from classicnets.audit.shortcuts.clue import Clue, Feature, varies

_GREY = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
_TENTHS = torch.tensor([0.1, 0.9])
_SIDE = 256  # pixels of the longer side that are enough; of larger images, every second or third row and column
_OWN = "If it belongs to the objects themselves, this is no shortcut."
_NAMES = (
    "brightness", "contrast", "darkest tenth", "brightest tenth",
    "saturation", "red", "green", "blue",
    "brightness of the top edge", "brightness of the bottom edge", "brightness of the left edge",
    "brightness of the right edge", "red of the edges", "green of the edges", "blue of the edges",
    "contrast of the edges", "edges brighter than the middle",
)  # fmt: skip
NUMBERS = len(_NAMES)
_LIGHT, _COLOUR, _RIM = slice(0, 4), slice(4, 8), slice(8, NUMBERS)


def pixel_numbers(image: Tensor) -> np.ndarray:
    """Return the statistics of an image, uint8 (C, H, W): float64 (NUMBERS,), in 0..1 or -1..1."""
    image = image[:3] if len(image) >= 3 else image[:1].expand(3, -1, -1)
    step = max(1, max(image.shape[1:]) // _SIDE)
    rgb = image[:, ::step, ::step].float() / 255
    grey = (rgb * _GREY).sum(dim=0)
    lightest, darkest = rgb.amax(dim=0), rgb.amin(dim=0)
    saturation = ((lightest - darkest) / lightest.clamp(min=1 / 255)).mean()
    edges = [edge.float() / 255 for edge in (image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1])]
    sides = [(edge * _GREY[:, :, 0]).sum(dim=0).mean() for edge in edges]
    rim = torch.cat(edges, dim=1)
    rim_grey = (rim * _GREY[:, :, 0]).sum(dim=0)
    numbers = [
        grey.mean(), grey.std(correction=0), *grey.flatten().quantile(_TENTHS),
        saturation, *rgb.mean(dim=(1, 2)),
        *sides, *rim.mean(dim=1), rim_grey.std(correction=0), rim_grey.mean() - grey.mean(),
    ]  # fmt: skip
    return torch.stack(numbers).double().numpy()


def pixel_clues(numbers: Sequence[np.ndarray]) -> list[Clue]:
    """Return the clues in the statistics of N images, `pixel_numbers` of each."""
    columns = np.stack(numbers).T
    features = [Feature(name, column) for name, column in zip(_NAMES, columns, strict=True)]
    clues = [
        Clue(
            "brightness", "pixels", True, varies(features[_LIGHT]),
            f"{_OWN} If it comes from the light or the camera, photograph all classes in the same light, and test in "
            f"another.",
        ),
        Clue(
            "colour", "pixels", True, varies(features[_COLOUR]),
            f"{_OWN} If it comes from the light, the camera or the background, collect all classes with each of them.",
        ),
        Clue(
            "border", "pixels", True, varies(features[_RIM]),
            "The outermost pixels hold frames and backgrounds, seldom the object. Crop frames off, and collect all "
            "classes before the same backgrounds. A background that belongs to the class is no shortcut.",
        ),
    ]  # fmt: skip
    return [clue for clue in clues if clue.features]
