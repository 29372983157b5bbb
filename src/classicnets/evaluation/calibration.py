"""Fit the temperature that makes scores match accuracies, on validation images (Guo et al. 2017, Sec. 4.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from classicnets.evaluation.metrics import calibration, cross_entropy

if TYPE_CHECKING:
    from torch import Tensor

_FEWEST = 50  # validation images
_COLDEST, _HOTTEST = 0.05, 20.0
_HALVINGS = 30
_MOST_LOGITS = 2**23  # that it is fitted on; of more, every so many images


@dataclass(frozen=True)
class Temperature:
    """A temperature, and what it changes on the images that it was fitted on.

    Attributes:
        value: what logits are divided by; 1 changes nothing.
        num_images: the images that it was fitted on.
        loss_before, loss_after: the mean cross-entropy at temperature 1 and at `value`, in nats.
        ece_before, ece_after: the expected calibration error at temperature 1 and at `value`, in 0..1.
        reason: why the temperature is 1, a sentence; empty if it was fitted.
    """

    value: float
    num_images: int
    loss_before: float
    loss_after: float
    ece_before: float
    ece_after: float
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, JSON-ready; the reason only if there is one."""
        return {name: value for name, value in vars(self).items() if value != ""}


def fit_temperature(logits: Tensor, labels: Tensor) -> Temperature:
    """Find the temperature with the lowest cross-entropy. It is never higher than at temperature 1.

    The temperature stays 1, with a reason, if there are fewer than 50 images, if all answers are right or all wrong,
    if the best temperature is outside 0.05..20, or if one that is fitted on half of the images makes the loss of the
    other half worse.

    Args:
        logits: float (N, K), without a temperature; after test-time averaging.
        labels: int64 (N,) in 0..K-1.

    >>> fit_temperature(torch.tensor([[9.0, 0.0]] * 80), torch.tensor([0, 0, 0, 1] * 20)).value
    8.192153
    """
    reason = _too_little(logits, labels) if len(labels) else "there are no validation images"
    some = slice(None, None, max(1, math.ceil(logits.numel() / _MOST_LOGITS)))
    few, truth = logits[some].double(), labels[some]
    value = 1.0 if reason else _best(few, truth)
    if not reason and not (_COLDEST < value < _HOTTEST):
        reason = (
            f"the best value lies outside {_COLDEST:g} to {_HOTTEST:g}, so the validation images do not determine it"
        )
    if not reason and not _helps_others(few, truth):
        reason = "a temperature fitted on half of the validation images makes the loss of the other half worse"
    value = 1.0 if reason else value
    before, after = _loss_and_ece(logits, labels), _loss_and_ece(logits / value, labels)
    if after[0] > before[0]:  # by the last bits, for a value next to 1
        value, after = 1.0, before
    return Temperature(value, len(labels), before[0], after[0], before[1], after[1], reason)


def _too_little(logits: Tensor, labels: Tensor) -> str:
    """Why these images do not tell a temperature, or an empty string."""
    n, right = len(labels), int((logits.argmax(dim=1) == labels).sum())
    if not bool(logits.isfinite().all()):
        return "some logits are not finite"
    if n < _FEWEST:
        return f"{n} validation images are too few to fit it; {_FEWEST} are needed"
    if right in (0, n):
        return f"all {n:,} answers on the validation images are {'right' if right else 'wrong'}"
    return ""


def _best(logits: Tensor, labels: Tensor) -> float:
    """The temperature with the lowest loss within the bounds: the loss is convex in 1 / temperature."""
    of_truth = logits.gather(1, labels[:, None])[:, 0]

    def slope(temperature: float) -> float:
        """The derivative of the loss by 1 / temperature: it grows with 1 / temperature."""
        expected = ((logits / temperature).softmax(dim=1) * logits).sum(dim=1)
        return float((expected - of_truth).mean())

    low, high = math.log(_COLDEST), math.log(_HOTTEST)
    if slope(_COLDEST) <= 0 or slope(_HOTTEST) >= 0:
        return _COLDEST if slope(_COLDEST) <= 0 else _HOTTEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(math.exp(middle)) > 0 else (low, middle)
    return round(math.exp((low + high) / 2), 6)


def _helps_others(logits: Tensor, labels: Tensor) -> bool:
    """Whether a temperature of every second image of a class lowers the loss of the others, in sum over both halves."""
    order = labels.argsort(stable=True)
    halves = order[::2], order[1::2]
    before = after = 0.0
    for mine, other in (halves, halves[::-1]):
        value = _best(logits[mine], labels[mine])
        before += len(other) * cross_entropy(logits[other], labels[other])
        after += len(other) * cross_entropy(logits[other] / value, labels[other])
    return after < before


def _loss_and_ece(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    if not len(labels):
        return 0.0, 0.0
    return cross_entropy(logits, labels), calibration(logits, labels).ece
