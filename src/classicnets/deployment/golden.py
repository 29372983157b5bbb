"""Golden images: pixels of the network's own size, and the answers that the bundle must always give for them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from classicnets.deployment.engines import Session
from classicnets.deployment.manifest import Golden, Manifest
from classicnets.errors import WeightsError

PNG_CHANNELS = 4
"""The most channels that a golden image can have. Bundles for more have none."""

_FLOOR = 1e-6  # smaller probabilities are compared as if they were this one


class Tolerance(NamedTuple):
    """By how much answers differ: in probabilities, in their natural logarithms, and in novelty scores, relatively."""

    probability: float
    logarithm: float
    novelty: float


class Replay(NamedTuple):
    """How a session answers the golden images today.

    Attributes:
        images: how many golden images there are.
        same: how many of them get the same best class.
        difference: the largest differences.
    """

    images: int
    same: int
    difference: Tolerance

    def within(self, allowed: Tolerance) -> bool:
        """Whether no difference is larger than is allowed."""
        return all(found <= most for found, most in zip(self.difference, allowed, strict=True))

    def describe(self, allowed: Tolerance) -> str:
        """Name the difference that comes closest to what is allowed, or exceeds it most."""
        names = ("probabilities", "logarithms of probabilities", "novelty scores")
        rows = zip(names, self.difference, allowed, strict=True)
        name, found, most = max(rows, key=lambda row: row[1] / row[2])
        return f"{name} differ by {found:.1g} at most, {most:g} is allowed"


def tolerance(precision: str, *, elsewhere: bool = False) -> Tolerance:
    """Return by how much the answers to golden images may differ.

    The logarithm finds what a probability near 0 or 1 hides: a bias that is changed by 0.1 moves it by 0.1.

    Args:
        precision: what the bundle computes in: "fp32", "bf16" or "int8".
        elsewhere: whether the processor has other instructions than the one that exported, or the engine another
            version. Then bf16 and int8 are rounded in other places.
    """
    if precision == "fp32":
        return Tolerance(1e-4, 5e-3, 1e-3)
    return Tolerance(0.05, 0.5, 0.05) if elsewhere else Tolerance(5e-3, 0.05, 5e-3)


def replay(session: Session, manifest: Manifest, folder: Path) -> Replay:
    """Ask a session about the golden images of a bundle.

    Args:
        session: what answers.
        manifest: the bundle's, with the kept answers.
        folder: the bundle.

    Raises WeightsError if there are no golden images, if one cannot be read, or if the network does not run.
    """
    if not manifest.golden:
        raise WeightsError(f"{folder} has no golden images to check its answers with. Export the run again.")
    images = golden_pixels(manifest, folder)
    try:
        answered = session.run(images)
    except Exception as error:  # engines raise many types, whose names are not public
        raise WeightsError(f"The network of {folder} cannot be run ({error}). Copy the whole bundle again.") from None
    kept = np.array([golden.probabilities for golden in manifest.golden], np.float32)
    if answered.probabilities.shape != kept.shape or not np.isfinite(answered.probabilities).all():
        return Replay(len(kept), 0, Tolerance(*[float("inf")] * 3))
    difference = Tolerance(
        _largest(answered.probabilities - kept),
        _largest(np.log(np.maximum(answered.probabilities, _FLOOR)) - np.log(np.maximum(kept, _FLOOR))),
        _novelty_difference(answered.novelty, manifest),
    )
    return Replay(len(kept), int((answered.probabilities.argmax(1) == kept.argmax(1)).sum()), difference)


def golden_pixels(manifest: Manifest, folder: Path) -> NDArray[np.uint8]:
    """Return the golden images of a bundle: uint8 (N, C, H, W). Raises WeightsError if one cannot be read."""
    return np.stack([_pixels(folder, golden, manifest) for golden in manifest.golden])


def _largest(differences: NDArray[np.floating]) -> float:
    return float(np.abs(differences).max())


def _novelty_difference(novelty: NDArray[np.float32] | None, manifest: Manifest) -> float:
    if "novelty" not in manifest.outputs:
        return 0.0
    kept = np.array([golden.novelty for golden in manifest.golden], np.float64)
    return float("inf") if novelty is None else _largest((novelty - kept) / np.maximum(np.abs(kept), 1))


def _pixels(folder: Path, golden: Golden, manifest: Manifest) -> NDArray[np.uint8]:
    """The pixels of a golden image: uint8 (C, H, W). They are taken as they are, not resized or cropped."""
    path = folder / golden.file
    try:
        pixels = np.asarray(Image.open(path))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read ({error}). Copy the whole bundle again.") from None
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    if pixels.dtype != np.uint8 or pixels.shape != manifest.input.shape[1:]:
        raise WeightsError(f"{path} is not an image of the network's own size. Copy the whole bundle again.")
    return pixels
