"""What an answer is worth: a classifier is given a temperature, sets and a novelty threshold, and they are measured.

training and validation images -> calibrate -> a classifier whose scores, sets and warnings can be believed
test images                    -> measure_trust -> Trust, a part of the report
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from classicnets.card import Card
from classicnets.conformal import Conformal
from classicnets.drift import DriftReference
from classicnets.evaluation import metrics
from classicnets.evaluation.calibration import Temperature, fit_temperature
from classicnets.evaluation.coverage import MeasuredSets, measure_all
from classicnets.evaluation.metrics import Interval
from classicnets.evaluation.novelty import FalseAlarms, fit_novelty, measure_false_alarms
from classicnets.images import as_array
from classicnets.scorer import Values

if TYPE_CHECKING:
    from torch import Tensor

    from classicnets.classifier import Classifier
    from classicnets.models.contract import Classified

CHOSEN = (
    "The thresholds come from the validation images. These chose the temperature too, and often the best "
    "epoch, so new images may be covered a little less often than asked: that is what the measured coverage shows."
)
SEEN = (
    "These are the validation images that set the thresholds, so the coverage is as asked by construction. New images "
    "may be covered a little less often."
)
"""What to know about measured sets: on other images, and on the validation images themselves."""


@dataclass(frozen=True, kw_only=True)
class Trust:
    """What scores, sets and warnings are worth on the images of a report.

    Attributes:
        temperature: what logits are divided by.
        temperature_note: why it is 1, or an empty string.
        loss_before, ece_before: the report's loss and calibration error as they would be at temperature 1.
        sets: sets with coverage, measured.
        sets_note: why some are missing, or an empty string.
        false_alarms: how many of the images are called unlike the training images, or None.
        novelty_note: why none are, or an empty string.
    """

    temperature: float
    temperature_note: str
    loss_before: float
    ece_before: float
    sets: tuple[MeasuredSets, ...]
    sets_note: str
    false_alarms: FalseAlarms | None
    novelty_note: str

    @property
    def temperature_words(self) -> str:
        """The temperature in a sentence, with the reason if there is none."""
        if self.temperature_note:
            return f"Temperature 1, which changes no score: {self.temperature_note}."
        return (
            f"Temperature {self.temperature:.3g}, fitted on the validation images: logits are divided by it before "
            "they become scores."
        )

    @property
    def novelty_words(self) -> str:
        """What the false alarms are, or why there is no threshold, in a sentence."""
        if self.false_alarms is None:
            return f"No image is called unlike the training images: {self.novelty_note}." if self.novelty_note else ""
        alarms = self.false_alarms
        return (
            f"{alarms.measured:.1%} of these images are called unlike the training images (95% interval "
            f"{alarms.interval.low:.1%} to {alarms.interval.high:.1%}); the threshold was set for {alarms.asked:.0%} "
            f"false alarms."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        alarms = self.false_alarms
        return {
            **vars(self),
            "sets": [row._asdict() for row in self.sets],
            "false_alarms": None if alarms is None else alarms._asdict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Trust:
        """What `to_dict` returned. Raises TypeError or KeyError for something else."""
        sets = [
            MeasuredSets(
                **{**row, "interval": Interval(*row["interval"]), "size_interval": Interval(*row["size_interval"])}
            )
            for row in values["sets"]
        ]
        alarms = values["false_alarms"]
        if alarms is not None:
            alarms = FalseAlarms(**{**alarms, "interval": Interval(*alarms["interval"])})
        return cls(**{**values, "sets": tuple(sets), "false_alarms": alarms})


def calibrate(
    classifier: Classifier, val: Classified, val_labels: Tensor, train: Classified, train_labels: Tensor
) -> Classifier:
    """Return the classifier with a temperature, scores for sets and drift, and a novelty threshold.

    The network is the same.

    What the images do not allow is left out, and `provenance["trust"]` says why.

    Args:
        classifier: the classifier; what it had before is replaced.
        val: what its `classified` returns for validation images, which were not trained on.
        val_labels: their classes, int64 (N,).
        train: the same for some training images; `balanced_sample` chooses them.
        train_labels: their classes.

    >>> calibrate(classifier, val, val_labels, train, train_labels).card.temperature  # doctest: +SKIP
    1.31
    """
    from classicnets.classifier import Classifier

    temperature = fit_temperature(val.logits, val_labels)
    card = replace(classifier.card, temperature=temperature.value, conformal=None, novelty=None, drift=None)
    trust: dict[str, Any] = {"temperature": temperature.to_dict()}
    if len(val_labels) and bool(val.logits.isfinite().all()):
        card = replace(card, conformal=Conformal.of(card.probabilities(val.logits).numpy(), val_labels.numpy()))
    else:
        trust["coverage_note"] = "there are no validation images with finite logits"
    novelty = fit_novelty(train, train_labels, val)
    if novelty.reason:
        trust["novelty_note"] = novelty.reason
    strange = novelty.score(val.features, val.logits).numpy() if novelty.score else None
    drift = DriftReference.of(card.probabilities(val.logits).numpy(), strange)
    card = replace(card, novelty=novelty.threshold, drift=drift, provenance={**card.provenance, "trust": trust})
    return Classifier.of(card, classifier.model, novelty.score)


def with_temperature_only(card: Card, temperature: Temperature, reason: str) -> Card:
    """Return the card with a temperature, and without what needs validation images, for the given reason."""
    trust = {"temperature": temperature.to_dict(), "coverage_note": reason, "novelty_note": reason}
    provenance = {**card.provenance, "trust": trust}
    return replace(card, temperature=temperature.value, conformal=None, novelty=None, drift=None, provenance=provenance)


def measure_trust(card: Card, logits: Values, labels: Values, novelty: Values | None) -> Trust | None:
    """Measure what a classifier's scores, sets and warnings are worth; None if its card has and notes none of them.

    Args:
        card: the classifier's card.
        logits: its logits, float32 (N, K), without the temperature.
        labels: the true classes, int64 (N,).
        novelty: its novelty scores, float32 (N,), or None.
    """
    notes = card.provenance.get("trust")
    fitted = notes.get("temperature") if isinstance(notes, dict) else None
    if fitted is None and card.temperature == 1 and card.conformal is None and card.novelty is None:
        return None
    sets: tuple[MeasuredSets, ...] = ()
    sets_note = card.missing("coverage")
    if card.conformal is not None:
        sets, sets_note = measure_all(card.conformal, card.probabilities(as_array(logits)), labels)
    elif sets_note:
        sets_note = f"No sets with coverage: {sets_note}."
    alarms = None
    if card.novelty is not None and novelty is not None:
        alarms = measure_false_alarms(novelty, card.novelty)
    return Trust(
        temperature=card.temperature,
        temperature_note=str(fitted.get("reason", "")) if isinstance(fitted, dict) else "",
        loss_before=metrics.cross_entropy(logits, labels),
        ece_before=metrics.calibration(logits, labels).ece,
        sets=sets,
        sets_note=sets_note,
        false_alarms=alarms,
        novelty_note=card.missing("novelty"),
    )
