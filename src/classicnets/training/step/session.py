"""`Session`: what a training works with and never changes. What changes is `TrainState`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from classicnets.card import Card
from classicnets.data.pipeline.loader import Batch, Loader
from classicnets.data.pipeline.pack import Packed
from classicnets.data.pipeline.photos import PackedPhotos
from classicnets.models.contract import ConvNet
from classicnets.preprocess import Preprocess
from classicnets.system.devices import Precision
from classicnets.training.recipe.schema import Recipe
from classicnets.training.scale.processes import ALONE, Processes
from classicnets.training.step.objective import ObjectiveModule
from classicnets.training.step.validation import Validation
from classicnets.training.transfer.distill import Teacher
from classicnets.training.transfer.features import CachedValidation, Features


@dataclass(frozen=True, eq=False)
class Session:
    """What a training works with.

    Attributes:
        recipe: the resolved recipe.
        loader: makes the training batches.
        validation: measures a network on the validation images.
        precision: the device and the arithmetic of the forward pass.
        processes: the processes that train together, as seen from this one.
        class_weights: how much an image of each class counts (K,), or None.
        teacher: a classifier to learn from beside the labels, or None.
        features: what a trunk that never learns makes of the training images, or None.
    """

    recipe: Recipe
    loader: Loader
    validation: Validation
    precision: Precision
    processes: Processes = ALONE
    class_weights: Tensor | None = None
    teacher: Teacher | None = None
    features: Features | None = None

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        card: Card,
        train: Packed | PackedPhotos,
        val: Packed,
        precision: Precision,
        *,
        processes: Processes = ALONE,
        class_weights: Tensor | None = None,
        teacher: Teacher | None = None,
        features: Features | None = None,
    ) -> Session:
        """The session that a recipe describes, for packed images. The card is that of the classifier to be made."""
        loader = Loader(
            packed=train,
            preprocess=card.preprocess,
            augment=recipe.augment,
            batch_size=recipe.batch_size,
            seed=recipe.seed,
            workers=recipe.workers,
            shard=processes.shard,
            balanced=recipe.data.balance == "sample",
        )
        make_validation = CachedValidation if features else Validation
        validation = make_validation(card, val, precision, max(64, recipe.batch_size), processes)
        return cls(recipe, loader, validation, precision, processes, class_weights, teacher, features)

    @property
    def preprocess(self) -> Preprocess:
        """How an image becomes network input."""
        return self.loader.preprocess

    @property
    def batch_size(self) -> int:
        """Images in a batch, over all processes: fewer than the recipe says if there are not so many."""
        return min(self.recipe.batch_size, len(self.loader.packed))

    def trained_part(self, model: ConvNet) -> nn.Module:
        """The network that learns from a batch: all of `model`, or what follows the features that are kept."""
        return self.features.rest if self.features else model

    def objective(self, model: ConvNet) -> ObjectiveModule:
        """What is minimised, as a module over the trained part of `model`."""
        return ObjectiveModule(self.trained_part(model), self.recipe.loss, self.class_weights, self.teacher)

    def inputs(self, batches: Iterable[Batch]) -> Iterable[Batch]:
        """The batches as the trained part takes them: of images, or of their features."""
        return map(self.features.batch, batches) if self.features else batches
