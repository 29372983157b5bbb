"""Find where numbers first go wrong in a training, and say what to try.

a loss or gradient that is not finite   the first layer whose output is not finite, or else whose gradient is not
a loss that stays at ln(classes)        the likely cause for that family
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
    """Return the error to raise: it says what went wrong and what to try.

    what     a sentence, such as "The loss is nan."
    recipe   the training's recipe; only what it does not have yet is suggested
    where    a sentence of `first_not_finite`, or ""

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
    return TrainingDiverged(" ".join(filter(None, [what, where, f"Try {', '.join(tries)}{last}."])))


def first_not_finite(model: nn.Module, images: Tensor, forward: Callable[[], object]) -> str:
    """Return a sentence that says where numbers first are not finite on this batch.

    model     the network, with the gradients of its last backward pass
    images    the batch, floats (B, C, H, W)
    forward   runs the model on the batch again, so that every layer can be watched

    It looks at the images, then at each layer's weights and output in forward order, then at the gradients. Of those
    the last in the network is named, because a backward pass reaches it first.

    >>> first_not_finite(nn.ReLU(), torch.tensor([torch.inf]), forward=lambda: None)
    'The images of this batch hold numbers that are not finite.'
    """
    if not images.isfinite().all():
        return "The images of this batch hold numbers that are not finite."
    with torch.no_grad(), _watched(model) as found:
        forward()
    if found:
        return found[0]
    failed = [name for name, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    return f"The gradient is the first to fail, at {failed[-1]}." if failed else "Every layer's output is finite."


@contextmanager
def _watched(model: nn.Module) -> Iterator[list[str]]:
    """Collect a sentence on the first layer whose output is not finite, while the block runs."""
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
                    f"The first layer to fail is {layer}: its inputs reach {inputs[0].abs().max().item():.3g}, "
                    f"and its output is not finite."
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
    "with batch norm it is seldom the network: the rate is far too high or too low, or the labels do not belong to the "
    "images (`classicnets check`)"
)
_WITHOUT_BATCH_NORM = "a network without batch norm learns at a narrow band of rates only"


def stuck(loss: float, accuracy: float, num_classes: int, step: int, recipe: Recipe, model: ConvNet) -> str | None:
    """Return a warning if training has learned nothing, the classic failure of these networks, or None.

    loss, accuracy   means over the steps so far; an accuracy is from 0 to 1
    num_classes      number of classes; chance is ln(num_classes)
    step             optimizer steps so far
    recipe, model    what is trained, and how: the warning names the likely cause for its family
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
        f"After {step} steps the loss is {loss:.3f}, and guessing gives ln({num_classes}) = {chance:.3f}: nothing is "
        f"learned. Likely cause: {cause}. Try {tries}."
    )
