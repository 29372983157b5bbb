"""Explain why a training fails, and say what to try.

If the loss or the gradient is not finite, find the first layer whose output or gradient is not finite. If the loss
stays at ln(classes), name the likely cause for the family.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from classicnets.errors import TrainingDiverged
from classicnets.models.catalog import family_of
from classicnets.models.contract import ConvNet
from classicnets.training.recipe.schema import Recipe


def diverged(what: str, recipe: Recipe, where: str = "") -> TrainingDiverged:
    """Create the error for a training that diverged. Its message says what to try.

    Args:
        what: a sentence, such as "The loss is nan."
        recipe: the recipe of the training. Settings that it has already are not suggested.
        where: a sentence from `first_not_finite`, or "".

    Returns:
        The error, to be raised by the caller.

    >>> str(diverged("The loss is nan.", Recipe()))[:33]
    'The loss is nan. Try a lower rate'
    """
    tries = [f"a lower rate (--set optim.lr={recipe.optim.lr / 4:.3g})"]
    if recipe.optim.clip_norm is None:
        tries.append("--set optim.clip_norm=1")
    if not recipe.schedule.warmup:
        tries.append("--set schedule.warmup=0.05")
    if recipe.precision != "fp32":
        tries.append("--set precision=fp32")
    last = f" or {tries.pop()}" if len(tries) > 1 else ""
    advice = f"Try {', '.join(tries)}{last}."
    return TrainingDiverged(f"{what} {where} {advice}" if where else f"{what} {advice}")


def first_not_finite(model: nn.Module, images: Tensor, forward: Callable[[], object]) -> str:
    """Find the first value that is not finite: in the images, the layers in forward order, then the gradients.

    Args:
        model: the network, with the gradients of its last backward pass.
        images: the batch, floats (B, C, H, W).
        forward: runs the model on the batch again, so that every layer can be watched.

    Returns:
        A sentence that names the place. Of several gradients, it names the one of the last layer, because the backward
        pass reaches it first.

    >>> first_not_finite(nn.ReLU(), torch.tensor([torch.inf]), forward=lambda: None)
    'The images of this batch contain values that are not finite.'
    """
    if not images.isfinite().all():
        return "The images of this batch contain values that are not finite."
    with torch.no_grad(), _watched(model) as found:
        forward()
    if found:
        return found[0]
    failed = [name for name, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    return (
        f"The outputs are finite; the gradient of {failed[-1]} is not." if failed else "Every layer's output is finite."
    )


@contextmanager
def _watched(model: nn.Module) -> Iterator[list[str]]:
    """Watch every layer inside the block, and describe the first one whose output is not finite."""
    found: list[str] = []

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if found or not isinstance(output, Tensor) or output.isfinite().all():
                return
            layer = f"{name} ({type(module).__name__})"
            if not all(p.isfinite().all() for p in module.parameters()):
                found.append(f"The weights of {layer} are not finite.")
            else:
                found.append(
                    f"The first layer whose output is not finite is {layer}; its inputs reach "
                    f"{inputs[0].abs().max().item():.3g}."
                )

        return look

    leaves = [(name, module) for name, module in model.named_modules() if not any(module.children())]
    hooks = [module.register_forward_hook(watch(name)) for name, module in leaves]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


_WITH_BATCH_NORM = (
    "the learning rate is far too high or too low, or the labels do not match the images (`classicnets check` shows "
    "them); with batch norm the network itself is rarely the cause"
)
_WITHOUT_BATCH_NORM = "a network without batch norm learns only in a narrow range of learning rates"


def stuck(loss: float, accuracy: float, num_classes: int, step: int, recipe: Recipe, model: ConvNet) -> str | None:
    """Detect a training whose loss stays at chance, ln(num_classes).

    Args:
        loss: mean training loss so far.
        accuracy: mean training accuracy so far, 0..1.
        num_classes: number of classes.
        step: optimizer steps so far.
        recipe: the recipe of the training.
        model: the network; the warning names the likely cause for its family.

    Returns:
        A warning, or None if the network learns.
    """
    chance = math.log(num_classes)
    if loss < 0.97 * chance or accuracy > 1.5 / num_classes:
        return None
    rate = f"--set optim.lr={recipe.optim.lr / 10:.3g}"
    if any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        cause, tries = _WITH_BATCH_NORM, rate
    else:
        cause = family_of(recipe.model.name).stuck_because or _WITHOUT_BATCH_NORM
        tries = f"{rate}, or a variant with batch norm (`classicnets models`)"
    return (
        f"After {step} steps the loss is {loss:.3f}. Guessing gives ln({num_classes}) = {chance:.3f}, so the network "
        f"has learned nothing. Likely cause: {cause}. Try {tries}."
    )
