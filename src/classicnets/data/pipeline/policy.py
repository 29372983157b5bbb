"""TrivialAugment (Müller and Hutter 2021) and RandAugment (Cubuk et al. 2020), for a whole batch at once.

The operations and their magnitudes are those of torchvision's transforms v2. Each image draws its own operation,
magnitude and sign. Images with the same operation are changed together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from classicnets.preprocess import luma

Policy = Literal["none", "trivial", "rand"]

MAGNITUDES = 31
"""The number of magnitudes: 0 to 30."""

DRAWS_PER_OPERATION = 3


def apply_policy(images: Tensor, draws: Tensor, policy: Policy, operations: int, magnitude: int) -> Tensor:
    """Change each image by its own draws; pixels from outside the image are black.

    Args:
        images: uint8 (B, C, H, W), any number of channels.
        draws: float32 (B, 3 * operations or more), from [0, 1).
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
    for number, (name, operation) in enumerate(OPERATIONS.items()):
        rows = (which == number).nonzero().flatten()
        if len(rows):
            magnitudes = levels[rows] * limits[name]
            if name not in _ONE_WAY:
                magnitudes = torch.where(signs[rows] < 0.5, -magnitudes, magnitudes)
            changed[rows] = operation(images[rows], magnitudes)
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


# ---- the operations: uint8 (b, C, H, W) and their magnitudes float32 (b,), to uint8 (b, C, H, W)


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
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, mode="nearest", align_corners=False).to(torch.uint8)


def _brightness(images: Tensor, changes: Tensor) -> Tensor:
    return _away_from(torch.zeros(()), images, changes)


def _color(images: Tensor, changes: Tensor) -> Tensor:
    return _away_from(_grey(images), images, changes)


def _contrast(images: Tensor, changes: Tensor) -> Tensor:
    return _away_from(_grey(images).double().mean((1, 2, 3), keepdim=True).float(), images, changes)


def _sharpness(images: Tensor, changes: Tensor) -> Tensor:
    from torchvision.transforms.v2.functional import adjust_sharpness  # torchvision takes long to import

    return _away_from(_each_channel(lambda planes: adjust_sharpness(planes, 0), images), images, changes)


def _away_from(origin: Tensor, images: Tensor, changes: Tensor) -> Tensor:
    """Move images away from `origin` by the factor 1 + change: a factor of 0 is `origin`, 1 changes nothing."""
    factors = (1 + changes).view(-1, 1, 1, 1)
    return (images * factors + origin * (1 - factors)).clamp_(0, 255).to(torch.uint8)


def _grey(images: Tensor) -> Tensor:
    """Remove the colours of RGB images; others are returned as they are."""
    return luma(images) if images.shape[1] == 3 else images


def _posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Clear the lowest `bits`, rounded, of every value."""
    lowest = bits.round().to(torch.uint8).view(-1, 1, 1, 1)
    return images >> lowest << lowest


def _solarize(images: Tensor, depth: Tensor) -> Tensor:
    """Invert the values from 255 - `depth` on."""
    return torch.where(images >= (255 - depth).view(-1, 1, 1, 1), 255 - images, images)


def _auto_contrast(images: Tensor, _: Tensor) -> Tensor:
    from torchvision.transforms.v2.functional import autocontrast

    return _each_channel(autocontrast, images)


def _equalize(images: Tensor, _: Tensor) -> Tensor:
    from torchvision.transforms.v2.functional import equalize

    return _each_channel(equalize, images)


def _each_channel(change: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Apply `change` to each channel as a grey image (b * C, 1, H, W): torchvision only takes 1 or 3 channels."""
    return change(images.flatten(0, 1).unsqueeze(1)).view(images.shape)


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
