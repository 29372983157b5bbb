"""Random numbers as a pure function of (seed, epoch, sample index): there is no state to save or to lose.

Each sample draws from its own counter-based stream. So its crop, flip and mixing do not depend on the batch size, the
number of workers, the prefetching, or where an interrupted run was resumed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Words = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniform(seed: int, epoch: int, indices: Tensor, draws: int, *, stream: int = 0) -> Tensor:
    """Independent draws from [0, 1) for each sample, int64 (B,) -> float32 (B, draws). Each `stream` has its own."""
    with np.errstate(over="ignore"):
        firsts: Words = indices.numpy().astype(np.uint64) * np.uint64(draws)
        counters: Words = np.add.outer(firsts, np.arange(draws, dtype=np.uint64))
        bits = _mix(_key(seed, epoch, stream) + counters * _GOLDEN)
    return torch.from_numpy((bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24))


def permutation(seed: int, epoch: int, n: int, *, stream: int = 0) -> Tensor:
    """The order of the samples in an epoch: int64 (n,), each of 0..n-1 once."""
    with np.errstate(over="ignore"):
        bits = _mix(_mix(_key(seed, epoch, stream)) + np.arange(n, dtype=np.uint64) * _GOLDEN)
    return torch.from_numpy(np.argsort(bits, kind="stable"))


def balanced_permutation(seed: int, epoch: int, labels: Tensor) -> Tensor:
    """The order of an epoch in which each class comes equally often, to within one sample: int64 (n,).

    `labels` is int64 (n,). Classes without images do not count. If an image comes again, it appears as its index + n,
    then + 2n and so on, so that it draws other numbers each time. A class with more images than places shows some of
    them in this epoch and others in another.
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
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): a changed bit flips each output bit half the time."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
