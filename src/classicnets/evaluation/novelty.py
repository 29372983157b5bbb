"""From features of training and validation images to a novelty score and its threshold, and what it costs in alarms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from classicnets.card import NoveltyThreshold
from classicnets.evaluation.metrics import Interval, bootstrap_interval
from classicnets.images import as_array
from classicnets.scorer import Values

if TYPE_CHECKING:
    from torch import Tensor

    from classicnets.models.contract import Classified
    from classicnets.novelty import NoveltyScore

FALSE_ALARM_RATE = 0.05
"""The share of images like the training images that may be called unlike them."""
MOST_TRAINING_IMAGES = 2_000
"""How many training images are looked at."""


class FalseAlarms(NamedTuple):
    """How many images like the training images are called unlike them.

    Attributes:
        asked: the share that the threshold was set for, in 0..1.
        measured: the share on the images at hand, in 0..1.
        interval: its 95 % interval.
    """

    asked: float
    measured: float
    interval: Interval


class Novelty(NamedTuple):
    """A novelty score and its threshold; None for both, with a reason, if the images do not allow them."""

    score: NoveltyScore | None
    threshold: NoveltyThreshold | None
    reason: str = ""


def fit_novelty(train: Classified, labels: Tensor, val: Classified) -> Novelty:
    """Describe the features of training images, and set the threshold on validation images.

    The threshold is the score with rank ceil((n + 1) x 0.95) among the n validation images. A new image from the same
    place exceeds it with a probability of at most 5 %, over validation and new images alike. That takes 19 images.

    Args:
        train: features and logits of training images; `balanced_sample` chooses them.
        labels: their classes, int64 (N,).
        val: features and logits of validation images.

    >>> fit_novelty(classifier.classified(train), labels, classifier.classified(val)).threshold  # doctest: +SKIP
    """
    from classicnets.novelty import NoveltyScore

    n = len(val.features)
    rank = math.ceil((n + 1) * (1 - FALSE_ALARM_RATE) - 1e-9)
    if rank > n:
        return Novelty(None, None, f"{n} validation images are too few to set the threshold; 19 are needed")
    if len(labels) < 2:
        return Novelty(None, None, "there are fewer than 2 training images")
    if not all(bool(tensor.isfinite().all()) for tensor in (*train, *val)):
        return Novelty(None, None, "some features or logits are not finite")
    score = NoveltyScore.fit(train.features, train.logits, labels)
    scores = score(val.features, val.logits)
    threshold = float(scores.sort().values[rank - 1])
    if not math.isfinite(threshold):
        return Novelty(None, None, "some novelty scores are not finite")
    return Novelty(score, NoveltyThreshold(threshold, FALSE_ALARM_RATE, n))


def measure_false_alarms(scores: Values, threshold: NoveltyThreshold) -> FalseAlarms:
    """Count the images like the training images, with novelty scores float (N,), that exceed the threshold."""
    alarms, n = int((as_array(scores) > threshold.threshold).sum()), len(scores)
    return FalseAlarms(threshold.false_alarm_rate, alarms / n, bootstrap_interval(alarms, n))
