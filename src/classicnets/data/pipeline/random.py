"""Randomness as a pure function of (seed, epoch, sample index): no state to save, none to lose.

Every sample draws from its own counter-based stream, so its crop, flip and mixing are the same whatever the batch
size, the number of workers, the prefetching, or the point where an interrupted run went on.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Words = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniform(seed: int, epoch: int, indices: Tensor, draws: int, *, stream: int = 0) -> Tensor:
    """Independent draws from [0, 1) for each sample: int64 (B,) -> float32 (B, draws); another `stream`, others."""
    with np.errstate(over="ignore"):
        firsts: Words = indices.numpy().astype(np.uint64) * np.uint64(draws)
        counters: Words = np.add.outer(firsts, np.arange(draws, dtype=np.uint64))
        bits = _mix(_key(seed, epoch, stream) + counters * _GOLDEN)
    return torch.from_numpy((bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24))


def permutation(seed: int, epoch: int, n: int, *, stream: int = 0) -> Tensor:
    """The order of an epoch's samples: int64 (n,), each of 0..n-1 once."""
    with np.errstate(over="ignore"):
        bits = _mix(_mix(_key(seed, epoch, stream)) + np.arange(n, dtype=np.uint64) * _GOLDEN)
    return torch.from_numpy(np.argsort(bits, kind="stable"))


def balanced_permutation(seed: int, epoch: int, labels: Tensor) -> Tensor:
    """The order of an epoch that has each class that there is equally often, within one: int64 (n,).

    `labels` int64 (n,). An image that comes again stands there as its index + n, then + 2n and so on, so that it draws
    other numbers each time; of a class with more images than places, some wait for another epoch.
    """
    n = len(labels)
    shuffled = permutation(seed, epoch, n)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    counts = labels.bincount()
    counts = counts[counts > 0]
    firsts = counts.cumsum(0) - counts
    turn, which = torch.arange(n).div(len(counts), rounding_mode="floor"), torch.arange(n) % len(counts)
    again, place = turn.div(counts[which], rounding_mode="floor"), turn % counts[which]
    return (by_class[firsts[which] + place] + n * again)[permutation(seed, epoch, n, stream=1)]


def _key(seed: int, epoch: int, stream: int) -> Words:
    key = _mix(np.array([seed], np.uint64) * _GOLDEN + np.array([epoch], np.uint64))
    return _mix(key ^ np.uint64(stream)) if stream else key


def _mix(x: Words) -> Words:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): flips each output bit with probability one half."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
