"""The images that set the ranges of activations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from classicnets.data import ImageSet, load_data
from classicnets.deployment.quantize import calibration_images
from classicnets.errors import DataError
from classicnets.preprocess import Preprocess

PREPROCESS = Preprocess(input_size=(6, 6), mean=(0.5,), std=(0.5,))


def images_of(labels: list[int]) -> ImageSet:
    n = len(labels)
    pixels = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 1, 9, 9)
    return ImageSet(("a", "b", "c"), torch.tensor(labels, dtype=torch.int64), tuple(map(str, range(n))), images=pixels)


def test_a_balanced_sample_as_the_network_sees_it() -> None:
    images = images_of([0] * 100 + [1] * 20 + [2] * 3)
    chosen = calibration_images(images, PREPROCESS, count=12)
    assert chosen.shape == (12, 1, 6, 6)
    assert chosen.dtype == np.uint8
    numbers = chosen[:, 0, 0, 0].tolist()
    classes = [sum(low <= number < high for number in numbers) for low, high in ((0, 100), (100, 120), (120, 123))]
    assert sorted(classes) == [3, 4, 5]
    assert classes[2] == 3
    assert np.array_equal(chosen, calibration_images(images, PREPROCESS, count=12))


def test_three_hundred_by_default_and_all_of_fewer() -> None:
    train = load_data("digits").train
    assert calibration_images(train, PREPROCESS).shape == (300, 1, 6, 6)
    assert len(calibration_images(images_of([0, 1]), PREPROCESS)) == 2


def test_one_image_is_enough_and_none_is_an_error() -> None:
    assert len(calibration_images(images_of([1]), PREPROCESS)) == 1
    with pytest.raises(DataError, match="There are no training images to calibrate int8 with"):
        calibration_images(images_of([]), PREPROCESS)
