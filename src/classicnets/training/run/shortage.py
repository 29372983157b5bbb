"""What to say if a training runs out of memory, on the CPU or on a GPU."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from classicnets.errors import OutOfMemory
from classicnets.system.devices import fastest_precision
from classicnets.system.memory import is_out_of_memory
from classicnets.training.recipe.schema import Recipe


@contextmanager
def shortage_explained(recipe: Recipe, device: torch.device, run: Path) -> Iterator[None]:
    """Inside the block, running out of memory raises OutOfMemory, which says what to lower and how to resume.

    Args:
        recipe: the recipe of the training.
        device: where it trains.
        run: its folder.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(f"{_where(device)} {_advice(recipe, device)} {_going_on(recipe, run)}") from error


def _where(device: torch.device) -> str:
    if device.type != "cuda":
        return "There is not enough memory."
    size = torch.cuda.get_device_properties(device).total_memory / 2**30
    return f"The GPU is out of memory ({torch.cuda.get_device_name(device)}, {size:.0f} GiB)."


def _advice(recipe: Recipe, device: torch.device) -> str:
    ways = [f"lower batch_size (it is {recipe.batch_size})", f"lower image_size (it is {recipe.image_size})"]
    ways.append(f"split each batch with accumulate = {2 * recipe.accumulate}")
    if not recipe.recompute:
        ways.append("keep fewer activations with recompute = true")
    if recipe.precision == "fp32" and (fastest := fastest_precision(device)) != "fp32":
        ways.append(f"compute in half precision with precision = {fastest}")
    text = f"{', '.join(ways[:-1])}, or {ways[-1]}."
    return text[0].upper() + text[1:]


def _going_on(recipe: Recipe, run: Path) -> str:
    if not any((run / "checkpoints").glob("step-*")):
        return "No step was saved yet, so train again with one of these."
    resume = f"classicnets train --resume {shlex.quote(str(run))}"
    return (
        f"The last checkpoint stands: {resume} --set accumulate={2 * recipe.accumulate} --allow-change. "
        "Only another image_size needs a new run."
    )
