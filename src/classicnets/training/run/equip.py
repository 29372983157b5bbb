"""What a training gets where its recipe asks for it: class weights, a teacher, the features of a frozen trunk."""

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
    """What a recipe asks for beside the network, None if it does not; `notes` say what was done.

    `train` are the images to train on: a black pixel each, once their features are kept.
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
    """Make what the recipe asks for.

    Raises ConfigError or WeightsError for a teacher that cannot teach, StorageError for features that cannot be kept.
    """
    weights, teacher, features, notes = None, None, None, []
    if recipe.data.balance == "loss":
        weights = class_weights(train.labels, len(classes)).to(precision.device)
    if recipe.distill.teacher:
        teacher = Teacher(recipe.distill, classes, preprocess, precision.device)
        notes.append(f"learning from {recipe.distill.teacher}, a {teacher.classifier.model_name}")
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
