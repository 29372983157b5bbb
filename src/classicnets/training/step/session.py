"""`Session`: everything that stays the same during a training. `TrainState` is what changes."""

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
    """Everything that stays the same during a training.

    Attributes:
        recipe: the resolved recipe.
        loader: yields the training batches.
        validation: computes logits on the validation images.
        precision: the device and the arithmetic of the forward pass.
        processes: the processes that train together, as seen from this one.
        class_weights: the weight of each class, float32 (K,), or None.
        teacher: a classifier to distil from, or None.
        features: cached features of a trunk that never learns, or None.
        validates: whether each epoch ends with a validation. A second training on all images has none.
        compiles: whether the training step is compiled with `torch.compile`.
    """

    recipe: Recipe
    loader: Loader
    validation: Validation
    precision: Precision
    processes: Processes = ALONE
    class_weights: Tensor | None = None
    teacher: Teacher | None = None
    features: Features | None = None
    validates: bool = True
    compiles: bool = False

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
        train_there: Tensor | None = None,
        val_there: Tensor | None = None,
        compiles: bool = False,
    ) -> Session:
        """Create the session that a recipe describes.

        Args:
            recipe: the resolved recipe.
            card: the card of the classifier to train: classes, preprocessing, test-time averaging.
            train: the packed training images.
            val: the packed validation images.
            precision: the device and the arithmetic of the forward pass.
            processes: the processes that train together, as seen from this one.
            class_weights: the weight of each class, float32 (K,), or None.
            teacher: a classifier to distil from, or None.
            features: cached features of the training images, or None.
            train_there: the training images on the device, uint8 (N, C, H, W), or None.
            val_there: this process's validation images on the device, uint8 (n, C, H, W), or None.
            compiles: whether the training step is compiled with `torch.compile`.
        """
        loader = Loader(
            packed=train,
            preprocess=card.preprocess,
            augment=recipe.augment,
            batch_size=recipe.batch_size,
            seed=recipe.seed,
            workers=recipe.workers,
            shard=processes.shard,
            balanced=recipe.data.balance == "sample",
            device=precision.device,
            resident=train_there,
        )
        make_validation = CachedValidation if features else Validation
        validation = make_validation(card, val, precision, max(64, recipe.batch_size), processes, val_there)
        return cls(
            recipe, loader, validation, precision, processes, class_weights, teacher, features, compiles=compiles
        )

    @property
    def preprocess(self) -> Preprocess:
        """The preprocessing of images into network input."""
        return self.loader.preprocess

    @property
    def batch_size(self) -> int:
        """Images in a batch, over all processes: the recipe's batch size, or all images if there are fewer."""
        return min(self.recipe.batch_size, len(self.loader.packed))

    def share_done(self, step: int) -> float:
        """Return the fraction of the run that is done after `step` optimizer steps, 0..1."""
        return step / (len(self.loader) * self.recipe.epochs)

    def trained_part(self, model: ConvNet) -> nn.Module:
        """Return the part of `model` that takes a batch: all of it, or the layers after the cached features."""
        return self.features.rest if self.features else model

    def objective(self, model: ConvNet) -> ObjectiveModule:
        """Return the training loss as a module over the trained part of `model`."""
        return ObjectiveModule(self.trained_part(model), self.recipe.loss, self.class_weights, self.teacher)

    def inputs(self, batches: Iterable[Batch]) -> Iterable[Batch]:
        """Convert batches of images to the input of the trained part: the images, or their cached features."""
        return map(self.features.batch, batches) if self.features else batches
