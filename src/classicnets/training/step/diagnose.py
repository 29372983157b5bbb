"""Numbers that go wrong: where they first did, and what to try.

a loss or gradient that is not finite -> the first layer whose output is not, or else whose gradient is not
a loss that stays at ln(classes)      -> the likely cause for that family
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
    """The error that says `what` went wrong, `where`, and what to try."""
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
    """A sentence on where numbers stop being finite on this batch, `forward` being run again to see it.

    The images (B, C, H, W) themselves, a layer's weights, or a layer's output, in forward order; else the gradient
    that is in the parameters now, which fails first in the last layer that it has failed in.
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
    """Fills the list with sentences on layers whose output is not finite, in forward order, while it is open."""
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


_CAUSES = {
    "alexnet": "AlexNet has no batch norm to forgive a rate, and its ReLUs die in the first steps of a high one",
    "vgg": "a VGG without batch norm learns at a narrow band of rates only; Simonyan and Zisserman (Sec. 3.1) first "
    "trained a shallow one",
    "nin": "the last layer of NiN is a ReLU, and the map of a class that it has shut for every image gets no gradient",
    "googlenet": "GoogLeNet without batch norm is deep for its rate; its auxiliary classifiers help the first layers "
    "(loss.aux_weight=0.3)",
}


def stuck(loss: float, accuracy: float, num_classes: int, step: int, recipe: Recipe, model: ConvNet) -> str | None:
    """A warning where training has taught nothing: the classic failure of these networks, at ln(classes)."""
    chance = math.log(num_classes)
    if loss < 0.97 * chance or accuracy > 1.5 / num_classes:
        return None
    normed = any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    cause = (
        "with batch norm it is seldom the network: the rate is far too high or too low, or the labels do not belong to "
        "the images (`classicnets check`)"
        if normed
        else _CAUSES[family_of(recipe.model.name).name]
    )
    other = "" if normed else ", or a variant with batch norm (`classicnets models`)"
    return (
        f"After {step} steps the loss is {loss:.3f}, and knowing nothing costs ln({num_classes}) = {chance:.3f}: "
        f"nothing is learned. Likely: {cause}. Try --set optim.lr={recipe.optim.lr / 10:.3g}{other}."
    )
