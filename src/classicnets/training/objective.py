"""What training minimises: cross-entropy on the logits, plus a share of it on each auxiliary classifier."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from classicnets.models.contract import ConvNet
from classicnets.models.googlenet import GoogLeNet
from classicnets.training.recipe import LossSection


class Objective(NamedTuple):
    """The loss to minimise, a scalar with gradient, and the logits (B, num_classes) that it came from."""

    loss: Tensor
    logits: Tensor


def objective(model: ConvNet, images: Tensor, targets: Tensor, recipe: LossSection) -> Objective:
    """Images (B, C, H, W) and targets, labels (B,) or probabilities (B, K), to the training objective.

    A model with auxiliary classifiers (GoogLeNet, Sec. 5) adds `aux_weight` times the loss of each.
    """
    if not (isinstance(model, GoogLeNet) and model.config.aux):
        logits: Tensor = model(images).float()
        return Objective(F.cross_entropy(logits, targets, label_smoothing=recipe.label_smoothing), logits)
    outputs = model.forward_with_aux(images)
    main, *auxiliary = (
        F.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing) for logits in outputs
    )
    return Objective(main + recipe.aux_weight * sum(auxiliary), outputs.logits.float())


class Trained(nn.Module):
    """`objective` of a model, as a module: what several processes compute in parallel."""

    def __init__(self, model: ConvNet, recipe: LossSection) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe

    def forward(self, images: Tensor, targets: Tensor) -> Objective:
        return objective(self.model, images, targets, self.recipe)
