"""The optimizer and the learning rate: both a plain function of the recipe and of how far the run has come."""

from __future__ import annotations

import math

import torch
from torch import nn

from classicnets.training.recipe import OptimSection, ScheduleSection


def make_optimizer(model: nn.Module, recipe: OptimSection) -> torch.optim.Optimizer:
    """SGD or AdamW over the trainable parameters, fused; biases and norms are not decayed."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.name == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.momentum, 0.999), fused=True)
    nesterov = recipe.nesterov and recipe.momentum > 0
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov, fused=True)


def learning_rate(recipe: OptimSection, schedule: ScheduleSection, done: float) -> float:
    """The learning rate when the share `done` (0..1) of the run is over."""
    return recipe.lr * _share(schedule, done)


def _share(schedule: ScheduleSection, done: float) -> float:
    if done < schedule.warmup:
        return max(done / schedule.warmup, 1e-3)
    after = (done - schedule.warmup) / (1 - schedule.warmup)
    if schedule.name == "cosine":
        return schedule.final + (1 - schedule.final) * (1 + math.cos(math.pi * after)) / 2
    if schedule.name == "one_cycle":
        return schedule.final + (1 - schedule.final) * (1 - after)
    if schedule.name == "step":
        return 0.1 ** sum(done >= milestone for milestone in schedule.milestones)
    return 1.0
