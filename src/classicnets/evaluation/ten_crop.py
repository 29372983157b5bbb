"""The accuracy that the papers call 10-crop: ten views of each image, averaged (Krizhevsky et al. 2012, Sec. 4.1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from classicnets.classifier import Classifier, averaged
from classicnets.scorer import PrecisionName, Values

_SHARE = 224 / 256  # of the side of a view to that of the image it is cut from, if the classifier sees whole images


class TenCrop:
    """A `Scorer` that averages over the four corners of an image, its middle, and the mirror images of these five.

    The image is resized as the classifier resizes it, and its middle square is kept without the crop. If the
    classifier crops nothing off, images are resized to 256 / 224 of its input size. Sets with coverage and novelty
    scores are left out, because they belong to the classifier's own view.

    Args:
        classifier: whose network looks at the views.

    Attributes:
        card: the classifier's, with the preprocessing of the larger image.

    >>> evaluate(TenCrop(classifier), load_data("photos/")).top1  # doctest: +SKIP
    """

    def __init__(self, classifier: Classifier) -> None:
        preprocess = classifier.preprocess
        share = preprocess.crop_fraction if preprocess.crop_fraction < 1 else _SHARE
        height, width = preprocess.input_size
        larger = replace(
            preprocess, input_size=(math.ceil(height / share), math.ceil(width / share)), crop_fraction=1.0
        )
        self.card = replace(classifier.card, preprocess=larger, tta="none", conformal=None, novelty=None)
        self._mirrored = Classifier.of(replace(classifier.card, tta="flip"), classifier.model)

    def logits(
        self,
        images: Values,
        *,
        batch_size: int = 256,
        precision: PrecisionName = "fp32",
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Return the logits of images that `card.preprocess` prepared. Arguments are those of `Scorer.logits`."""
        images = torch.as_tensor(images)
        height, width = self._mirrored.preprocess.input_size
        views = []
        for number, (top, left) in enumerate(self._corners(*images.shape[-2:])):
            view = images[..., top : top + height, left : left + width]
            report = None if progress is None else _part(progress, number)
            views.append(self._mirrored.logits(view, batch_size=batch_size, precision=precision, progress=report))
        return averaged(views)

    def _corners(self, height: int, width: int) -> list[tuple[int, int]]:
        """Where the five views begin: (top, left)."""
        seen_height, seen_width = self._mirrored.preprocess.input_size
        bottom, right = height - seen_height, width - seen_width
        return [(0, 0), (0, right), (bottom, 0), (bottom, right), (round(bottom / 2), round(right / 2))]


def _part(progress: Callable[[int, int], None], number: int) -> Callable[[int, int], None]:
    """Report the progress of view `number` as that of all five."""
    return lambda done, total: progress(number * total + done, 5 * total)
