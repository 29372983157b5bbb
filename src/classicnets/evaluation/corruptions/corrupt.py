"""`corrupt`: one of the fifteen corruptions, at one of five severities, on uint8 images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from classicnets.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor

SEVERITIES = 5
"""Severities are 1, mild, to 5, strong."""

KINDS: dict[str, tuple[str, ...]] = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
"""The names of the corruptions, by kind."""

CORRUPTIONS = tuple(name for names in KINDS.values() for name in names)
"""The names of all fifteen, kind by kind."""

_CHUNK = 2**21  # values at a time


def corrupt(images: Tensor, name: str, severity: int, *, indices: Tensor | None = None, seed: int = 0) -> Tensor:
    """Corrupt images. The result for an image depends on its pixels, its index and the seed, not on its batch.

    Args:
        images: uint8 (N, C, H, W), values 0 to 255, of any size.
        name: one of `CORRUPTIONS`, such as "fog".
        severity: 1 (mild) to 5 (strong).
        indices: int64 (N,), the number of each image in its set; by default 0 to N-1.
        seed: decides all that is random, 0 or more.

    Returns uint8 (N, C, H, W). Raises UnknownName for an unknown name, ConfigError for another severity.

    >>> corrupt(torch.zeros(2, 1, 28, 28, dtype=torch.uint8), "fog", 3).shape
    torch.Size([2, 1, 28, 28])
    """
    import torch

    from classicnets.evaluation.corruptions.draws import Draws
    from classicnets.evaluation.corruptions.functions import FUNCTIONS

    if name not in CORRUPTIONS:
        raise unknown_name("corruption", name, CORRUPTIONS, next_step=f"Known: {', '.join(CORRUPTIONS)}.")
    if not 1 <= severity <= SEVERITIES:
        raise ConfigError(f"severity must be 1 to {SEVERITIES}, got {severity}.")
    indices = torch.arange(len(images)) if indices is None else indices
    number = CORRUPTIONS.index(name)
    result = torch.empty_like(images)
    rows = max(1, _CHUNK // max(1, images[:1].numel()))
    for start in range(0, len(images), rows):
        chunk = slice(start, start + rows)
        draws = Draws(seed, indices[chunk], stream=number + 1)
        changed = FUNCTIONS[number](images[chunk].float() / 255, severity - 1, draws)
        result[chunk] = (changed.clamp(0, 1) * 255).round().to(torch.uint8)
    return result
