"""The small files of a bundle: golden images, labels, and the README. `manifest` describes bundle.json."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classicnets.deployment.engines import Session
from classicnets.deployment.golden import PNG_CHANNELS
from classicnets.deployment.manifest import Golden
from classicnets.deployment.run_images import to_picture

GOLDEN = 8
"""How many golden images a bundle has."""

_LOOKED_AT = 64


def write_golden(folder: Path, images: NDArray[np.uint8], session: Session) -> tuple[Golden, ...]:
    """Write eight images to golden/ as PNG, and return them with the session's answers.

    They are the eight of the first 64 that the session is least sure of: a changed network shows on them first.

    Args:
        folder: the bundle that is being written.
        images: uint8 (N, C, H, W). PNG has at most 4 channels: of images with more, none is written.
        session: what the bundle will answer with.
    """
    if images.shape[1] > PNG_CHANNELS:
        return ()
    (folder / "golden").mkdir()
    sureness = session.run(images[:_LOOKED_AT]).probabilities.max(axis=1)
    chosen = images[np.sort(sureness.argsort(kind="stable")[:GOLDEN])]
    answered = session.run(chosen)
    golden = []
    for i, pixels in enumerate(chosen):
        file = f"golden/{i + 1}.png"
        to_picture(pixels).save(folder / file)
        novelty = None if answered.novelty is None else float(answered.novelty[i])
        golden.append(Golden(file=file, probabilities=tuple(answered.probabilities[i].tolist()), novelty=novelty))
    return tuple(golden)


def write_labels(folder: Path, classes: tuple[str, ...]) -> None:
    """Write labels.txt: the name of a class on each line. Line breaks in names become spaces."""
    lines = [" ".join(name.splitlines()) for name in classes]
    (folder / "labels.txt").write_text("\n".join(lines) + "\n", "utf-8", newline="\n")
