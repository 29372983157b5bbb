"""Weather: snow, frost, fog, glaring light.

Each function takes images, float32 (N, C, H, W) in 0..1, the severity, 0..4, and the draws; values outside 0..1 are cut
off afterwards.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from classicnets.evaluation.corruptions.draws import Draws
from classicnets.evaluation.corruptions.fields import clouds, filtered, grey, length, lines


class _Snow(NamedTuple):
    """The share of the picture that is flakes, how far they fall in pixels of 224, and how much colour is left."""

    share: float
    fall: float
    kept: float


_SNOW = (
    _Snow(0.04, 4, 0.9),
    _Snow(0.08, 6, 0.82),
    _Snow(0.12, 8, 0.75),
    _Snow(0.18, 10, 0.68),
    _Snow(0.25, 12, 0.6),
)
_FLAKE = 4.0  # pixels of 224
_FROST = ((1.0, 0.2), (0.93, 0.35), (0.85, 0.5), (0.75, 0.65), (0.65, 0.8))  # of the image, of the frost
_FOG = ((0.4, 2.0), (0.7, 1.9), (1.1, 1.8), (1.7, 1.7), (2.5, 1.6))  # strength, roughness
_LIGHT = (0.1, 0.2, 0.3, 0.4, 0.5)


def snow(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Whiten the picture, and let flakes fall through it."""
    dense = _SNOW[severity]
    height, width = images.shape[-2:]
    flake = max(1.5, length(images, _FLAKE))
    grid = (math.ceil(height / flake), math.ceil(width / flake))
    size = draws.uniform(1, *grid)
    angles = -math.pi / 2 + (draws.uniform() - 0.5) * (math.pi / 3)
    strength = ((size - (1 - dense.share)) / dense.share).clamp(min=0).sqrt()
    flakes = F.interpolate(strength, (height, width), mode="bilinear")
    flakes = filtered(flakes, lines(max(1.0, length(images, dense.fall)), angles))
    white = images.maximum(grey(images) * 0.7 + 0.5)
    return dense.kept * images + (1 - dense.kept) * white + 1.2 * flakes


def frost(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Lay ice crystals over the picture: bright ridges in patches."""
    of_image, of_frost = _FROST[severity]
    height, width = images.shape[-2:]
    ridges = 1 - (2 * clouds(draws, height, width, 1.1) - 1).abs()
    patches = clouds(draws, height, width, 1.8)
    ice = 0.25 + 0.75 * (ridges**3) * (0.4 + 0.6 * patches) + 0.3 * patches**2
    return of_image * images + of_frost * ice


def fog(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Mix the picture with a bright, uneven cloud."""
    strength, roughness = _FOG[severity]
    height, width = images.shape[-2:]
    cloud = clouds(draws, height, width, roughness)
    return (images + strength * (0.3 + 0.7 * cloud)) / (1 + strength)


def brightness(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Raise the brightest channel of each pixel, with its colour kept: too much light."""
    value = images.amax(dim=1, keepdim=True)
    raised = (value + _LIGHT[severity]).clamp(max=1)
    return (images * (raised / value.clamp(min=1e-6))).where(value > 0, raised)
