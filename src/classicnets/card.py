"""`Card`: what a network needs, besides its weights, to answer questions about images.

A card stays the same when an engine replaces the network.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from classicnets.errors import ConfigError
from classicnets.preprocess import Preprocess


@dataclass(frozen=True, kw_only=True)
class Card:
    """The lasting part of a classifier.

    Attributes:
        model_name: the network's name in the catalog.
        classes: the name of each output, in order: strings that are distinct, not empty and valid Unicode.
        preprocess: how an image becomes network input.
        tta: test-time augmentation; "flip" averages the probabilities of the image and its mirror image.
        provenance: where it came from, JSON-ready: "data", "training", "metrics".

    Raises ConfigError for class names or a `tta` that cannot be used.

    Example:
        >>> Card(model_name="resnet18", classes=("cat", "dog"), preprocess=preprocess)  # doctest: +SKIP
    """

    model_name: str
    classes: tuple[str, ...]
    preprocess: Preprocess
    tta: Literal["none", "flip"] = "none"
    provenance: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
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
