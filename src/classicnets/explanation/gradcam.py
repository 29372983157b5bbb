"""Grad-CAM and Grad-CAM++: which positions of a stage's output raise a class's score.

Both weight the channels of the output by the score's gradient, and add them up. No hooks are needed: the networks are a
straight line of stages, so `ConvNet.features` has every stage's output.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from classicnets.explanation.score import ClassScore

_FEWEST = 4  # positions along a side of the default stage


def grad_cam(score: ClassScore, stage: str) -> Tensor:
    """Return the Grad-CAM map before its ReLU: float64 (h, w). A channel's weight is the mean of its gradient.

    Selvaraju et al. 2017, equations 1 and 2. `stage` is the name of a stage of `score.network.trunk`.

    >>> grad_cam(score, "conv5").relu()  # doctest: +SKIP
    """
    output, gradient = score.at_stage(stage)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    return score.merged((weights * output).sum(dim=1))


def grad_cam_plus_plus(score: ClassScore, stage: str) -> Tensor:
    """Return the Grad-CAM++ map before its ReLU: float64 (h, w). Positions with a positive gradient make the weights.

    Chattopadhay et al. 2018, equations 10 and 19. alpha = g^2 / (2 g^2 + g^3 sum(A)) = 1 / (2 + g sum(A)). The paper
    has outputs A >= 0; for others, a position whose denominator is not positive is left out. `stage` is the name of a
    stage of `score.network.trunk`.

    >>> grad_cam_plus_plus(score, "conv5").relu()  # doctest: +SKIP
    """
    output, gradient = score.at_stage(stage)
    denominator = 2 + gradient * output.sum(dim=(2, 3), keepdim=True)
    counts = (gradient > 0) & (denominator > 0)
    alpha = torch.where(counts, 1 / torch.where(counts, denominator, 1), 0)
    weights = (alpha * gradient.relu()).sum(dim=(2, 3), keepdim=True)
    return score.merged((weights * output).sum(dim=1))


def default_stage(sizes: Mapping[str, tuple[int, int]]) -> str:
    """Return the last stage with at least 4 x 4 positions, or the last of those with the most positions.

    `sizes` holds the (height, width) of every stage's output by the stage's name, in order.

    >>> default_stage({"conv4": (4, 4), "conv5": (2, 2)})
    'conv4'
    """
    large = [name for name, size in sizes.items() if min(size) >= _FEWEST]
    if large:
        return large[-1]
    return max(reversed(list(sizes)), key=lambda name: min(sizes[name]))
