"""A clue: something trivial about each image, as a few numbers, that may predict its class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["file", "pixels", "table"]
"""Where a clue comes from: the file and its header, the pixels, a table."""

_MOST_VALUES = 40  # of a column of words that become features; rarer values are one more


@dataclass(frozen=True, eq=False)
class Feature:
    """One number of each image.

    Attributes:
        name: what it is, in words: "JPEG quality", "the camera is X100".
        values: float64 (N,); NaN if an image has no such number.
        unit: behind a number, such as "pixels"; empty for a share or a count.
        is_flag: whether the values are 0 and 1, for no and yes.
    """

    name: str
    values: np.ndarray
    unit: str = ""
    is_flag: bool = False


@dataclass(frozen=True, eq=False)
class Clue:
    """Features that belong together.

    Attributes:
        name: what is looked at: "JPEG quality".
        kind: where it comes from.
        is_seen: whether a network sees it too, in the pixels or after resizing.
        features: 1 or more.
        advice: what to do if it predicts the class, one or two sentences.
        crosses_groups: whether it is judged on images of groups that were learned; so only for the group itself.
    """

    name: str
    kind: Kind
    is_seen: bool
    features: tuple[Feature, ...]
    advice: str
    crosses_groups: bool = False

    def matrix(self) -> np.ndarray:
        """The features as columns, float64 (N, D); an absent number is below all others."""
        columns = []
        for feature in self.features:
            known = feature.values[np.isfinite(feature.values)]
            columns.append(np.where(np.isfinite(feature.values), feature.values, known.min(initial=0.0) - 1.0))
        return np.stack(columns, axis=1)


def varies(features: Sequence[Feature]) -> tuple[Feature, ...]:
    """The features that differ between images."""
    return tuple(f for f in features if len(np.unique(f.values[np.isfinite(f.values)])) > 1 or _is_partly_absent(f))


def _is_partly_absent(feature: Feature) -> bool:
    return 0 < np.isnan(feature.values).sum() < len(feature.values)


def flags(name: str, words: Sequence[str]) -> list[Feature]:
    """A feature for each frequent word: whether an image has it. Empty words are called "none".

    Args:
        name: with a place for the word: "the camera is {}".
        words: one for each image.
    """
    named = np.array([word or "none" for word in words], dtype=object)
    frequent = [word for word, _ in Counter(named.tolist()).most_common(_MOST_VALUES)]
    return [Feature(name.format(word), (named == word).astype(float), is_flag=True) for word in frequent]
