"""The optimizer and the learning rate: both a plain function of the recipe and of how far the run has come."""

from __future__ import annotations

import math
from typing import Any

import torch

from classicnets.models.contract import ConvNet
from classicnets.training.recipe.schema import FinetuneSection, OptimSection, ScheduleSection
from classicnets.training.step.muon import Muon
from classicnets.training.transfer.freeze import ALL_LEARN, parameter_groups


def make_optimizer(
    model: ConvNet, recipe: OptimSection, finetune: FinetuneSection = ALL_LEARN
) -> torch.optim.Optimizer:
    """SGD, AdamW or Muon over the trainable parameters; biases and norms are not decayed.

    A group's learning rate is the schedule's times the group's `scale`. SGD has its momentum, zeros, from the
    beginning: made in the first step, it would lie behind all that the step needs, which could then not be used again.
    """
    groups: list[dict[str, Any]] = []
    for part in parameter_groups(model, finetune):
        trainable = [p for p in part.parameters if p.requires_grad]
        weights, others = [p for p in trainable if p.ndim > 1], [p for p in trainable if p.ndim <= 1]
        groups += [
            {"params": weights, "weight_decay": recipe.weight_decay, "scale": part.scale},
            {"params": others, "weight_decay": 0.0, "scale": part.scale},
        ]
    groups = [group for group in groups if group["params"]]
    if recipe.name == "muon":
        kernels = {p for p in model.trunk.parameters() if p.ndim > 1}
        groups = [
            {**group, "params": chosen, "orthogonal": orthogonal}
            for group in groups
            for orthogonal in (True, False)
            if (chosen := [p for p in group["params"] if (p in kernels) == orthogonal])
        ]
        return Muon(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov)
    if recipe.name == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.momentum, 0.999), fused=True)
    nesterov = recipe.nesterov and recipe.momentum > 0
    sgd = torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov, fused=True)
    if recipe.momentum > 0:
        for parameter in (p for group in groups for p in group["params"]):
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return sgd


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
