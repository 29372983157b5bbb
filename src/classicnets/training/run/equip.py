"""What a training gets where its recipe asks for it: class weights, a teacher, the features of a frozen trunk."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from classicnets.data.pipeline.pack import Packed
from classicnets.preprocess import Preprocess
from classicnets.system.devices import Precision
from classicnets.training.recipe.schema import Recipe
from classicnets.training.step.objective import class_weights
from classicnets.training.step.state import TrainState
from classicnets.training.transfer.distill import Teacher
from classicnets.training.transfer.freeze import Features, without_pixels


def equip(
    state: TrainState,
    recipe: Recipe,
    train: Packed,
    classes: Sequence[str],
    preprocess: Preprocess,
    precision: Precision,
    *,
    progress: Callable[[int, int], None],
) -> tuple[Packed, list[str]]:
    """Give `state` what the recipe asks for. Returns the images to train on, and what was done, in sentences.

    Raises ConfigError or WeightsError for a teacher that cannot teach, StorageError for features that cannot be kept.
    """
    notes = []
    if recipe.data.balance == "loss":
        state.class_weights = class_weights(train.labels, len(classes)).to(precision.device)
    if recipe.distill.teacher:
        state.teacher = Teacher(recipe.distill, classes, preprocess, precision.device)
        notes.append(f"learning from {recipe.distill.teacher}, a {state.teacher.classifier.model_name}")
    if recipe.finetune.freeze == 1:
        before = time.perf_counter()
        state.features = Features.compute(state.model, train, preprocess, precision, progress=progress)
        values, seconds = state.features.values, time.perf_counter() - before
        notes.append(
            f"features of {len(values):,} images computed once: {values.nbytes / 2**20:,.1f} MiB, {seconds:.1f} s"
        )
        train = without_pixels(train)
    return train, notes
