"""`Card`: what a network needs beside its weights to answer questions about images, and what stays when an engine
replaces the network.
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
        classes: the name of every output, in order; distinct, not empty, valid Unicode.
        preprocess: how an image becomes network input.
        tta: test-time augmentation; "flip" averages the probabilities of the image and its mirror image.
        provenance: where it came from, JSON-ready: "data", "training", "metrics".

    Raises ConfigError for class names or a `tta` that cannot be used.
    """

    model_name: str
    classes: tuple[str, ...]
    preprocess: Preprocess
    tta: Literal["none", "flip"] = "none"
    provenance: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
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
