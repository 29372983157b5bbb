"""The second training of a run with `data.refit`: on training and validation images, without validation.

The first training finds the best epoch. The second begins again with the same recipe and as many epochs, and the
classifier that comes out is measured on the test images alone. Its checkpoints are in `RUN/refit`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from classicnets.data import Data
from classicnets.data.words import counted
from classicnets.evaluation.choose import joined
from classicnets.training.recipe.schema import Recipe
from classicnets.training.run.checkpoint import Checkpoint
from classicnets.training.run.identity import identity, is_same
from classicnets.training.run.prepare import Prepared, prepare


@dataclass(frozen=True)
class Refitting:
    """The event before the second training of a run with `data.refit`. Epochs and steps begin again at 1.

    Attributes:
        epochs: how many epochs it has: the number of the best epoch.
        num_steps: its optimizer steps.
        num_images: training and validation images together.
        step: steps that are done already, if the run resumes here.
    """

    epochs: int
    num_steps: int
    num_images: int
    step: int

    def __str__(self) -> str:
        resumed = f", resuming after step {self.step}" if self.step else ""
        return (
            f"refit: training again on all {self.num_images:,} training and validation images for "
            f"{counted(self.epochs, 'epoch')}, the number of the best epoch{resumed}"
        )


def prepare_refit(first: Prepared, recipe: Recipe, epochs: int, found: Checkpoint | None) -> Prepared:
    """Prepare the second training. It goes on from a checkpoint if that is of the same second training.

    Args:
        first: what the first training worked with.
        recipe: its recipe.
        epochs: the number of its best epoch, from 1.
        found: the newest checkpoint of a second training, or None.
    """
    session = first.session
    again = recipe.model_copy(update={"epochs": epochs, "patience": None})
    data = with_validation(first.data)
    checkpoint = found if found and is_same(found.trainer["identity"], identity(again, data)) else None
    device, processes = session.precision.device, session.processes
    second = prepare(again, data, device, None, checkpoint, processes=processes)
    return replace(second, session=replace(second.session, validates=False))


def with_validation(data: Data) -> Data:
    """The data with the validation images among the training images too."""
    return replace(data, train=joined((data.train, data.val)))
