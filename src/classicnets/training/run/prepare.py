"""From a resolved recipe and its data to all that a job works with.

network, weights -> pack the images -> state, or that of a checkpoint -> what else the recipe asks for -> Prepared
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

import classicnets
from classicnets.card import Card
from classicnets.data import Data
from classicnets.data.pipeline.loader import Loader
from classicnets.data.pipeline.pack import Packed, channel_stats, pack_data
from classicnets.data.pipeline.photos import PackedPhotos
from classicnets.errors import ConfigError
from classicnets.images import bit_depth_note, data_bit_depth
from classicnets.models.catalog import create
from classicnets.models.contract import ConvNet
from classicnets.preprocess import Preprocess
from classicnets.system.devices import Precision
from classicnets.training.recipe.plan import switches
from classicnets.training.recipe.schema import Recipe
from classicnets.training.run.checkpoint import Checkpoint
from classicnets.training.run.equip import equip
from classicnets.training.run.first_weights import set_first_weights
from classicnets.training.run.identity import identity
from classicnets.training.run.placement import place
from classicnets.training.scale.processes import ALONE, Processes
from classicnets.training.step.compiled import choose
from classicnets.training.step.session import Session
from classicnets.training.step.state import TrainState
from classicnets.weights import Pretrained, pretrained

_NAMES = {
    "train": "Reading training images",
    "val": "Reading validation images",
    "test": "Reading test images",
    "features": "Computing features",
}

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Prepared:
    """All that a job works with, made from the recipe, the data and the checkpoint alone.

    Attributes:
        session: what does not change.
        state: what does.
        test: the test images, packed, or None.
        data: all images, without those that could not be decoded.
        identity: what the run must find again to go on.
        notes: what was done, in sentences.
    """

    session: Session
    state: TrainState
    test: Packed | None
    data: Data
    identity: dict[str, Any]
    notes: tuple[str, ...]


def prepare(
    recipe: Recipe,
    data: Data,
    device: torch.device,
    progress: Progress | None,
    checkpoint: Checkpoint | None = None,
    *,
    processes: Processes = ALONE,
) -> Prepared:
    """Make the network, the packed images and all else that a resolved recipe needs; restore the checkpoint, if any.

    Raises DataError or WeightsError.
    """
    side = recipe.image_size
    assert side is not None, "the resolved recipe holds the image size"
    precision = Precision.choose(recipe.precision, device)
    known_by = identity(recipe, data)
    channels = data.train.images.shape[1] if data.train.images is not None else 3
    options = {
        "num_classes": len(data.classes),
        "in_channels": channels,
        "generator": torch.Generator().manual_seed(recipe.seed),
        **switches(recipe),
    }
    source = recipe.model
    # A checkpoint has all the weights: those that the run once started from need not be there any more.
    found = pretrained(source.name, source.weights, **options) if source.weights and checkpoint is None else None
    model = found.model if found else create(source.name, **options)
    model.to(device).to(memory_format=torch.channels_last)

    def report(part: str, done: int, total: int) -> None:
        if progress is not None:
            progress(_NAMES[part], done, total)

    saved = Preprocess.from_dict(checkpoint.trainer["preprocess"]) if checkpoint else None
    bit_depth = saved.bit_depth if saved else data_bit_depth(data.train.paths)
    plain = Preprocess(
        input_size=(side, side),
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        bit_depth=bit_depth,
        **recipe.preprocess.model_dump(),
    )
    photo_side = recipe.augment.photo_side(side)
    if photo_side is None or plain.resize == "crop":
        packed = pack_data(data, plain, photo_side=photo_side, progress=report)
    else:  # crops come from squashed or padded pictures, so that training sees what predict sees
        larger = replace(plain, input_size=(photo_side, photo_side))
        packed = pack_data(data, {"train": larger, "val": plain, "test": plain}, progress=report)
    _check_parts(model, min(recipe.batch_size, len(packed.train)), recipe.accumulate, processes.world)
    if saved is not None:
        preprocess = saved
    else:
        known = found.preprocess if found else None
        mean, std = (known.mean, known.std) if known else channel_stats(packed.train)
        preprocess = replace(plain, mean=mean, std=std)
    if checkpoint is None and found is None:
        loader = Loader(packed.train, preprocess, recipe.augment, recipe.batch_size, recipe.seed)
        set_first_weights(model, recipe.init, loader, options["generator"])
    state = TrainState.begin(model, recipe)
    if checkpoint is not None:
        state.restore(checkpoint.tensors, checkpoint.trainer)
    equipment = equip(
        model, recipe, packed.train, data.classes, preprocess, precision, progress=partial(report, "features")
    )
    placed = place(model, recipe, equipment, packed.val, precision, processes, (side, side))
    card = Card(
        model_name=source.name,
        classes=data.classes,
        preprocess=preprocess,
        tta="flip" if recipe.flip_at_test else "none",
        provenance={
            "data": {"name": data.name, "fingerprint": known_by["fingerprint"], **recipe.data.model_dump(mode="json")},
            "versions": {"classicnets": classicnets.__version__, "torch": torch.__version__},
        },
    )
    compiling = choose(recipe, model, device, num_images=len(packed.train), processes=processes.world)
    session = Session.of(
        recipe,
        card,
        equipment.train,
        packed.val,
        precision,
        processes=processes,
        class_weights=equipment.class_weights,
        teacher=equipment.teacher,
        features=placed.features,
        train_there=placed.train,
        val_there=placed.val,
        compiles=compiling.compiles,
    )
    return Prepared(
        session=session,
        state=state,
        test=packed.test,
        data=packed.data,
        identity=known_by,
        notes=(
            *_read_as(bit_depth),
            *_kept_as(packed.train),
            *_started_from(found),
            *equipment.notes,
            *placed.notes,
            *compiling.notes,
        ),
    )


def _read_as(bit_depth: int) -> list[str]:
    note = bit_depth_note(bit_depth)
    return [note] if note else []


def _kept_as(train: Packed | PackedPhotos) -> list[str]:
    return [train.note] if isinstance(train, PackedPhotos) else []


def _started_from(found: Pretrained | None) -> list[str]:
    return [f"starting from {found.source}", *found.notes] if found else []


def _check_parts(model: ConvNet, batch_size: int, accumulate: int, world: int) -> None:
    """Raise ConfigError if a batch cannot be divided into parts that the network can learn from."""
    smallest = batch_size // (world * accumulate)
    norms = any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in model.modules())
    if smallest >= 2 or (smallest == 1 and not norms):
        return
    among = f"among {world} processes and" if world > 1 else "into"
    parts = f"{accumulate} part{'s' if accumulate > 1 else ''}"
    problem = "some parts would be empty" if smallest == 0 else "batch norm needs at least 2 images in each part"
    raise ConfigError(
        f"A batch of {batch_size} images cannot be divided {among} {parts}: {problem}. "
        f"Set a larger batch_size, a smaller accumulate, or use fewer processes."
    )
