"""What training minimises: cross-entropy on the logits, plus a share of it on each auxiliary classifier.

Every term is a sum over the images divided by their number, so that the parts of a batch add up to the whole.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classicnets.models.googlenet import GoogLeNet
from classicnets.training.recipe.schema import LossSection
from classicnets.training.transfer.distill import Teacher


class Objective(NamedTuple):
    """The loss to minimise, a scalar with gradient, and the logits (B, num_classes) that it came from."""

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
    """Images (B, C, H, W) and targets, labels (B,) or probabilities (B, K), to the training objective.

    `class_weights` (K,) is how much an image of each class counts; a `teacher` is learned from beside the targets.
    A model with auxiliary classifiers (GoogLeNet, Sec. 5) adds `aux_weight` times the loss of each on the targets.
    """

    def loss_on_targets(logits: Tensor) -> Tensor:
        total = F.cross_entropy(
            logits, targets, weight=class_weights, label_smoothing=recipe.label_smoothing, reduction="sum"
        )
        return total / len(logits)

    outputs = model.forward_with_aux(images) if isinstance(model, GoogLeNet) and model.config.aux else [model(images)]
    logits, *auxiliary = (output.float() for output in outputs)
    loss = loss_on_targets(logits)
    if teacher is not None:
        loss = teacher.weight * teacher.loss(images, logits) + (1 - teacher.weight) * loss
    return Objective(loss + recipe.aux_weight * sum(map(loss_on_targets, auxiliary)), logits)


def class_weights(labels: Tensor, num_classes: int) -> Tensor:
    """The inverse of each class's share, scaled so that the images count 1 on average: int64 (N,) -> float32 (K,).

    A class without images has weight 0.
    """
    counts = torch.bincount(labels, minlength=num_classes)
    weights = torch.where(counts > 0, len(labels) / counts.clamp(min=1), 0)
    return (weights / (counts > 0).sum()).float()


class Trained(nn.Module):
    """`objective` of a model, as a module: what several processes compute in parallel."""

    def __init__(
        self, model: nn.Module, recipe: LossSection, class_weights: Tensor | None = None, teacher: Teacher | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.class_weights = class_weights
        self.teacher = teacher  # no module, so that its weights are none of this one's

    def forward(self, images: Tensor, targets: Tensor) -> Objective:
        return objective(
            self.model, images, targets, self.recipe, class_weights=self.class_weights, teacher=self.teacher
        )
