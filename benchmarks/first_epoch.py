"""Does every family get off ln(classes) in its first epoch on Fashion-MNIST, with the recipe it gets by default?

A network that has learned nothing has the loss ln(10) = 2.303. Each training is stopped once the mean loss of 50
steps is below three quarters of that; the table says when, as a share of the first epoch.

    python benchmarks/first_epoch.py
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections import deque
from pathlib import Path

from report import write_results

from classicnets.training import StepDone, start

MODELS = (
    "alexnet_cifar",
    "vgg11_cifar",
    "vgg16_cifar",
    "nin_cifar",
    "googlenet_cifar",
    "resnet20_cifar",
    "resnet18_cifar",
    "preact_resnet164_cifar",
    "densenet40_k12_cifar",
    "densenet_bc100_k12_cifar",
)
WINDOW = 50
LEARNS = 0.75 * math.log(10)


def measure(model: str) -> tuple[str, float, float | None, float]:
    """Train for at most an epoch: (recipe, learning rate, share of the epoch until it learns or None, last loss)."""
    with tempfile.TemporaryDirectory() as folder:
        job = start(model, "fashion-mnist", out=Path(folder) / "run")
        recipe = next(note for note in job.notes if note.startswith("recipe")).split("'")[1]
        per_epoch = job.num_steps // job.recipe.epochs
        losses: deque[float] = deque(maxlen=WINDOW)
        reached = None
        events = iter(job)
        for event in events:
            if not isinstance(event, StepDone):
                break
            losses.append(event.loss)
            if len(losses) == WINDOW and sum(losses) / WINDOW < LEARNS:
                reached = event.step / per_epoch
                break
        events.close()
        return recipe, job.recipe.optim.lr, reached, sum(losses) / len(losses)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS)
    rows = []
    for model in parser.parse_args().models:
        recipe, lr, reached, loss = measure(model)
        print(model, recipe, lr, reached, loss, flush=True)
        rows.append((f"`{model}`", recipe, lr, f"{reached:.0%}" if reached else "not reached", f"{loss:.3f}"))
    write_results(
        "first_epoch",
        "Off ln(10) in the first epoch: Fashion-MNIST, default recipe, from scratch",
        (
            "model",
            "recipe",
            "peak learning rate",
            "share of the epoch until loss < 1.727",
            "mean loss of the last 50 steps",
        ),
        rows,
    )


if __name__ == "__main__":
    main()
