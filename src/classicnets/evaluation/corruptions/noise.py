"""Noise: of the sensor, of few photons, of broken pixels.

Each function takes images, float32 (N, C, H, W) in 0..1, the severity, 0..4, and the draws; values outside 0..1 are cut
off afterwards. The fewer pixels show an object, the more the same noise hides it, so small images get less.
"""

from __future__ import annotations

from torch import Tensor

from classicnets.evaluation.corruptions.draws import Draws
from classicnets.evaluation.corruptions.fields import scale

_SIGMAS = (0.08, 0.12, 0.18, 0.26, 0.38)
_PHOTONS = (60, 25, 12, 6, 3)  # that white pixels receive
_SHARES = (0.03, 0.06, 0.1, 0.17, 0.27)


def gaussian_noise(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Add noise of one strength everywhere: a sensor in poor light."""
    return images + _SIGMAS[severity] * scale(images, 0.5) * draws.normal(*images.shape[1:])


def shot_noise(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Count photons: bright pixels vary more. Poisson's distribution is drawn by its normal approximation."""
    photons = _PHOTONS[severity] / scale(images, 1)
    mean = images * photons
    return (mean + mean.sqrt() * draws.normal(*images.shape[1:])).round() / photons


def impulse_noise(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Turn a share of the values black or white: broken pixels, errors of transmission."""
    share = _SHARES[severity] * scale(images, 0.5)
    drawn = draws.uniform(*images.shape[1:])
    return images.masked_fill(drawn < share / 2, 0).masked_fill(drawn > 1 - share / 2, 1)
