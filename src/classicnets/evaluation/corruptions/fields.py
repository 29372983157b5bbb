"""What several corruptions are made of: lengths that follow the image's size, filters, clouds, moved pixels.

Images are float32 (N, C, H, W) in 0..1.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from classicnets.evaluation.corruptions.draws import Draws

_REFERENCE = 224  # pixels along a side: the size that the severities are stated for


def scale(images: Tensor, power: float) -> float:
    """(side / 224) ** power, for the images' shorter side: how a severity follows the size."""
    return float((min(images.shape[-2:]) / _REFERENCE) ** power)


def length(images: Tensor, pixels: float) -> float:
    """A length stated for 224 pixels, for these images. It shrinks less than they do: a blur of 0.3 pixels is none."""
    return pixels * scale(images, 0.75)


def gaussian(sigma: float) -> Tensor:
    """A Gaussian kernel, float32 (k, k), k odd; its sum is 1."""
    reach = max(1, math.ceil(3 * sigma))
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / max(sigma, 1e-3)) ** 2)
    kernel = torch.outer(line, line)
    return kernel / kernel.sum()


def disc(radius: float) -> Tensor:
    """A disc with soft edges, float32 (k, k), k odd; its sum is 1."""
    reach = math.ceil(radius + 0.5)
    line = torch.arange(-reach, reach + 1, dtype=torch.float32)
    distance = torch.hypot(line[:, None], line)
    kernel = (radius + 0.5 - distance).clamp(0, 1)
    return kernel / kernel.sum()


def lines(lengths: float, angles: Tensor) -> Tensor:
    """Lines of so many pixels, at angles in radians, float32 (N,): kernels (N, k, k), k odd, of sum 1."""
    reach = max(1, math.ceil(lengths / 2))
    side = 2 * reach + 1
    steps = torch.linspace(-lengths / 2, lengths / 2, 4 * side)
    x, y = angles.cos()[:, None] * steps + reach, angles.sin()[:, None] * steps + reach
    kernels = torch.zeros(len(angles), side * side)
    left, top = x.floor(), y.floor()
    for right, below in ((0, 0), (0, 1), (1, 0), (1, 1)):  # each point is shared by its four pixels
        share = (1 - (x - left - right).abs()) * (1 - (y - top - below).abs())
        column, row = (left + right).clamp(0, side - 1), (top + below).clamp(0, side - 1)
        kernels.scatter_add_(1, (row * side + column).long(), share)
    return (kernels / kernels.sum(dim=1, keepdim=True)).view(-1, side, side)


def filtered(images: Tensor, kernels: Tensor) -> Tensor:
    """Filter with one kernel (k, k), or with one for each image (N, k, k); the borders are repeated outwards."""
    height, width = images.shape[-2:]
    reach = kernels.shape[-1] // 2
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    size = list(padded.shape[-2:])
    wave = torch.fft.rfft2(kernels if kernels.ndim == 3 else kernels[None], s=size)[:, None]
    result: Tensor = torch.fft.irfft2(torch.fft.rfft2(padded) * wave, s=size)
    return result[..., 2 * reach :, 2 * reach :][..., :height, :width]


def clouds(draws: Draws, height: int, width: int, roughness: float) -> Tensor:
    """Random clouds (N, 1, H, W) in 0..1: noise whose amplitude falls with the frequency as f ** -roughness."""
    waves = torch.fft.rfft2(draws.normal(1, height, width))
    down, across = torch.fft.fftfreq(height)[:, None] * height, torch.fft.rfftfreq(width) * width
    frequency = torch.hypot(down, across)
    frequency[0, 0] = 1
    waves = waves * frequency**-roughness
    waves[..., 0, 0] = 0
    field: Tensor = torch.fft.irfft2(waves, s=[height, width])
    low, high = field.amin((2, 3), keepdim=True), field.amax((2, 3), keepdim=True)
    return (field - low) / (high - low).clamp(min=1e-12)


def moved(images: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Read each pixel so many pixels further right and further down, (N, H, W) each, by bilinear interpolation."""
    height, width = images.shape[-2:]
    x = (torch.arange(width) + right + 0.5) * (2 / width) - 1
    y = (torch.arange(height)[:, None] + down + 0.5) * (2 / height) - 1
    grid = torch.stack([x, y], dim=-1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def grey(images: Tensor) -> Tensor:
    """The mean of the channels, (N, 1, H, W)."""
    return images.mean(dim=1, keepdim=True)
