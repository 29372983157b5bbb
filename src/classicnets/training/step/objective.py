"""The training loss: cross-entropy on the logits, plus a weighted cross-entropy for each auxiliary classifier.

Every term is a sum over the images divided by their number, so the losses of a batch's parts combine exactly.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classicnets.models.contract import ConvNet, TrainingOutputs
from classicnets.training.recipe.schema import LossSection
from classicnets.training.transfer.distill import Teacher


class Objective(NamedTuple):
    """The result of a forward pass: the scalar loss to minimise, and the float32 logits (B, K)."""

    loss: Tensor
    logits: Tensor


def objective(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    recipe: LossSection,
    *,
    class_weights: Tensor | None = None,
    teacher: Teacher | None = None,
) -> Objective:
    """Compute the training loss of a batch.

    Args:
        model: a network, or the part of one that computes logits from cached features.
        images: the model's input: normalised floats (B, C, H, W), or features.
        targets: labels, int64 (B,), or probabilities, float (B, K).
        recipe: the `[loss]` section: label smoothing, and the weight of each auxiliary classifier's loss.
        class_weights: the weight of each class, float (K,). None: all 1.
        teacher: a classifier to distil from. None: learn from the targets alone.

    Returns:
        The scalar loss, with gradient, and the logits.

    >>> batch = torch.zeros(2, 3), torch.tensor([0, 1])
    >>> objective(nn.Identity(), *batch, LossSection(label_smoothing=0)).loss  # ln 3
    tensor(1.0986)
    """

    def loss_on_targets(logits: Tensor) -> Tensor:
        total = F.cross_entropy(
            logits, targets, weight=class_weights, label_smoothing=recipe.label_smoothing, reduction="sum"
        )
        return total / len(logits)

    outputs = model.training_outputs(images) if isinstance(model, ConvNet) else TrainingOutputs(model(images))
    logits = outputs.logits.float()
    loss = loss_on_targets(logits)
    if teacher is not None:
        loss = teacher.weight * teacher.loss(images, logits) + (1 - teacher.weight) * loss
    auxiliary = sum(loss_on_targets(output.float()) for output in outputs.auxiliary)
    return Objective(loss + recipe.aux_weight * auxiliary, logits)


def class_weights(labels: Tensor, num_classes: int) -> Tensor:
    """Weight each class by the inverse of its frequency.

    Args:
        labels: int64 (N,), from 0 to `num_classes` - 1.
        num_classes: number of classes K.

    Returns:
        float32 (K,). The weights average 1 over the images. A class without images has weight 0.

    >>> class_weights(torch.tensor([0, 0, 0, 1]), 2)
    tensor([0.6667, 2.0000])
    """
    counts = torch.bincount(labels, minlength=num_classes)
    weights = torch.where(counts > 0, len(labels) / counts.clamp(min=1), 0)
    return (weights / (counts > 0).sum()).float()


class ObjectiveModule(nn.Module):
    """`objective` as a module with everything except the batch, as DistributedDataParallel needs it.

    Args:
        model: a network, or the part of one that computes logits from cached features.
        recipe: the `[loss]` section.
        class_weights: float (K,), or None.
        teacher: a classifier to distil from, or None. Its weights are not part of this module.
    """

    def __init__(
        self, model: nn.Module, recipe: LossSection, class_weights: Tensor | None = None, teacher: Teacher | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.class_weights = class_weights
        self.teacher = teacher

    def forward(self, images: Tensor, targets: Tensor) -> Objective:
        """Compute the loss of images (B, C, H, W) and targets (B,) or (B, K)."""
        return objective(
            self.model, images, targets, self.recipe, class_weights=self.class_weights, teacher=self.teacher
        )
