"""A session to train with, from packed images."""

from __future__ import annotations

import torch

from classicnets.card import Card
from classicnets.data.pipeline.loader import Loader
from classicnets.data.pipeline.pack import Packed
from classicnets.preprocess import Preprocess
from classicnets.system.devices import Precision
from classicnets.training.recipe.schema import Recipe
from classicnets.training.run.equip import Equipment
from classicnets.training.scale.processes import ALONE, Processes
from classicnets.training.step.session import Session
from classicnets.training.step.validation import Validation
from classicnets.training.transfer.features import CachedValidation


def session_for(
    recipe: Recipe,
    train: Packed,
    val: Packed,
    preprocess: Preprocess,
    *,
    name: str = "resnet20_cifar",
    tta: str = "none",
    processes: Processes = ALONE,
    equipment: Equipment | None = None,
) -> Session:
    """What `prepare` makes of them, on the CPU."""
    precision = Precision.choose(recipe.precision, torch.device("cpu"))
    made = equipment or Equipment(train, None, None, None, ())
    card = Card(model_name=name, classes=tuple(map(str, range(train.num_classes))), preprocess=preprocess, tta=tta)
    validation = CachedValidation if made.features else Validation
    return Session(
        recipe=recipe,
        loader=Loader(
            made.train,
            preprocess,
            recipe.augment,
            recipe.batch_size,
            recipe.seed,
            shard=processes.shard,
            balanced=recipe.data.balance == "sample",
        ),
        validation=validation(card, val, precision, max(64, recipe.batch_size), processes),
        precision=precision,
        processes=processes,
        class_weights=made.class_weights,
        teacher=made.teacher,
        features=made.features,
    )
