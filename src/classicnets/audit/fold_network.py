"""The small network that is trained for each fold if there are no weights: minutes for 10,000 small images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from torch import Tensor

from classicnets.classifier import Classifier
from classicnets.data.imageset import Data, ImageSet
from classicnets.data.pipeline.pack import pack
from classicnets.models.catalog import find
from classicnets.preprocess import Preprocess
from classicnets.system.devices import choose_device, fast_training
from classicnets.system.progress import Report
from classicnets.training.recipe.choose import natural_size
from classicnets.training.recipe.plan import resolve
from classicnets.training.run.prepare import prepare
from classicnets.training.step.loop import fit
from classicnets.training.step.state import StepDone

SMALL_NETWORK = "resnet20_cifar"
"""The default network, made a ResNet-8 with the stem of large images: a tenth of the work, and wider layers."""

_SWITCHES = (
    "model.switches.depths=[1,1,1]",
    "model.switches.widths=[32,64,128]",
    'model.switches.stem="7x7"',
    'model.switches.shortcut="projection"',
)
_SIDE = 32  # of larger images
_IMAGES_SEEN, _FEWEST_EPOCHS, _MOST_EPOCHS = 12_000, 5, 30


def small_images(data: ImageSet, model: str | None, progress: Report) -> ImageSet:
    """Return the images in memory: at their own size if that is small, else squeezed into a small square."""
    channels = 3 if data.images is None else data.images.shape[1]
    config = find(model or SMALL_NETWORK).config
    side = max(config.min_size, min(natural_size(data, config), _SIDE))
    preprocess = Preprocess(
        input_size=(side, side), resize="squash", mean=(0.5,) * channels, std=(0.5,) * channels,
        bit_depth=data.bit_depth,
    )  # fmt: skip
    packed = pack(data, preprocess, progress=partial(progress, "Reading images"))
    return replace(data, images=packed.images, paths=None)


class Trained(NamedTuple):
    """A network that learned from some of the images, and what it says of the others: logits, float32 (n, K)."""

    classifier: Classifier
    logits: Tensor


def train_fold(
    small: ImageSet, rest: Tensor, held: Tensor, model: str | None, seed: int, report: Callable[[int, int], None]
) -> Trained:
    """Train a network on `rest` of the images, bool (N,), and ask it of those `held` out."""
    train, val = small.subset(rest.nonzero().flatten()), small.subset(held.nonzero().flatten())
    data = Data("fold", "fold", train, val, None, "a fold")
    epochs = min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, round(_IMAGES_SEEN / len(train))))
    settings = [f"epochs={epochs}", f"seed={seed}", *(_SWITCHES if model is None else ())]
    plan = resolve(model or SMALL_NETWORK, data, settings=settings)
    prepared = prepare(plan.recipe, data, choose_device("auto"), None)
    session, state = replace(prepared.session, validates=False), prepared.state
    steps = len(session.loader) * plan.recipe.epochs
    with fast_training(session.precision):
        for event in fit(session, state):
            if isinstance(event, StepDone):
                report(event.step, steps)
    network = state.validated_model
    return Trained(Classifier.of(session.validation.card, network), session.validation.logits(network))
