"""How much memory a training will ask of a GPU, from the shapes of its network."""

from __future__ import annotations

import torch

from classicnets.analysis.summary import inspect
from classicnets.models.contract import ConvNet

_FP32 = 4  # bytes
_TEMPORARY = 1.5  # activations and what the backward pass holds beside them
_BATCHES = 6  # as float32: the one in use, the one made ahead, and what its augmentation holds


def still_needed(model: ConvNet, dtype: torch.dtype, image_size: tuple[int, int], batch_size: int, at_once: int) -> int:
    """Return how many bytes a training will ask for, beside weights and optimizer state; rather too many.

    Args:
        model: the network to train.
        dtype: the data type of the forward pass.
        image_size: height and width in pixels.
        batch_size: images in a batch of this process.
        at_once: images in one forward pass.

    >>> from classicnets.models.catalog import create
    >>> still_needed(create("resnet20_cifar"), torch.float32, (32, 32), 128, 128) >> 20
    421
    """
    summary = inspect(model, image_size=image_size)
    channels, height, width = summary.input
    gradients = _FP32 * summary.parameters
    activations = summary.activation_bytes * dtype.itemsize // _FP32 * at_once
    batches = _FP32 * channels * height * width * batch_size * _BATCHES
    return int(gradients + _TEMPORARY * activations + batches)
