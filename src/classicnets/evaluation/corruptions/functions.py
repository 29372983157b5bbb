"""The function of each corruption."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from classicnets.evaluation.corruptions.blur import defocus_blur, glass_blur, motion_blur, zoom_blur
from classicnets.evaluation.corruptions.digital import contrast, elastic_transform, jpeg_compression, pixelate
from classicnets.evaluation.corruptions.draws import Draws
from classicnets.evaluation.corruptions.noise import gaussian_noise, impulse_noise, shot_noise
from classicnets.evaluation.corruptions.weather import brightness, fog, frost, snow

FUNCTIONS: tuple[Callable[[Tensor, int, Draws], Tensor], ...] = (
    gaussian_noise, shot_noise, impulse_noise,
    defocus_blur, glass_blur, motion_blur, zoom_blur,
    snow, frost, fog, brightness,
    contrast, elastic_transform, pixelate, jpeg_compression,
)  # fmt: skip
"""In the order of `CORRUPTIONS`."""
