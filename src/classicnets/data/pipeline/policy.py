"""TrivialAugment (Müller and Hutter 2021) and RandAugment (Cubuk et al. 2020), for a whole batch at once.

The operations and their magnitudes are those of torchvision's transforms v2. Each image draws its own operation,
magnitude and sign. Images with the same operation are changed together.

The images may be on a GPU. The draws are on the CPU, which so knows how many images each operation has: a GPU would
have to be waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from classicnets.data.pipeline.grid import affine_grid
from classicnets.preprocess import luma
from classicnets.system.streams import sent

Policy = Literal["none", "trivial", "rand"]

MAGNITUDES = 31
"""The number of magnitudes: 0 to 30."""

DRAWS_PER_OPERATION = 3


def apply_policy(images: Tensor, draws: Tensor, policy: Policy, operations: int, magnitude: int) -> Tensor:
    """Change each image by its own draws; pixels from outside the image are black.

    Args:
        images: uint8 (B, C, H, W), any number of channels, on any device.
        draws: float32 (B, 3 * operations or more), from [0, 1), on the CPU.
        policy: "trivial" applies one operation at a drawn magnitude, "rand" `operations` of them at `magnitude`.
        operations: 1 to 4; "trivial" ignores it.
        magnitude: 0 to 30; "trivial" ignores it.
    """
    images = images.contiguous()
    for i in range(operations if policy == "rand" else 1):
        which, step, sign = draws[:, DRAWS_PER_OPERATION * i :][:, :DRAWS_PER_OPERATION].unbind(1)
        steps = (step * MAGNITUDES).floor() if policy == "trivial" else torch.full_like(step, magnitude)
        images = _one_each(images, (which * len(OPERATIONS)).long(), steps / (MAGNITUDES - 1), sign, policy)
    return images


def _one_each(images: Tensor, which: Tensor, levels: Tensor, signs: Tensor, policy: Policy) -> Tensor:
    """Apply operation `which` to each image, at a level 0..1 of its largest magnitude, negative if sign < 0.5."""
    changed = torch.empty_like(images)
    limits = largest_magnitudes(policy, images.shape[-2], images.shape[-1])
    counts: list[int] = which.bincount(minlength=len(OPERATIONS)).tolist()
    by_operation = which.argsort(stable=True)
    all_rows, all_places = by_operation.split(counts), sent(by_operation, images.device).split(counts)
    for (name, operation), rows, places in zip(OPERATIONS.items(), all_rows, all_places, strict=True):
        if len(rows):
            magnitudes = levels[rows] * limits[name]
            if name not in _ONE_WAY:
                magnitudes = torch.where(signs[rows] < 0.5, -magnitudes, magnitudes)
            changed[places] = operation(images[places], magnitudes)
    return changed


def largest_magnitudes(policy: Policy, height: int, width: int) -> dict[str, float]:
    """The largest magnitude of each operation: tangent, pixels, degrees, change of a factor, bits, levels of grey."""
    wide = policy == "trivial"
    colour = 0.99 if wide else 0.9
    return {
        "identity": 0,
        "shear_x": 0.99 if wide else 0.3,
        "shear_y": 0.99 if wide else 0.3,
        "translate_x": 32 if wide else 150 / 331 * width,
        "translate_y": 32 if wide else 150 / 331 * height,
        "rotate": 135 if wide else 30,
        "brightness": colour,
        "color": colour,
        "contrast": colour,
        "sharpness": colour,
        "posterize": 6 if wide else 4,
        "solarize": 255,
        "auto_contrast": 0,
        "equalize": 0,
    }


# ---- the operations: uint8 (b, C, H, W) and their magnitudes float32 (b,) on the CPU, to uint8 (b, C, H, W)


def _identity(images: Tensor, _: Tensor) -> Tensor:
    return images


def _shear_x(images: Tensor, tangents: Tensor) -> Tensor:
    return _moved(images, right=(1, tangents, tangents * images.shape[-2] / 2))


def _shear_y(images: Tensor, tangents: Tensor) -> Tensor:
    return _moved(images, down=(tangents, 1, tangents * images.shape[-1] / 2))


def _translate_x(images: Tensor, pixels: Tensor) -> Tensor:
    return _moved(images, right=(1, 0, -pixels.trunc()))


def _translate_y(images: Tensor, pixels: Tensor) -> Tensor:
    return _moved(images, down=(0, 1, -pixels.trunc()))


def _rotate(images: Tensor, degrees: Tensor) -> Tensor:
    cos, sin = torch.deg2rad(degrees).cos(), torch.deg2rad(degrees).sin()
    return _moved(images, right=(cos, -sin, 0), down=(sin, cos, 0))


_Row = tuple[Tensor | float, Tensor | float, Tensor | float]


def _moved(images: Tensor, *, right: _Row = (1, 0, 0), down: _Row = (0, 1, 0)) -> Tensor:
    """Read each pixel (x, y) at a x + b y + c of `right` and of `down`, in pixels from the centre, to the nearest."""
    n, _, height, width = images.shape
    # affine_grid counts from -1 to 1 across the image, in both directions.
    per_pixel = ((1, height / width, 2 / width), (width / height, 1, 2 / height))
    theta = torch.empty(n, 2, 3)
    for i, row in enumerate((right, down)):
        for j, value in enumerate(row):
            theta[:, i, j] = torch.as_tensor(value, dtype=torch.float32) * per_pixel[i][j]
    if images.device.type == "cpu":
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    else:
        grid = affine_grid(sent(theta, images.device), (height, width))
    return F.grid_sample(images.float(), grid, mode="nearest", align_corners=False).to(torch.uint8)


def _brightness(images: Tensor, changes: Tensor) -> Tensor:
    return _away_from(torch.zeros(()), images, changes)


def _color(images: Tensor, changes: Tensor) -> Tensor:
    return _away_from(_grey(images), images, changes)


def _contrast(images: Tensor, changes: Tensor) -> Tensor:
    return _away_from(_grey(images).double().mean((1, 2, 3), keepdim=True).float(), images, changes)


def _sharpness(images: Tensor, changes: Tensor) -> Tensor:
    return _away_from(smoothed(images), images, changes)


def smoothed(images: Tensor) -> Tensor:
    """Each pixel's mean over 3x3, in which it counts five times, rounded. The pixels of the edge stay."""
    if min(images.shape[-2:]) < 3:
        return images
    values = images.float()
    triples = values[..., :-2, :] + values[..., 1:-1, :] + values[..., 2:, :]
    sums = triples[..., :-2] + triples[..., 1:-1] + triples[..., 2:]
    result = images.clone()
    result[..., 1:-1, 1:-1] = sums.add_(values[..., 1:-1, 1:-1], alpha=4).div_(13).round_().to(torch.uint8)
    return result


def _away_from(origin: Tensor, images: Tensor, changes: Tensor) -> Tensor:
    """Move images away from `origin` by the factor 1 + change: a factor of 0 is `origin`, 1 changes nothing."""
    factors = sent((1 + changes).view(-1, 1, 1, 1), images.device)
    return (images * factors + origin * (1 - factors)).clamp_(0, 255).to(torch.uint8)


def _grey(images: Tensor) -> Tensor:
    """Remove the colours of RGB images; others are returned as they are."""
    return luma(images) if images.shape[1] == 3 else images


def _posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Clear the lowest `bits`, rounded, of every value."""
    lowest = sent(bits.round().to(torch.uint8).view(-1, 1, 1, 1), images.device)
    return images >> lowest << lowest


def _solarize(images: Tensor, depth: Tensor) -> Tensor:
    """Invert the values from 255 - `depth` on."""
    return torch.where(images >= sent((255 - depth).view(-1, 1, 1, 1), images.device), 255 - images, images)


def _auto_contrast(images: Tensor, _: Tensor) -> Tensor:
    """Stretch each channel to 0..255; one of a single value stays."""
    values = images.float()
    low, high = values.amin((2, 3), keepdim=True), values.amax((2, 3), keepdim=True)
    flat = low == high
    scale = ((high - low) * (1 / 255)).masked_fill_(flat, 1)
    return values.sub_(low.masked_fill_(flat, 0)).div_(scale).clamp_(0, 255).to(torch.uint8)


def _equalize(images: Tensor, _: Tensor) -> Tensor:
    """Spread the values of each channel evenly over 0..255, with Pillow's rounding; one of few values stays."""
    values = images.flatten(2).long()
    counts = values.new_zeros(*values.shape[:2], 256, dtype=torch.int32)
    counts.scatter_add_(2, values, counts.new_ones(1).expand_as(values))
    step = (values.shape[2] - counts.gather(2, values.amax(2, keepdim=True))).div_(255, rounding_mode="floor")
    below = counts.cumsum(2).sub_(counts)
    table = below.add_(step // 2).div_(step.clamp(min=1), rounding_mode="floor").clamp_(max=255).to(torch.uint8)
    return torch.where(step[..., None] > 0, table.gather(2, values).view_as(images), images)


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "identity": _identity,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": _rotate,
    "brightness": _brightness,
    "color": _color,
    "contrast": _contrast,
    "sharpness": _sharpness,
    "posterize": _posterize,
    "solarize": _solarize,
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
}
_ONE_WAY = {"identity", "posterize", "solarize", "auto_contrast", "equalize"}
