"""`DriftTest`: whether the images that a model is asked about still look like its validation images.

    an image's score -> its rank among the validation images and the images before it, as a p-value
    the p-values     -> bets that they are not uniform; what the bets have won is the evidence

As long as images come from where the validation images came from, in an order that says nothing about them, the
p-values are independent and uniform, however the scores are distributed (Vovk et al. 2005, Sec. 7.1). No bet against
that wins on average, so a gambler who begins with 1 ever has 1 / r or more with a probability of at most r (Ville's
inequality). This holds exactly, however few validation images there are, because every image joins those that the next
one is compared with. To keep memory bounded, the test begins again after each window of images, whatever it found.

The gambler has a share of the capital in each of a few bets, and moves a little of it to all of them at every step (the
fixed share of Herbster and Warmuth 1998, the jumper martingale of Vovk et al. 2021). So a drift that begins late is
found too.
"""

from __future__ import annotations

import bisect
import math
import random
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from classicnets.drift import DriftReference

WINDOW = 10_000
"""After so many images the test begins again."""

FALSE_ALARM_RATE = 0.01
"""The probability of an alarm in a window without drift is at most this."""

_EDGE = 1e-9  # p-values stay this far from 0 and 1, where densities may be infinite
_ONE_SIDED, _BOTH = (0.25, 0.5, 0.7, 0.85), (0.5, 0.75, 1.5, 2.5)
_BETS = ((1.0, 1.0), *((a, 1.0) for a in _ONE_SIDED), *((1.0, a) for a in _ONE_SIDED), *((a, a) for a in _BOTH))
"""The parameters of the beta densities that p-values are bet to have, for mild and strong drifts: no bet, stranger,
less strange, both or neither."""


class Drift(NamedTuple):
    """What a test says.

    Attributes:
        alarm: whether this window or the one before it has an alarm.
        evidence: the logarithm to base 10 of the most that the gambler has had in this window, 0 or more.
        images: how many images this window has.
    """

    alarm: bool
    evidence: float
    images: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values, with the rule of the alarm and a sentence."""
        return {
            **self._asdict(),
            "alarm_at": -math.log10(FALSE_ALARM_RATE),
            "false_alarm_rate": FALSE_ALARM_RATE,
            "window": WINDOW,
            "words": self.words,
        }

    @property
    def words(self) -> str:
        """It in a sentence."""
        if self.alarm:
            return "Drift: recent images do not look like the validation images. Look at some of them."
        if not self.images:
            return "No image to compare with the validation images yet."
        return f"No sign of drift in {self.images:,} image{'s' * (self.images > 1)}."


class DriftTest:
    """Tests images one by one, in the order in which they are answered. Threads may share it.

    Args:
        reference: the scores of validation images.
        draw: returns random numbers in 0..1, which break ties between scores.
        window: after how many images the test begins again.
    """

    _seen: list[float]  # the scores that the next one is compared with, ascending
    _shares: list[float]  # of the capital, in each bet
    _capital: float  # its logarithm to base 10, and the highest that it was
    _highest: float
    _images: int

    def __init__(
        self, reference: DriftReference, draw: Callable[[], float] = random.random, *, window: int = WINDOW
    ) -> None:
        self.reference = reference
        self._draw, self._window = draw, window
        self._lock = threading.Lock()
        self._alarm_before = False
        self._begin()

    def add(self, score: float) -> float:
        """Test an image by its score, and return its p-value: small if it is stranger than the others."""
        with self._lock:
            if self._images == self._window:
                self._alarm_before = self._has_alarm()
                self._begin()
            p = self._rank(score)
            self._bet(p)
            self._images += 1
            self._highest = max(self._highest, self._capital)
            return p

    def state(self) -> Drift:
        """Return what the test says now. An alarm ends with the first whole window without one."""
        with self._lock:
            return Drift(self._has_alarm() or self._alarm_before, self._highest, self._images)

    def _has_alarm(self) -> bool:
        return self._highest >= -math.log10(FALSE_ALARM_RATE)

    def _begin(self) -> None:
        """Forget all images but the validation images."""
        self._seen = list(self.reference.scores)
        self._shares = [1.0, *[0.0] * (len(_BETS) - 1)]
        self._capital = self._highest = 0.0
        self._images = 0

    def _rank(self, score: float) -> float:
        """The share of scores that are not lower, with a random part of those that are equal, this image among them."""
        first, behind = bisect.bisect_left(self._seen, score), bisect.bisect_right(self._seen, score)
        greater, equal = len(self._seen) - behind, behind - first
        self._seen.insert(behind, score)
        return (greater + self._draw() * (equal + 1)) / len(self._seen)

    def _bet(self, p: float) -> None:
        moved = 1 / self._window  # of the capital, to all bets alike
        shares = [(1 - moved) * share + moved / len(_BETS) for share in self._shares]
        won = [share * density(p) for share, density in zip(shares, _DENSITIES, strict=True)]
        gain = math.fsum(won)
        self._shares = [part / gain for part in won]
        self._capital += math.log10(gain)


def beta(a: float, b: float) -> Callable[[float], float]:
    """Return the density of the beta distribution with parameters a and b."""
    scale = math.gamma(a + b) / (math.gamma(a) * math.gamma(b))

    def density(p: float) -> float:
        p = min(max(p, _EDGE), 1 - _EDGE)
        result: float = scale * p ** (a - 1) * (1 - p) ** (b - 1)
        return result

    return density


_DENSITIES = [beta(*bet) for bet in _BETS]
