"""The images that set the ranges of the activations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from classicnets.data.imageset import ImageSet
from classicnets.data.pipeline.pack import pack
from classicnets.data.split import balanced_sample
from classicnets.errors import DataError
from classicnets.preprocess import Preprocess

CALIBRATION_IMAGES = 300
"""How many images set the ranges, if nothing else is asked for. NNCF takes as many by default."""


def calibration_images(
    images: ImageSet, preprocess: Preprocess, *, count: int = CALIBRATION_IMAGES
) -> NDArray[np.uint8]:
    """Return a sample of training images as the network sees them, uint8 (n, C, H, W).

    The sample is always the same, has as many images of each class as there are, and leaves out images that cannot be
    decoded. One image is enough to quantise, though hardly to answer well: the accuracy is measured afterwards.

    Args:
        images: the images that the classifier was trained on. Validation images would flatter the result.
        preprocess: how the classifier prepares images.
        count: how many images to take, 1 or more.

    Raises DataError if there are no images, or none can be decoded.

    >>> calibration_images(load_data("digits").train, preprocess).shape  # doctest: +SKIP
    (300, 1, 8, 8)
    """
    if len(images) == 0:
        raise DataError(
            "There are no training images to calibrate int8 with. Give at least 1, or use --precision fp32."
        )
    chosen = images.subset(balanced_sample(images.labels, count))
    return pack(chosen, preprocess, on_error="skip").images.numpy()
