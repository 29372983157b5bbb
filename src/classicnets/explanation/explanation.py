"""`Explanation`: a map of one image for one class, what it is a map of, and whether to believe it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from classicnets.explanation.verdict import Verdict
from classicnets.preprocess import Window
from classicnets.system.paths import numbered
from classicnets.system.storage import written_aside

_NEIGHBOURHOODS = 28  # along a side: over each, a map of pixels is averaged to be drawn


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A map of one image for one class.

    Attributes:
        path: the image's name: its path, the name of its file object, or "the image".
        model: the network's name in the catalog.
        method: how the map was made.
        stage: the stage whose output the map is of, or None for the methods on pixels.
        label: the class that the map is for.
        score: the probability that the classifier gives it, 0..1.
        predicted: the class with the highest probability.
        predicted_score: its probability, 0..1.
        values: the map: float32 (h, w), finite. Above 0 speaks for the class, below 0 against it (never with
            smoothgrad, which has no sign). For a stage, it has the size of the stage's output, and is the map before
            the last ReLU; for the methods on pixels, it has the size of the network's input.
        verdict: whether the map may be believed; None if it was not asked for, or if the map is empty.
        picture: the image: uint8 RGB (3, H, W), the longer side about 1024 pixels or less.
        window: the part of the picture that the network saw, which the map covers.
    """

    path: str
    model: str
    method: str
    stage: str | None
    label: str
    score: float
    predicted: str
    predicted_score: float
    values: np.ndarray
    verdict: Verdict | None
    picture: np.ndarray
    window: Window

    @property
    def is_empty(self) -> bool:
        """Whether the map is nowhere above 0: nothing in the image speaks for the class."""
        return not bool((self.values > 0).any())

    @property
    def heat(self) -> np.ndarray:
        """The part of the map above 0, divided by its 99.5th percentile: float32 (h, w), 0..1. All 0 if it is empty.

        Maps of pixels are speckled, so each pixel gets the mean of its neighbourhood first, about 1/28 of a side.
        """
        positive = self.values.clip(min=0)
        if self.stage is None:
            positive = _smoothed(positive)
        highest = float(np.quantile(positive, 0.995)) or float(positive.max()) or 1.0
        return (positive / highest).clip(max=1).astype(np.float32)

    @property
    def finding(self) -> str:
        """What the verdict says, in a sentence."""
        if self.is_empty:
            return "Empty map: nothing in the image speaks for this class."
        if self.verdict is None:
            return "No verdict."
        if self.verdict.passes:
            return "The map passes both tests."
        return f"Do not trust this map: {self.verdict.reason}."

    @property
    def is_trusted(self) -> bool:
        """Whether the map has passed its tests."""
        return self.verdict is not None and self.verdict.passes

    def overlay(self) -> np.ndarray:
        """Return the map over the picture, without a caption: uint8 RGB (H, W, 3). What was not seen is dimmed."""
        from classicnets.reports.overlay import overlay  # needs matplotlib

        return overlay(self.picture, self.heat, self.window)

    def to_png(self) -> bytes:
        """Return a PNG file: the map over the picture, with the class and its score above and the verdict below."""
        from classicnets.reports.canvas import png
        from classicnets.reports.overlay import overlay_figure

        answer = "" if self.label == self.predicted else f" (the answer is {self.predicted})"
        place = f"{self.method} at {self.stage}" if self.stage else self.method
        figure = overlay_figure(
            self.overlay(),
            finding=f"{self.label}, {self.score:.1%}{answer}",
            detail=f"{place}, {self.model}",
            verdict=self.finding,
            trusted=self.is_trusted or (self.verdict is None and not self.is_empty),
        )
        return png(figure)

    def save(self, folder: str | Path) -> tuple[Path, Path]:
        """Write the overlay as a PNG and the map as a .npy file, named after the image. Nothing is overwritten.

        Args:
            folder: where to write; it is created if necessary.

        Returns the paths of the PNG and of the .npy file. If the names are taken, a number is appended. Raises
        StorageError if the files cannot be written.

        >>> explain(classifier, "cat.jpg").save("maps")  # doctest: +SKIP
        (PosixPath('maps/cat.png'), PosixPath('maps/cat.npy'))
        """
        places = numbered(Path(folder) / (Path(self.path).stem or "image"))
        files = ((place.with_name(f"{place.name}.png"), place.with_name(f"{place.name}.npy")) for place in places)
        picture, values = next(pair for pair in files if not any(file.exists() for file in pair))
        with written_aside(picture) as new:
            new.write_bytes(self.to_png())
        with written_aside(values) as new:
            np.save(new, self.values, allow_pickle=False)
        return picture, values

    def to_dict(self) -> dict[str, Any]:
        """Return everything except the picture and the map as JSON-ready values."""
        return {
            "path": self.path,
            "model": self.model,
            "method": self.method,
            "stage": self.stage,
            "class": self.label,
            "score": self.score,
            "predicted": self.predicted,
            "predicted_score": self.predicted_score,
            "map_size": list(self.values.shape),
            "empty": self.is_empty,
            "window": self.window._asdict(),
            "picture_size": list(self.picture.shape[1:]),
            "finding": self.finding,
            "verdict": None if self.verdict is None else self.verdict.to_dict(),
        }


def _smoothed(values: np.ndarray) -> np.ndarray:
    """The mean over a square around each value."""
    from scipy.ndimage import uniform_filter

    side = max(1, round(min(values.shape) / _NEIGHBOURHOODS))
    smooth: np.ndarray = uniform_filter(values, size=side, mode="nearest")
    return smooth
