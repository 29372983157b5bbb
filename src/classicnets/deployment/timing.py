"""Measure ways to do the same thing side by side: they take turns, so that a busy machine slows all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import NamedTuple

import numpy as np

Clock = Callable[[], float]
"""Returns seconds that only grow."""

_ROUNDS = 3
_TURN = 0.05  # seconds that a way runs in each round, at least once: more repeats for the fast ones


class Times(NamedTuple):
    """How long one way took.

    Attributes:
        seconds: of every call that counts.
        rounds: the median of each round, in order. Ratios are taken between the same rounds of two ways.
    """

    seconds: tuple[float, ...]
    rounds: tuple[float, ...]

    @property
    def p50(self) -> float:
        """Median seconds of a call."""
        return self.percentile(50)

    def percentile(self, share: float) -> float:
        """Return how many seconds `share` percent of the calls did not exceed."""
        return float(np.percentile(self.seconds, share))

    def speedup_over(self, other: Times) -> float:
        """Return how many times faster this way is than `other`: the median of the ratios of their rounds."""
        return median(theirs / ours for ours, theirs in zip(self.rounds, other.rounds, strict=True))


def interleaved(
    ways: Mapping[str, Callable[[], object]],
    *,
    seconds: float,
    clock: Clock = time.perf_counter,
    on_round: Callable[[int], None] | None = None,
) -> dict[str, Times]:
    """Return how long each way takes. In every round each way has a turn; the first round warms up and does not count.

    Args:
        ways: what to call, by name; 1 or more.
        seconds: after so many seconds no further round begins; at least 3 rounds count.
        clock: tells the time, in seconds.
        on_round: called with the number of rounds that are done.

    >>> interleaved({"sum": lambda: sum(range(1000)), "max": lambda: max(range(1000))}, seconds=0.1)  # doctest: +SKIP
    """
    taken: dict[str, list[list[float]]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    begun = clock()
    done = 0
    while done < _ROUNDS or clock() - begun < seconds:
        for name in list(ways)[:: -1 if done % 2 else 1]:  # A B, B A: a drift hits all alike
            taken[name].append(turn(ways[name], clock=clock))
        done += 1
        if on_round is not None:
            on_round(done)
    return {name: summarised(rounds) for name, rounds in taken.items()}


def turn(way: Callable[[], object], *, least: float = _TURN, clock: Clock = time.perf_counter) -> list[float]:
    """Call `way` until it has taken `least` seconds, at least once, and return the seconds of each call."""
    taken: list[float] = []
    while not taken or sum(taken) < least:
        start = clock()
        way()
        taken.append(clock() - start)
    return taken


def summarised(rounds: list[list[float]]) -> Times:
    """Return the times of a way from the seconds of its calls, a list for each round."""
    return Times(tuple(second for turn in rounds for second in turn), tuple(median(turn) for turn in rounds))
