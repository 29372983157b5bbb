"""Blur: out of focus, behind frosted glass, moved, zoomed during the exposure.

Each function takes images, float32 (N, C, H, W) in 0..1, the severity, 0..4, and the draws.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from classicnets.evaluation.corruptions.draws import Draws
from classicnets.evaluation.corruptions.fields import disc, filtered, gaussian, length, lines, moved

_RADII = (3, 4, 6, 8, 10)  # pixels of 224
_GLASS = (2, 3, 4.5, 6, 8)  # pixels of 224: how far a pixel comes from
_LINES = (8, 12, 18, 26, 36)  # pixels of 224
_ZOOMS = (1.08, 1.13, 1.19, 1.26, 1.34)
_ZOOM_STEPS = 11


def defocus_blur(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Spread each pixel over a disc: a lens out of focus."""
    return filtered(images, disc(length(images, _RADII[severity])))


def glass_blur(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Take each pixel from somewhere near it, then blur a little: frosted glass."""
    reach = length(images, _GLASS[severity])
    right, down = (reach * (2 * draws.uniform(*images.shape[2:]) - 1) for _ in range(2))
    return filtered(moved(images, right, down), gaussian(0.3 * reach))


def motion_blur(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Spread each pixel along a line, up to 45 degrees from the horizontal: a camera that moves."""
    angles = (draws.uniform() - 0.5) * (math.pi / 2)
    return filtered(images, lines(length(images, _LINES[severity]), angles))


def zoom_blur(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Average the image over a zoom into its centre: a camera that comes nearer."""
    planes = images.flatten(0, 1)[None]  # one image of many channels: all are zoomed alike
    total = torch.zeros_like(planes)
    for zoom in torch.linspace(1, _ZOOMS[severity], _ZOOM_STEPS).tolist():
        grid = F.affine_grid(torch.eye(2, 3).div_(zoom)[None], list(planes.shape), align_corners=False)
        total += F.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return (total / _ZOOM_STEPS).view(images.shape)
