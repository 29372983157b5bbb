"""The images that an export is checked and calibrated with: the run's own, prepared as the network takes them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from classicnets.card import Card
from classicnets.data.imageset import ImageSet
from classicnets.data.pipeline.pack import pack
from classicnets.errors import ConfigError, DataError, first_sentence
from classicnets.evaluation.choose import own_images
from classicnets.evaluation.report import matched
from classicnets.scorer import Scorer
from classicnets.system.progress import Report, no_report

MOST_VALIDATION = 2_000
"""How many validation images are looked at."""

_NOISE = 64
_OWN, _SYNTHETIC = 8, 2  # large photos that are decoded twice
_LARGE = (3024, 4032)  # height and width of a photo of 12 megapixels


@dataclass(frozen=True, eq=False)
class RunImages:
    """Images of a run, uint8 (N, C, H, W), of the network's own size.

    Attributes:
        name: what they are called, such as "birds validation images".
        validation: images that the network was not trained on.
        labels: their classes, int64 (N,), as the classifier numbers them; None if nobody knows them.
        source: the same as an image set, with its files; None for noise.
        notes: what the user should know, one sentence each.
    """

    name: str
    validation: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    source: ImageSet | None
    notes: tuple[str, ...] = ()


def validation_images(
    scorer: Scorer, run: Path | None, *, most: int = MOST_VALIDATION, report: Report = no_report
) -> RunImages:
    """Return validation images of what the classifier was trained on, or noise if they are gone.

    Args:
        scorer: the classifier. Its card says what it was trained on, and how images are prepared.
        run: its run folder, or None.
        most: how many to take at most, chosen at random.
        report: shows progress.
    """
    try:
        chosen = own_images(scorer, "val", run=run)
        images = chosen.images.sample(most)
        packed = pack(
            images, scorer.card.preprocess, on_error=chosen.on_error, progress=partial(report, "Reading images")
        )
        labels = matched(images, scorer.card.classes)[packed.labels.numpy()]
    except (ConfigError, DataError) as error:
        return _noise(scorer.card, first_sentence(error))
    return RunImages(f"{chosen.name} images", packed.images.numpy(), labels, images, chosen.notes)


def training_images(scorer: Scorer, run: Path | None) -> ImageSet:
    """Return the images that the classifier was trained on.

    Raises ConfigError or DataError if nothing says which ones, or they are gone.
    """
    return own_images(scorer, "train", run=run).images


def _noise(card: Card, reason: str) -> RunImages:
    shape = (_NOISE, card.preprocess.channels, *card.preprocess.input_size)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    note = f"No validation images to check the export with: {reason}. Images of noise take their place."
    return RunImages("images of noise", pixels, None, None, (note,))


@dataclass(frozen=True)
class Decoded:
    """Large photos, prepared in two ways.

    Attributes:
        name: what they are: "own photos" or "synthetic photos of 12 megapixels".
        plain: decoded as a whole by Pillow, uint8 (N, C, H, W).
        reduced: as `Preprocess.read` prepares them, which `predict` calls, likewise.
    """

    name: str
    plain: NDArray[np.uint8]
    reduced: NDArray[np.uint8]


def large_photos(card: Card, images: RunImages) -> Decoded | None:
    """Return large photos that `predict` decodes at a reduced scale, prepared in both ways; None if it never does.

    They are the run's own JPEGs if some are large enough, else validation images that are enlarged to 12 megapixels.
    """
    preprocess = card.preprocess
    if preprocess.channels not in (1, 3) or preprocess.reduction(*_LARGE) == 1:
        return None
    own = [path for path in _jpegs(images.source) if _is_reduced(path, card)][:_OWN]
    if own:
        return _decoded("the run's own photos", own, card)
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for i, pixels in enumerate(images.validation[:_SYNTHETIC]):
            path = Path(folder) / f"{i}.jpg"
            to_picture(pixels).resize(_LARGE[::-1], Image.Resampling.BICUBIC).save(path, quality=90)
            paths.append(path)
        return _decoded("validation images enlarged to 12 megapixels", paths, card)


def to_picture(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return an image, uint8 (1, 3 or 4, H, W), as Pillow's."""
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def _decoded(name: str, paths: list[Path], card: Card) -> Decoded:
    plain = np.stack([_plain(path, card) for path in paths])
    return Decoded(name, plain, np.stack([card.preprocess.read(path) for path in paths]))


def _plain(path: Path, card: Card) -> NDArray[np.uint8]:
    with Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened).convert("L" if card.preprocess.channels == 1 else "RGB")
    pixels = np.asarray(picture)
    return card.preprocess.geometry(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def _jpegs(source: ImageSet | None) -> list[Path]:
    paths = source.paths if source and source.paths else ()
    return [path for path in paths if path.suffix.lower() in (".jpg", ".jpeg")]


def _is_reduced(path: Path, card: Card) -> bool:
    try:
        with Image.open(path) as opened:
            width, height = opened.size
    except OSError:
        return False
    return card.preprocess.reduction(height, width) > 1
