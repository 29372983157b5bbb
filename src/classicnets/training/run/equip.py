"""The optional parts of a training: class weights, a teacher, the cached features of a frozen trunk."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from classicnets.data.pipeline.pack import Packed
from classicnets.data.pipeline.photos import PackedPhotos
from classicnets.models.contract import ConvNet
from classicnets.preprocess import Preprocess
from classicnets.system.devices import Precision
from classicnets.training.recipe.schema import Recipe
from classicnets.training.step.objective import class_weights
from classicnets.training.transfer.distill import Teacher
from classicnets.training.transfer.features import Features, without_pixels


class Equipment(NamedTuple):
    """The optional parts that a recipe asks for.

    Attributes:
        train: the training images. With `features`, they are single black pixels.
        class_weights: float32 (K,), or None.
        teacher: the classifier to distil from, or None.
        features: cached features of the training images, or None.
        notes: what was done, one sentence each.
    """

    train: Packed | PackedPhotos
    class_weights: Tensor | None
    teacher: Teacher | None
    features: Features | None
    notes: tuple[str, ...]


def equip(
    model: ConvNet,
    recipe: Recipe,
    train: Packed | PackedPhotos,
    classes: Sequence[str],
    preprocess: Preprocess,
    precision: Precision,
    *,
    progress: Callable[[int, int], None],
) -> Equipment:
    """Create the optional parts that the recipe asks for.

    Args:
        model: the network to train.
        recipe: the resolved recipe.
        train: the training images.
        classes: the class names, in the order of the labels.
        preprocess: how an image becomes network input.
        precision: the device and the arithmetic of the forward pass.
        progress: called with (done, total) images while features are computed.

    Returns:
        The parts; those that the recipe does not ask for are None.

    Raises:
        ConfigError: the teacher's classes or channels differ from the data's.
        WeightsError: the teacher cannot be read.
        StorageError: the features cannot be stored.
    """
    weights, teacher, features, notes = None, None, None, []
    if recipe.data.balance == "loss":
        weights = class_weights(train.labels, len(classes)).to(precision.device)
    if recipe.distill.teacher:
        teacher = Teacher(recipe.distill, classes, preprocess, precision.device)
        notes.append(f"distilling from {recipe.distill.teacher}, a {teacher.classifier.model_name}")
    if recipe.finetune.freeze == 1:
        assert isinstance(train, Packed), "a trunk that never learns sees images that are not cropped at random"
        before = time.perf_counter()
        features = Features.compute(model, train, preprocess, precision, progress=progress)
        values, seconds = features.values, time.perf_counter() - before
        notes.append(
            f"features of {len(values):,} images computed once: {values.nbytes / 2**20:,.1f} MiB, {seconds:.1f} s"
        )
        train = without_pixels(train)
    return Equipment(train, weights, teacher, features, tuple(notes))
