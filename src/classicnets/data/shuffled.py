"""An order drawn by a seed, with PyTorch or without it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def shuffled(number: int, *, seed: int) -> NDArray[np.int64]:
    """Return 0 to number - 1 in the order that `torch.randperm` gives them with a new generator: int64 (number,).

    Runs record the seed of their split, so the order of a seed must never change. PyTorch draws from the Mersenne
    Twister, as numpy's RandomState does, whose numbers are fixed for ever.

    Args:
        number: how many, 0 or more.
        seed: any whole number, 0 or more.

    >>> shuffled(5, seed=0).tolist()
    [4, 0, 1, 3, 2]
    """
    left = np.arange(number, 1, -1)  # how many have no place yet
    draws = np.random.RandomState(seed % 2**32).randint(0, 2**32, len(left), dtype=np.uint32)
    order = list(range(number))
    for place, other in enumerate((number - left + draws % left).tolist()):
        order[place], order[other] = order[other], order[place]
    return np.array(order, np.int64)
