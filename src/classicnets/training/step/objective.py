"""What training minimises: cross-entropy on the logits, plus a share of it for each auxiliary classifier.

Every term is a sum over the images, divided by their number, so that the parts of a batch add up to the whole.
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
    """The loss to minimise, a scalar with gradient, and the logits (B, K) that it was computed from, in float32."""

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
    """Return the training objective of a batch.

    model           a network, or what computes its logits (a part of one, after kept features)
    images          what the model takes: normalised floats (B, C, H, W)
    targets         labels, int64 (B,), or probabilities, float (B, K)
    recipe          label smoothing, and `aux_weight`, the weight of each auxiliary classifier's loss on the targets
    class_weights   float (K,): how much an image of each class counts; None: 1
    teacher         a network that is learned from beside the targets; None: the targets alone

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
    """Return the weight of each class, float32 (K,): the inverse of its share.

    `labels` are int64 (N,), from 0 to `num_classes` - 1. The weights are scaled so that the images count 1 on average.
    A class without images has weight 0.

    >>> class_weights(torch.tensor([0, 0, 0, 1]), 2)
    tensor([0.6667, 2.0000])
    """
    counts = torch.bincount(labels, minlength=num_classes)
    weights = torch.where(counts > 0, len(labels) / counts.clamp(min=1), 0)
    return (weights / (counts > 0).sum()).float()


class ObjectiveModule(nn.Module):
    """`objective` with everything except the batch, as a module: what several processes compute in parallel."""

    def __init__(
        self, model: nn.Module, recipe: LossSection, class_weights: Tensor | None = None, teacher: Teacher | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.class_weights = class_weights
        self.teacher = teacher  # not a module, so its weights do not belong to this one

    def forward(self, images: Tensor, targets: Tensor) -> Objective:
        """Return the objective of images (B, C, H, W) and targets (B,) or (B, K)."""
        return objective(
            self.model, images, targets, self.recipe, class_weights=self.class_weights, teacher=self.teacher
        )
