"""`Card`: what a network needs, besides its weights, to answer questions about images.

A card stays the same when an engine replaces the network.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from classicnets.conformal import Conformal
from classicnets.drift import DriftReference
from classicnets.errors import ConfigError
from classicnets.preprocess import Preprocess

if TYPE_CHECKING:
    from torch import Tensor

Logits = TypeVar("Logits", np.ndarray, "Tensor")


@dataclass(frozen=True)
class NoveltyThreshold:
    """Above which novelty score an image is called unlike the training images.

    Attributes:
        threshold: the score; finite.
        false_alarm_rate: the share of images like the training images that are called unlike them, in 0..1, that the
            threshold was set for.
        num_images: the validation images that it was set on.
    """

    threshold: float
    false_alarm_rate: float
    num_images: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.threshold) and 0 <= self.false_alarm_rate <= 1 and self.num_images >= 1):
            raise ConfigError(f"A novelty threshold must be finite, its rate in 0..1 and of some images; got {self}.")


@dataclass(frozen=True, kw_only=True)
class Card:
    """The lasting part of a classifier.

    Attributes:
        model_name: the network's name in the catalog.
        classes: the name of each output, in order: strings that are distinct, not empty and valid Unicode.
        preprocess: how an image becomes network input.
        tta: test-time augmentation; "flip" averages the probabilities of the image and its mirror image.
        temperature: what logits are divided by before the softmax, so that scores match accuracies; finite, above 0.
        conformal: scores of validation images, which sets with coverage need; None if none were kept.
        novelty: when an image is called unlike the training images; None if that is not known.
        drift: scores of validation images, with which a server notices drift; None if none were kept.
        provenance: where it came from, JSON-ready: "data", "training", "trust", "metrics".

    Raises ConfigError for class names, a `tta` or a temperature that cannot be used.

    Example:
        >>> Card(model_name="resnet18", classes=("cat", "dog"), preprocess=preprocess)  # doctest: +SKIP
    """

    model_name: str
    classes: tuple[str, ...]
    preprocess: Preprocess
    tta: Literal["none", "flip"] = "none"
    temperature: float = 1.0
    conformal: Conformal | None = field(default=None, repr=False)
    novelty: NoveltyThreshold | None = None
    drift: DriftReference | None = field(default=None, repr=False)
    provenance: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not (isinstance(self.model_name, str) and isinstance(self.provenance, dict)):
            raise ConfigError(
                f"A card has a name and a table of where it came from, got model_name={self.model_name!r} and "
                f"provenance={self.provenance!r:.100}."
            )
        if not all(isinstance(name, str) for name in self.classes):
            raise ConfigError(f"Class names must be strings, got {', '.join(map(repr, self.classes))}.")
        if len(set(self.classes)) < len(self.classes) or not all(self.classes):
            unusable = [name for name, times in Counter(self.classes).items() if times > 1 or not name]
            raise ConfigError(f"Class names must be distinct and not empty. Rename: {', '.join(map(repr, unusable))}.")
        try:
            "".join(self.classes).encode()
        except UnicodeEncodeError:
            raise ConfigError(
                f"Class names must be valid Unicode, because they are kept as JSON; got {self.classes}."
            ) from None
        if self.tta not in ("none", "flip"):
            raise ConfigError(f"tta must be 'none' or 'flip', got {self.tta!r}.")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ConfigError(f"The temperature must be a finite number above 0, got {self.temperature!r}.")
        if self.conformal is not None and self.conformal.num_classes != len(self.classes):
            raise ConfigError(
                f"The scores for sets with coverage are of {self.conformal.num_classes} classes, and the classifier "
                f"has {len(self.classes)}."
            )

    def scaled(self, logits: Logits) -> Logits:
        """Return logits divided by the temperature; their softmax is the scores. `logits` are float (N, K)."""
        return logits if self.temperature == 1 else logits / self.temperature

    def probabilities(self, logits: Logits) -> Logits:
        """Return the scores of every class: float (N, K), rows that sum to 1.

        Every score that is shown or kept comes from here: predict, evaluate, explain and look.

        Args:
            logits: float (N, K), as `Scorer.logits` returns them, an array or a tensor.

        >>> card.probabilities(classifier.logits(images)).sum(dim=1)  # doctest: +SKIP
        """
        scaled = self.scaled(logits)
        if isinstance(scaled, np.ndarray):
            powers: np.ndarray = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
            powers /= powers.sum(axis=-1, keepdims=True)
            return powers
        return scaled.softmax(dim=-1)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values, for `from_dict`."""
        return {
            "model_name": self.model_name,
            "classes": list(self.classes),
            "preprocess": self.preprocess.to_dict(),
            "tta": self.tta,
            "temperature": self.temperature,
            "conformal": None if self.conformal is None else self.conformal.to_dict(),
            "novelty": None if self.novelty is None else asdict(self.novelty),
            "drift": None if self.drift is None else self.drift.to_dict(),
            "provenance": self.provenance,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Card:
        """Return the card that `to_dict` wrote. Raises ConfigError or UnknownName if it is something else."""
        values = {"drift": None, **values}  # older ones have none
        try:
            parts = {f.name: values[f.name] for f in fields(cls)}
            parts["classes"] = tuple(parts["classes"])
            parts["preprocess"] = Preprocess.from_dict(parts["preprocess"])
            if parts["conformal"] is not None:
                parts["conformal"] = Conformal.from_dict(parts["conformal"], len(parts["classes"]))
            if parts["novelty"] is not None:
                parts["novelty"] = NoveltyThreshold(**parts["novelty"])
            if parts["drift"] is not None:
                parts["drift"] = DriftReference.from_dict(parts["drift"])
            return cls(**parts)
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"the card cannot be read ({error})") from None

    def missing(self, name: Literal["coverage", "novelty"]) -> str:
        """Why the card has no scores for sets ("coverage") or no novelty threshold, if `provenance["trust"]` says."""
        trust = self.provenance.get("trust")
        return str(trust.get(f"{name}_note", "")) if isinstance(trust, dict) else ""
