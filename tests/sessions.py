"""A session to train with, from packed images."""

from __future__ import annotations

import torch

from classicnets.card import Card
from classicnets.data.pipeline.pack import Packed
from classicnets.preprocess import Preprocess
from classicnets.system.devices import Precision
from classicnets.training.recipe.schema import Recipe
from classicnets.training.run.equip import Equipment
from classicnets.training.scale.processes import ALONE, Processes
from classicnets.training.step.session import Session


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
    return Session.of(
        recipe,
        card,
        made.train,
        val,
        precision,
        processes=processes,
        class_weights=made.class_weights,
        teacher=made.teacher,
        features=made.features,
    )
