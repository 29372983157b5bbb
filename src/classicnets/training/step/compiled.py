"""`torch.compile` for the training step: whether it is on, and how its failures are recognised.

Compiling takes about a minute and makes the steps on a GPU about a tenth faster, so a run must be long to repay it.
These two numbers are what others report for such networks; `benchmarks/gpu.py` measures them on your GPU.

What is compiled is the forward pass, its loss and the backward pass. With progressive image sizes, PyTorch compiles
twice: for the first size, and then for all others at once. Weights keep their names, so checkpoints do not change.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from classicnets.analysis import inspect
from classicnets.models.contract import ConvNet
from classicnets.training.recipe.schema import Recipe

ENOUGH = 3 * 10**16
"""Multiply-adds of a run that repay compiling: ten minutes of the fastest GPUs, at 10^14 operations a second."""


class Choice(NamedTuple):
    """Whether the step is compiled, and sentences about it."""

    compiles: bool
    notes: tuple[str, ...] = ()


def choose(recipe: Recipe, model: ConvNet, device: torch.device, *, num_images: int, processes: int) -> Choice:
    """Decide whether the training step is compiled.

    Args:
        recipe: the resolved recipe; its `compile` decides, except where it is "auto" or compiling is impossible.
        model: the network.
        device: where it trains.
        num_images: training images in an epoch.
        processes: the number of processes that train together.

    Returns:
        The choice. On a CPU, "auto" is off, without a note.
    """
    if recipe.compile is False or (recipe.compile == "auto" and device.type != "cuda"):
        return Choice(False)
    if processes > 1 or recipe.accumulate > 1 or recipe.finetune.freeze == 1:
        why = "it needs one process, accumulate = 1 and a trunk that learns"
        return Choice(False, (f"the training step is not compiled: {why}",))
    if recipe.compile is True:
        return Choice(True, ("the training step is compiled (compile = true); the first step takes a minute or more",))
    work = 3 * inspect(model, image_size=recipe.image_size).macs * num_images * recipe.epochs
    if work < ENOUGH:
        why = f"the run's {work:.1e} multiply-adds do not repay it (from {ENOUGH:.0e})"
        return Choice(False, (f"the training step is not compiled: {why}",))
    why = f"the run's {work:.1e} multiply-adds repay it (from {ENOUGH:.0e})"
    return Choice(True, (f"the training step is compiled: {why}; the first step takes a minute or more",))


def is_compile_error(error: BaseException | None) -> bool:
    """Return whether `error`, or what caused it, comes from compiling, such as a missing C++ compiler or Triton.

    >>> is_compile_error(torch._dynamo.exc.Unsupported("x")), is_compile_error(RuntimeError("x"))
    (True, False)
    """
    while error is not None:
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor", "triton")):
            return True
        error = error.__cause__
    return False


def without_compiler(error: BaseException) -> str:
    """Return the sentence that says why the training goes on without compiling."""
    reason = str(error).strip().splitlines()[0]
    return f"torch.compile failed ({reason}), so the training goes on without it. To skip the attempt: compile = false."
