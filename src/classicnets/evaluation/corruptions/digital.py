"""What happens to a picture on its way: less contrast, bent, in coarse pixels, saved as a poor JPEG.

Each function takes images, float32 (N, C, H, W) in 0..1, the severity, 0..4, and the draws; values outside 0..1 are cut
off afterwards.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from classicnets.evaluation.corruptions.draws import Draws
from classicnets.evaluation.corruptions.fields import moved, scale
from classicnets.images import recompressed

_CONTRASTS = (0.6, 0.45, 0.3, 0.2, 0.1)
_BENDS = (0.012, 0.02, 0.028, 0.038, 0.05)  # of a side
_WAVES = 7  # along a side
_PIXELS = (0.6, 0.5, 0.4, 0.3, 0.22)  # along a side, of 224
_QUALITIES = (25, 18, 13, 9, 6)  # of 224 pixels, of 100


def contrast(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Bring all values nearer to their mean."""
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + _CONTRASTS[severity] * (images - mean)


def elastic_transform(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Bend the picture smoothly, a little further in each direction at each place."""
    height, width = images.shape[-2:]
    bends = F.interpolate(draws.normal(2, _WAVES, _WAVES), (height, width), mode="bicubic")
    right, down = bends.mul_(_BENDS[severity]).unbind(1)
    return moved(images, right * width, down * height)


def pixelate(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Shrink the picture and enlarge it again, in square pixels. Small pictures are shrunk less."""
    share = _PIXELS[severity] ** scale(images, 0.35)
    size = [max(1, round(side * share)) for side in images.shape[-2:]]
    small = F.interpolate(images, size, mode="bilinear", antialias=True)
    return F.interpolate(small, list(images.shape[-2:]), mode="nearest-exact")


def jpeg_compression(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Save the picture as a JPEG of low quality. Channels other than RGB are saved one by one."""
    quality = round(_QUALITIES[severity] / scale(images, 0.3))
    pixels = (images * 255).round().to(torch.uint8)
    planes = pixels if pixels.shape[1] == 3 else pixels.flatten(0, 1).unsqueeze(1)
    saved = torch.stack([recompressed(plane, quality) for plane in planes])
    return saved.view(images.shape).float() / 255
