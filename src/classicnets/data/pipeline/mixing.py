"""Mix images with one another, and their targets in the same shares.

mixup (Zhang et al. 2018) blends two images; cutmix (Yun et al. 2019) pastes a rectangle of one into the other.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from classicnets.data.pipeline import random
from classicnets.data.pipeline.augment import Augment, rectangle
from classicnets.system.streams import sent


class Mixed(NamedTuple):
    """Images float32 (B, C, H, W), and the share of each class in them, float32 (B, K); each row sums to 1."""

    images: Tensor
    targets: Tensor


def draw(seed: int, epoch: int, indices: Tensor) -> Tensor:
    """Draw the numbers in [0, 1) that `mix` needs for each sample: int64 (B,) -> float32 (B, 5)."""
    return random.uniform(seed, epoch, indices, 5, stream=2)


def mix(images: Tensor, labels: Tensor, draws: Tensor, config: Augment, num_classes: int) -> Mixed:
    """Mix each of the first B images with the one after it.

    A mixed image depends only on its two images and its own draws, not on the rest of the batch.

    Args:
        images: float32 (B + 1, C, H, W), on any device; the result is there too.
        labels: int64 (B + 1,), there too.
        draws: float32 (B, 5), made by `draw`, on the CPU.
        config: its `mixup`, `cutmix` and `mix_probability`.
        num_classes: K.
    """
    size = images.shape[-2], images.shape[-1]
    chance, kind, place, centre = draws[:, 0], draws[:, 1], draws[:, 2], draws[:, 3:5]
    if config.mixup and config.cutmix:
        cut = kind < 0.5
        share = torch.where(cut, _beta(place, config.cutmix), _beta(place, config.mixup))
    else:
        cut = torch.full_like(kind, bool(config.cutmix), dtype=torch.bool)
        share = _beta(place, config.cutmix or config.mixup)
    sides, mixes = (1 - share).sqrt()[:, None].expand(-1, 2), chance < config.mix_probability
    centre, sides, cut, share, mixes = (sent(each, images.device) for each in (centre, sides, cut, share, mixes))
    inside = rectangle(centre, sides, size)
    keep = torch.where(cut.view(-1, 1, 1, 1), (~inside).float(), share.view(-1, 1, 1, 1))
    keep = torch.where(mixes.view(-1, 1, 1, 1), keep, 1.0)
    # Not lerp: its last bits depend on the position of an image in the batch.
    mixed = images[:-1] * keep + images[1:] * (1 - keep)
    own = keep.double().mean((2, 3)).float()
    targets = F.one_hot(labels, num_classes)
    return Mixed(mixed.contiguous(memory_format=torch.channels_last), targets[:-1] * own + targets[1:] * (1 - own))


def _beta(draws: Tensor, alpha: float) -> Tensor:
    """Turn uniform draws (B,) into draws from Beta(alpha, alpha), by its inverse distribution function."""
    from scipy.special import betaincinv

    return torch.from_numpy(betaincinv(alpha, alpha, draws.double().numpy())).float()
