"""Sets of classes that hold the true one with a chosen probability: split conformal prediction.

    validation images -> a score of how badly each one's true class fits, sorted
    a coverage        -> the score that such a share of them does not exceed
    a new image       -> the classes that fit no worse

If the new image comes from where the validation images came from, its set holds the true class with at least the
chosen probability, over validation and new images alike (Vovk et al. 2005; Angelopoulos and Bates 2021, Sec. 1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classicnets.errors import ConfigError

SetMethod = Literal["lac", "raps"]
"""How a class's fit is scored; see `misfit`."""

Floats = NDArray[np.float64]

_RAPS_WEIGHT, _RAPS_FREE = 0.1, 1  # each class ranked before, beyond the first, costs this much
_OWN = 50  # validation images that a class needs to keep scores of its own
_BEYOND = 5  # how many of them must lie above its threshold
_MOST_OWN = 1_000  # classes that keep scores of their own; if more could, none does
_KEPT, _KEPT_TOGETHER = 200, 1_000  # scores that are kept of a class, and of all others together
_DIGITS = 6
_EQUAL = 1e-9  # scores this close count as equal
_CHUNK = 2**22  # probabilities at a time


def misfit(probabilities: ArrayLike, method: SetMethod) -> Floats:
    """Return how badly each class fits each image: float64 (N, K), 0 or more; lower fits better.

    "lac" is 1 - probability (Sadinle et al. 2019): its sets are the smallest on average. "raps" is the probability of
    all classes ranked before, plus 0.1 for each of them beyond the first (Angelopoulos et al. 2021, eq. 5, without its
    random term, k_reg = 2): its sets grow more evenly with how hard an image is.

    Args:
        probabilities: float (N, K), rows that sum to 1. Of equal ones the lower index ranks first.
        method: "lac" or "raps".

    >>> misfit([[0.7, 0.2, 0.1]], "raps").round(2).tolist()
    [[0.0, 0.7, 1.0]]
    """
    values = np.asarray(probabilities, dtype=np.float64)
    if method == "lac":
        return 1 - values
    order = np.argsort(-values, axis=1, kind="stable")
    ranked = np.take_along_axis(values, order, axis=1)
    before = np.cumsum(ranked, axis=1) - ranked
    before += _RAPS_WEIGHT * np.maximum(0, np.arange(values.shape[1]) - _RAPS_FREE)
    scores = np.empty_like(values)
    np.put_along_axis(scores, order, before, axis=1)
    return scores


@dataclass(frozen=True)
class Scores:
    """Sorted scores of images: `values`, ascending, and how many images each one stands for.

    If scores were left out to save space, the next higher one stands for them, so thresholds are never too low.
    """

    values: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, scores: Floats, most: int) -> Scores:
        """Keep at most `most` scores: the highest half as they are, and every so many of the others."""
        ordered = np.ceil(np.sort(scores) * 10**_DIGITS) / 10**_DIGITS
        ends = np.arange(1, len(ordered) + 1)
        if len(ordered) > most:
            low, kept = len(ordered) - most // 2, most - most // 2
            ends = np.concatenate([np.linspace(0, low, kept + 1).round().astype(int)[1:], ends[low:]])
        values, counts = ordered[ends - 1], np.diff(ends, prepend=0)
        distinct, place = np.unique(values, return_inverse=True)
        totals = np.bincount(place, counts, minlength=len(distinct)).astype(int)
        return cls(tuple(distinct.tolist()), tuple(totals.tolist()))

    @classmethod
    def together(cls, parts: Iterable[Scores]) -> Scores:
        """The scores of several groups as those of one."""
        pairs = sorted(pair for part in parts for pair in zip(part.values, part.counts, strict=True))
        return cls(tuple(value for value, _ in pairs), tuple(count for _, count in pairs))

    @property
    def images(self) -> int:
        """How many images there are."""
        return sum(self.counts)

    def threshold(self, coverage: float) -> float | None:
        """Return the score with rank ceil((n + 1) x coverage) among the n images; None if n is too small."""
        rank = math.ceil((self.images + 1) * coverage - 1e-9)
        if rank > self.images:
            return None
        place = int(np.searchsorted(np.cumsum(self.counts), rank))
        return self.values[place]

    def to_dict(self) -> dict[str, str]:
        """JSON-ready: two texts of numbers, which take one line each in config.json."""
        values = " ".join(f"{value:.{_DIGITS}f}".rstrip("0").rstrip(".") for value in self.values)
        return {"values": values, "counts": " ".join(map(str, self.counts))}

    @classmethod
    def from_dict(cls, values: Mapping[str, str]) -> Scores:
        """The scores that `to_dict` wrote. Raises ValueError if they are not ascending or the counts do not fit."""
        scores = tuple(map(float, values["values"].split()))
        counts = tuple(map(int, values["counts"].split()))
        are_sorted = all(math.isfinite(b) and a < b for a, b in zip((-1.0, *scores), scores, strict=False))
        if len(scores) != len(counts) or not are_sorted or min(counts, default=1) < 1:
            raise ValueError("the scores are not in ascending order, or do not fit their counts")
        return cls(scores, counts)


@dataclass(frozen=True)
class Conformal:
    """What a classifier keeps of its validation images, so that a set can have any coverage that they allow.

    A class with 50 validation images or more keeps scores of its own. It gets its own threshold if 5 of its images or
    more are expected above it, for example 100 images for a coverage of 95 %. All other classes share one threshold.
    If they are too few for that, all classes share one.

    Attributes:
        num_classes: K.
        others: by method, the scores of the classes without scores of their own.
        by_class: by method and class index, the scores of the others.
    """

    num_classes: int
    others: Mapping[SetMethod, Scores]
    by_class: Mapping[SetMethod, Mapping[int, Scores]]

    @classmethod
    def of(cls, probabilities: ArrayLike, labels: ArrayLike) -> Conformal:
        """Keep the scores of validation images.

        Args:
            probabilities: float (N, K), as the classifier gives them.
            labels: the true classes, int (N,) in 0..K-1.

        >>> Conformal.of([[0.7, 0.2, 0.1]] * 20, [0] * 20).thresholds(0.9).round(2).tolist()
        [0.3, 0.3, 0.3]
        """
        values, truth = np.asarray(probabilities), np.asarray(labels)
        num_classes = values.shape[1]
        counts = np.bincount(truth, minlength=num_classes)
        own = np.flatnonzero(counts >= _OWN).tolist()
        own = own if len(own) <= _MOST_OWN else []
        others: dict[SetMethod, Scores] = {}
        by_class: dict[SetMethod, dict[int, Scores]] = {}
        for method in get_args(SetMethod):
            scores = _of_truth(values, truth, method)
            others[method] = Scores.of(scores[~np.isin(truth, own)], _KEPT_TOGETHER)
            by_class[method] = {k: Scores.of(scores[truth == k], _KEPT) for k in own}
        return cls(num_classes, others, by_class)

    @property
    def num_images(self) -> int:
        """The number of validation images that the scores come from."""
        return self._all("lac").images

    def own_classes(self, coverage: float, method: SetMethod = "lac") -> list[int]:
        """Return the classes that have a threshold of their own for a coverage in 0..1."""
        own = [k for k, scores in self.by_class[method].items() if scores.images * (1 - coverage) >= _BEYOND - 1e-9]
        if len(own) < self.num_classes and self._shared(own, method).threshold(coverage) is None:
            return []
        return own

    def thresholds(self, coverage: float, method: SetMethod = "lac") -> Floats:
        """Return the highest `misfit` of a class that is in a set, for each class: float64 (K,).

        Raises ConfigError for a coverage outside 0..1, an unknown method, or a coverage that so few images cannot
        promise: n images allow at most n / (n + 1).
        """
        check_coverage(coverage, method)
        own, n = self.own_classes(coverage, method), self.num_images
        shared = self._shared(own, method).threshold(coverage) if len(own) < self.num_classes else 0.0
        if shared is None:
            needed = math.ceil(coverage / (1 - coverage) - 1e-9)
            raise ConfigError(
                f"A coverage of {coverage:g} needs {needed:,} validation images or more, and this classifier had "
                f"{n:,}. {_possible(n)}, or train again with more validation images (data.val_fraction)."
            )
        thresholds = np.full(self.num_classes, shared)
        for k in own:
            thresholds[k] = self.by_class[method][k].threshold(coverage)
        return thresholds

    def sets(self, probabilities: ArrayLike, coverage: float, method: SetMethod = "lac") -> NDArray[np.bool_]:
        """Return which classes are in the set of each image: bool (N, K). The most probable class always is.

        Args:
            probabilities: float (N, K), as the classifier gives them.
            coverage: the probability that a set holds the true class, above 0 and below 1.
            method: "lac" or "raps".

        Raises ConfigError as `thresholds` does.

        >>> Conformal.of([[0.7, 0.2, 0.1]] * 20, [0] * 20).sets([[0.5, 0.4, 0.1]], 0.9).tolist()
        [[True, False, False]]
        """
        values, thresholds = np.asarray(probabilities), self.thresholds(coverage, method) + _EQUAL
        inside = np.empty(values.shape, dtype=np.bool_)
        for rows in _parts(values):
            inside[rows] = misfit(values[rows], method) <= thresholds
        inside[np.arange(len(values)), values.argmax(axis=1)] = True
        return inside

    def _all(self, method: SetMethod) -> Scores:
        return Scores.together([self.others[method], *self.by_class[method].values()])

    def _shared(self, own: list[int], method: SetMethod) -> Scores:
        """The scores of all classes except `own`."""
        rest = [scores for k, scores in self.by_class[method].items() if k not in own]
        return Scores.together([self.others[method], *rest])

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values: for each method, the scores of the others and of each class by its index."""
        return {
            method: {
                "others": self.others[method].to_dict(),
                "classes": {str(k): scores.to_dict() for k, scores in self.by_class[method].items()},
            }
            for method in get_args(SetMethod)
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], num_classes: int) -> Conformal:
        """What `to_dict` wrote, for a classifier of `num_classes`. Raises ConfigError if it is something else."""
        try:
            others = {method: Scores.from_dict(values[method]["others"]) for method in get_args(SetMethod)}
            by_class = {
                method: {int(k): Scores.from_dict(scores) for k, scores in values[method]["classes"].items()}
                for method in get_args(SetMethod)
            }
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"the scores for sets with coverage cannot be read ({error})") from None
        if any(not 0 <= k < num_classes for kept in by_class.values() for k in kept):
            raise ConfigError(f"the scores for sets with coverage name a class outside 0..{num_classes - 1}")
        return cls(num_classes, others, by_class)


def check_coverage(coverage: float, method: str = "lac") -> None:
    """Raise ConfigError unless the coverage is above 0 and below 1 and the method is known."""
    if not 0 < coverage < 1:
        raise ConfigError(f"The coverage must be above 0 and below 1, such as 0.95; got {coverage:g}.")
    if method not in get_args(SetMethod):
        raise ConfigError(f"The method for sets must be 'lac' or 'raps', got {method!r}.")


def _possible(n: int) -> str:
    highest = math.floor(n / (n + 1) * 1000) / 1000
    return f"Ask for at most {highest:g}"


def _of_truth(probabilities: NDArray[Any], truth: NDArray[Any], method: SetMethod) -> Floats:
    """The misfit of each image's true class: float64 (N,)."""
    scores = np.empty(len(truth))
    for rows in _parts(probabilities):
        scores[rows] = np.take_along_axis(misfit(probabilities[rows], method), truth[rows, None], axis=1)[:, 0]
    return scores


def _parts(probabilities: NDArray[Any]) -> Iterator[slice]:
    """Slices of rows, so that many classes never need a second table of the size of all probabilities."""
    size = max(1, _CHUNK // probabilities.shape[1])
    return (slice(start, start + size) for start in range(0, len(probabilities), size))
