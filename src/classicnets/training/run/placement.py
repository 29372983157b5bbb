"""What of the data stays in a GPU's memory during a training: training images or features, and validation images."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from classicnets.data.pipeline.pack import Packed
from classicnets.data.pipeline.resident import Room
from classicnets.models.contract import ConvNet
from classicnets.system.devices import Precision
from classicnets.training.memory.estimate import still_needed
from classicnets.training.recipe.schema import Recipe
from classicnets.training.run.equip import Equipment
from classicnets.training.scale.processes import Processes
from classicnets.training.transfer.features import Features


class Placement(NamedTuple):
    """What is on the GPU, if there is one.

    Attributes:
        features: cached features of the training images, on the GPU if they fit there, or None if there are none.
        train: the training images on the GPU, uint8 (N, C, H, W), or None.
        val: this process's validation images on the GPU, uint8 (n, C, H, W), or None.
        notes: what fits and what does not, one sentence each.
    """

    features: Features | None
    train: Tensor | None
    val: Tensor | None
    notes: tuple[str, ...]


def place(
    model: ConvNet,
    recipe: Recipe,
    equipment: Equipment,
    val: Packed,
    precision: Precision,
    processes: Processes,
    image_size: tuple[int, int],
) -> Placement:
    """Copy to the GPU what fits beside the training, in the order: training images or features, validation images.

    Args:
        model: the network to train, on its device.
        recipe: the resolved recipe.
        equipment: the training images and their features.
        val: the packed validation images.
        precision: the device and the arithmetic of the forward pass.
        processes: the processes that train together, as seen from this one.
        image_size: height and width of the network's input, in pixels.
    """
    features, train = equipment.features, equipment.train
    if precision.device.type != "cuda":
        return Placement(features, None, None, ())
    batch_size = min(recipe.batch_size, len(train)) // processes.world
    needed = still_needed(model, precision.dtype, image_size, batch_size, batch_size // recipe.accumulate)
    room = Room(precision.device, needed)
    train_there: Tensor | None = None
    if features:
        values = room.take(features.values, "features")
        features = features if values is None else replace(features, values=values)
    elif isinstance(train, Packed) and not recipe.augment.crops_pictures:
        train_there = room.take(train.images, "training images")
    else:
        room.notes.append("training images are cropped on the CPU, and the crops are copied ahead of time")
    val_there = room.take(val.images[processes.shard.of(len(val))], "validation images")
    return Placement(features, train_there, val_there, tuple(room.notes))
