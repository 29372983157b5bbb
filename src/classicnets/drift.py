"""How strange the validation images looked, so that a server notices when the images it is asked about drift away.

    validation images -> a score of how strange each one looks, without its label -> a random sample, kept in the card
    an image asked    -> its score, whose rank among these and earlier ones says whether it still looks like them

`serving/drift.py` tests the ranks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classicnets.errors import ConfigError

_FEWEST = 50  # validation images
_MOST = 1_000
_DIGITS = 6


@dataclass(frozen=True)
class DriftReference:
    """What a classifier keeps of its validation images to notice drift.

    Attributes:
        kind: what is scored. "novelty" is the novelty score, how unlike the training images an image is. "doubt" is 1
            minus the probability of the best class, for a classifier without a novelty score.
        scores: the scores of a random sample of validation images, ascending, each with six significant digits.
    """

    kind: Literal["novelty", "doubt"]
    scores: tuple[float, ...]

    @classmethod
    def of(cls, probabilities: ArrayLike, novelty: ArrayLike | None) -> DriftReference | None:
        """Keep the scores of at most 1,000 validation images, chosen at random, always the same ones.

        Args:
            probabilities: float (N, K), as the classifier gives them for validation images.
            novelty: their novelty scores, float (N,), or None if the classifier has none.

        Returns None if there are fewer than 50 images or a score is not finite.

        >>> DriftReference.of([[0.7, 0.3]] * 60, None).scores[0]
        0.3
        """
        kind: Literal["novelty", "doubt"] = "doubt" if novelty is None else "novelty"
        scores = cls(kind, ()).scores_of(probabilities, novelty)
        if scores is None or len(scores) < _FEWEST or not np.isfinite(scores).all():
            return None
        chosen = np.random.default_rng(0).permutation(len(scores))[:_MOST]
        return cls(kind, tuple(np.sort(scores[chosen]).tolist()))

    def scores_of(self, probabilities: ArrayLike, novelty: ArrayLike | None) -> NDArray[np.float64] | None:
        """Return how strange images look, higher is stranger: float64 (N,), or None if there is no novelty to tell.

        Args:
            probabilities: float (N, K), as the classifier gives them.
            novelty: their novelty scores, float (N,), or None.
        """
        if self.kind == "doubt":
            return _rounded(1 - np.asarray(probabilities, np.float64).max(axis=1))
        return None if novelty is None else _rounded(np.asarray(novelty, np.float64))

    def to_dict(self) -> dict[str, str]:
        """JSON-ready: the kind, and a text of numbers, which takes one line in config.json."""
        return {"kind": self.kind, "scores": " ".join(f"{score:.{_DIGITS}g}" for score in self.scores)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DriftReference:
        """The reference that `to_dict` wrote. Raises ConfigError if it is something else."""
        try:
            kind, scores = values["kind"], tuple(map(float, values["scores"].split()))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"the scores for drift cannot be read ({error})") from None
        if kind not in ("novelty", "doubt") or len(scores) < _FEWEST or not all(map(math.isfinite, scores)):
            raise ConfigError("the scores for drift are of an unknown kind, too few or not finite")
        return cls(kind, tuple(sorted(scores)))


def _rounded(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The scores as they are saved, so that an image has the same score on both sides of a file."""
    return np.array([float(f"{score:.{_DIGITS}g}") for score in scores.tolist()])
