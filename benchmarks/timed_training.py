"""What `classicnets train` does in an epoch, for benchmarks that time it without a run."""

from __future__ import annotations

from classicnets.card import Card
from classicnets.data.pipeline.pack import Packed
from classicnets.models.contract import ConvNet
from classicnets.preprocess import Preprocess
from classicnets.system.devices import Precision
from classicnets.training.recipe.schema import Recipe
from classicnets.training.step.loop import train_step
from classicnets.training.step.session import Session
from classicnets.training.step.state import TrainState


class TimedTraining:
    """A network that trains on packed images, epoch by epoch, at one learning rate."""

    def __init__(
        self, model: ConvNet, name: str, packed: Packed, preprocess: Preprocess, recipe: Recipe, precision: Precision
    ) -> None:
        classes = tuple(map(str, range(packed.num_classes)))
        card = Card(model_name=name, classes=classes, preprocess=preprocess)
        self.session = Session.of(recipe, card, packed, packed, precision)
        self.state = TrainState.begin(model, recipe)
        self._epochs = 0

    def epoch(self) -> int:
        """Train for an epoch; returns the number of images."""
        images = 0
        for batch in self.session.loader.batches(self._epochs):
            self.step(batch)
            images += len(batch.labels)
        self._epochs += 1
        return images

    def step(self, batch: object) -> float:
        """One optimizer step."""
        return train_step(self.session, self.state, batch, self.session.recipe.optim.lr)  # type: ignore[arg-type]
