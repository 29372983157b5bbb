"""Random numbers of the corruptions: a function of the seed, the image's index, the corruption and the call.

All severities of a corruption draw the same numbers, so they differ in severity alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from classicnets.data.pipeline.random import uniform

_HALF_STEP = 2.0**-25  # half of the distance between two draws: keeps them inside (0, 1)


class Draws:
    """What a corruption draws for some images; each call draws new numbers.

    Args:
        seed: any whole number, 0 or more.
        indices: int64 (N,), the number of each image in its set.
        stream: the number of the corruption.
    """

    def __init__(self, seed: int, indices: Tensor, stream: int) -> None:
        self._seed, self._indices, self._stream = seed, indices, stream
        self._calls = 0

    def uniform(self, *shape: int) -> Tensor:
        """Numbers in (0, 1) for each image: float32 (N, *shape)."""
        drawn = uniform(self._seed, self._calls, self._indices, math.prod(shape), stream=self._stream)
        self._calls += 1
        return (drawn + _HALF_STEP).view(-1, *shape)

    def normal(self, *shape: int) -> Tensor:
        """Numbers of the standard normal distribution for each image: float32 (N, *shape)."""
        drawn: Tensor = torch.special.ndtri(self.uniform(*shape))
        return drawn
