"""A small training on any device: the same network, images and recipe wherever it runs; and what a job has learned."""

from __future__ import annotations

import torch
from torch import Tensor

from classicnets.card import Card
from classicnets.data import Data
from classicnets.data.pipeline.pack import pack_data
from classicnets.models.catalog import create
from classicnets.preprocess import Preprocess
from classicnets.system.devices import Precision
from classicnets.training import Job
from classicnets.training.recipe.schema import Recipe
from classicnets.training.step.loop import fit
from classicnets.training.step.session import Session
from classicnets.training.step.state import EpochDone, StepDone, TrainState

PREPROCESS = Preprocess(input_size=(12, 12), mean=(0.2,), std=(0.25,))
SMALL = {"depths": (1, 1, 1), "widths": (8, 16, 16)}


class SmallTraining:
    """A training of a small ResNet on the corners, from the beginning, on `device`."""

    def __init__(self, data: Data, recipe: Recipe, device: str = "cpu", *, compiles: bool = False) -> None:
        packed = pack_data(data, PREPROCESS)
        generator = torch.Generator().manual_seed(recipe.seed)
        model = create("resnet20_cifar", num_classes=4, in_channels=1, generator=generator, **SMALL)
        model.to(device).to(memory_format=torch.channels_last)
        card = Card(model_name="resnet20_cifar", classes=data.classes, preprocess=PREPROCESS)
        precision = Precision.choose(recipe.precision, torch.device(device))
        self.state = TrainState.begin(model, recipe)
        self.session = Session.of(recipe, card, packed.train, packed.val, precision, compiles=compiles)

    def run(self, steps: int | None = None) -> list[StepDone | EpochDone]:
        """Train to the end, or for so many steps more; return the events."""
        events, taken = fit(self.session, self.state), []
        for event in events:
            taken.append(event)
            if isinstance(event, StepDone) and len([e for e in taken if isinstance(e, StepDone)]) == steps:
                events.close()
                break
        return taken


def weights_after(job: Job, epoch: int) -> dict[str, Tensor]:
    """What the job has learned after that many epochs, at which it is closed."""
    events = iter(job)
    while not (isinstance(event := next(events), EpochDone) and event.epoch == epoch):
        pass
    events.close()
    return {name: weight.clone() for name, weight in job._state.tensors().items()}
