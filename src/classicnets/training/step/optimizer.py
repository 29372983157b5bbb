"""The optimizer, and the learning rate as a function of the recipe and the progress of the run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import unwrap
from typing import Any

import torch
from torch import Tensor
from torch.optim.sgd import sgd

from classicnets.models.contract import ConvNet
from classicnets.training.recipe.schema import FinetuneSection, OptimSection, ScheduleSection
from classicnets.training.step.muon import Muon
from classicnets.training.step.uncompiled import Uncompiled
from classicnets.training.transfer.freeze import ALL_LEARN, parameter_groups


class SGD(Uncompiled, torch.optim.SGD):
    """PyTorch's SGD, without the start of its compiler and without copies of kernels. It needs its momentum made.

    PyTorch's own step keeps the momentum by the tensors that it worked on, which are views here.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Change the parameters, and their momentum in place."""
        for group in self.param_groups:
            params: list[Tensor] = []
            grads: list[Tensor] = []
            momenta: list[Tensor | None] = []
            self._init_group(group, params, grads, momenta)  # type: ignore[no-untyped-call]
            _as_stored(params, grads, momenta)
            sgd(
                params, grads, momenta, fused=True, found_inf=getattr(self, "found_inf", None), lr=group["lr"],
                weight_decay=group["weight_decay"], momentum=group["momentum"], dampening=group["dampening"],
                nesterov=group["nesterov"], maximize=group["maximize"],
            )  # fmt: skip


class AdamW(Uncompiled, torch.optim.AdamW):
    """PyTorch's AdamW, without the start of its compiler and without copies of kernels."""

    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))

    def _init_group(self, group: dict[str, Any], *tensors: list[Tensor]) -> bool:
        has_complex: bool = super()._init_group(group, *tensors)  # type: ignore[no-untyped-call]
        _as_stored(*tensors)
        return has_complex


def _as_stored(parameters: list[Tensor], grads: list[Tensor], *states: list[Any]) -> None:
    """Replace channels-last kernels (K, C, h, w) and what belongs to them by views (K, h, w, C), in the lists.

    PyTorch's fused steps copy channels-last kernels, and take twice the time. These views are contiguous, and the order
    of axes changes no element's step.
    """
    for i, parameter in enumerate(parameters):
        if parameter.ndim == 4 and parameter.is_contiguous(memory_format=torch.channels_last):
            for tensors in (parameters, grads, *states):
                if tensors and tensors[i].ndim == 4:
                    tensors[i] = tensors[i].permute(0, 2, 3, 1)
            grads[i] = grads[i].contiguous()  # the fused steps take a gradient of another layout for one of this


def make_optimizer(
    model: ConvNet, recipe: OptimSection, finetune: FinetuneSection = ALL_LEARN
) -> torch.optim.Optimizer:
    """Create SGD, AdamW or Muon over the trainable parameters. Biases and norms get no weight decay.

    Args:
        model: the network, on its device.
        recipe: the `[optim]` section.
        finetune: the `[finetune]` section: which stages never learn, and the learning rate of each.

    Returns:
        The optimizer. Each of its groups has a `scale`, the factor on the scheduled learning rate.

    >>> make_optimizer(create_model("nin_cifar"), OptimSection())
    """
    groups: list[dict[str, Any]] = []
    biases = {p for name, p in model.named_parameters() if name.endswith("bias") and recipe.bias_lr != 1}
    for part in parameter_groups(model, finetune):
        trainable = [p for p in part.parameters if p.requires_grad]
        weights = [p for p in trainable if p.ndim > 1]
        others = [p for p in trainable if p.ndim <= 1 and p not in biases]
        faster = [p for p in trainable if p in biases]
        groups += [
            {"params": weights, "weight_decay": recipe.weight_decay, "scale": part.scale},
            {"params": others, "weight_decay": 0.0, "scale": part.scale},
            {"params": faster, "weight_decay": 0.0, "scale": part.scale * recipe.bias_lr},
        ]
    groups = [group for group in groups if group["params"]]
    if recipe.name == "muon":
        kernels = {p for p in model.trunk.parameters() if p.ndim > 1}
        divided = []
        for group in groups:
            for orthogonal in (True, False):
                chosen = [p for p in group["params"] if (p in kernels) == orthogonal]
                if chosen:
                    divided.append({**group, "params": chosen, "orthogonal": orthogonal})
        return Muon(divided, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov)
    if recipe.name == "adamw":
        return AdamW(groups, lr=recipe.lr, betas=(recipe.momentum, 0.999), fused=True)
    nesterov = recipe.nesterov and recipe.momentum > 0
    sgd = SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov, fused=True)
    if recipe.momentum > 0:
        # Allocate the momentum before the first step: allocated later, it would fragment the memory of the activations.
        for parameter in (p for group in groups for p in group["params"]):
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return sgd


@contextmanager
def skipping(optimizer: torch.optim.Optimizer, skip: Tensor | None) -> Iterator[None]:
    """Inside the block, `optimizer.step()` changes nothing if `skip` is 1. The device decides; the host does not wait.

    Args:
        optimizer: one of `make_optimizer`. Fused ones and Muon read the attribute, which torch.amp.GradScaler sets too.
        skip: 0 or 1, float32 (), on the device. None: the step is taken.
    """
    if skip is not None:
        optimizer.found_inf = skip  # type: ignore[attr-defined]
    try:
        yield
    finally:
        if skip is not None:
            del optimizer.found_inf  # type: ignore[attr-defined]


def learning_rate(recipe: OptimSection, schedule: ScheduleSection, done: float) -> float:
    """Return the learning rate when the fraction `done` (0..1) of the run is done.

    >>> learning_rate(OptimSection(lr=0.1), ScheduleSection(name="constant", warmup=0), done=0.5)
    0.1
    """
    return recipe.lr * _factor(schedule, done)


def _factor(schedule: ScheduleSection, done: float) -> float:
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
