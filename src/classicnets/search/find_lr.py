"""The learning-rate range test (Smith 2017, Cyclical Learning Rates, Sec. 3.3).

    fresh network -> a step at each rate, from far too low to far too high -> smooth -> suggest

No run folder is created and nothing is kept.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from classicnets.data import Data
from classicnets.data.pipeline.loader import Batch
from classicnets.errors import ConfigError, TrainingDiverged
from classicnets.reports.canvas import LIGHT, Theme
from classicnets.reports.rates import Suggestion, range_test
from classicnets.system.devices import choose_device, fast_training
from classicnets.training.recipe.plan import resolve
from classicnets.training.recipe.schema import OptimizerName, Recipe
from classicnets.training.run.prepare import Prepared, Progress, prepare
from classicnets.training.scale.processes import only_alone
from classicnets.training.step.loop import train_step

RANGES: Mapping[OptimizerName, tuple[float, float]] = {
    "sgd": (1e-4, 10.0),
    "adamw": (1e-6, 0.1),
    "muon": (1e-5, 1.0),  # on digits, the valleys of three networks lie between 0.002 and 0.08
}
"""The lowest and the highest rate of a test, for each optimizer: five decades with the usual rates in the middle."""

_BLOWN_UP = 2.0  # times the first loss
_WIDTH = 0.15  # of the smoothing, in decades of the rate
_VALLEY = 0.1  # of the fall of the loss: the valley is what lies less than this above the lowest loss
_LEARNED = 0.02  # of the first loss: a smaller fall shows nothing


@dataclass(frozen=True)
class RangeTest:
    """The result of a range test.

    Attributes:
        model, data: the catalog name, and the short name of the data.
        recipe: the recipe that `train` would use, with its own rate.
        rates, losses: the rate and the training loss of each step.
        smoothed: the losses, smoothed.
        suggestion: the suggested rate; None if the loss did not fall at any rate.
        stopped_early: whether the loss blew up, or was no longer finite, before the highest rate.
        notes: sentences on what was chosen for the test.
    """

    model: str
    data: str
    recipe: Recipe
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float | None
    stopped_early: bool
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the result, JSON-ready."""
        return {
            "model": self.model,
            "data": self.data,
            "suggestion": self.suggestion,
            "recipe_lr": self.recipe.optim.lr,
            "stopped_early": self.stopped_early,
            "rates": list(self.rates),
            "losses": list(self.losses),
            "smoothed": list(self.smoothed),
        }


def find_lr(
    model: str,
    data: str | Path | Data,
    *,
    steps: int = 200,
    low: float | None = None,
    high: float | None = None,
    recipe: str | Path | Recipe | None = None,
    settings: Sequence[str] = (),
    device: str = "auto",
    progress: Progress | None = None,
) -> RangeTest:
    """Run a learning-rate range test: raise the rate from `low` to `high`, with the same recipe as `train`.

    Args:
        model: a catalog name, such as "resnet20_cifar".
        data: a name that `load_data` knows, a path, or a Data.
        steps: number of optimizer steps, at least 20.
        low: the first rate. None takes 1e-4 for SGD, 1e-6 for AdamW and 1e-5 for Muon.
        high: the last rate. None takes 10 for SGD, 0.1 for AdamW and 1 for Muon.
        recipe: a Recipe, a shipped name or a .toml file. None chooses one by the network and the data.
        settings: `key=value` changes to the recipe, such as "batch_size=64".
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        progress: called with what is being done, how much of it is done, and how much there is.

    Returns:
        A RangeTest with the loss at each rate and the suggested rate.

    Raises:
        UnknownName, ConfigError: the model, the recipe, a key or a value is not allowed.
        DataError: the data cannot be trained on.
        WeightsError: the weights to start from cannot be loaded.
        TrainingDiverged: the loss is not finite at the lowest rate already.

    >>> find_lr("resnet20_cifar", "digits", steps=60).suggestion
    """
    only_alone("find-lr")
    if steps < 20:
        raise ConfigError(f"A range test needs at least 20 steps, got {steps}; 200 are a good start.")
    plan = resolve(model, data, recipe=recipe, settings=settings)
    lowest, highest = RANGES[plan.recipe.optim.name]
    low, high = lowest if low is None else low, highest if high is None else high
    if not 0 < low < high:
        raise ConfigError(f"low must be above 0 and below high, got low={low:g} and high={high:g}.")
    prepared = prepare(plan.recipe, plan.data, choose_device(device), progress)
    rates = np.geomspace(low, high, steps).tolist()
    with fast_training(prepared.session.precision):
        losses = _climb(prepared, rates, progress)
    if not losses:
        raise TrainingDiverged(
            f"The loss is not finite at the first step, with the rate {low:g}. Start lower with --low."
        )
    reached = tuple(rates[: len(losses)])
    smoothed = smooth(reached, losses)
    return RangeTest(
        model=model,
        data=plan.data.name,
        recipe=plan.recipe,
        rates=reached,
        losses=tuple(losses),
        smoothed=smoothed,
        suggestion=suggest(reached, smoothed),
        stopped_early=len(losses) < steps,
        notes=(*plan.notes, *prepared.notes),
    )


def smooth(rates: Sequence[float], losses: Sequence[float]) -> tuple[float, ...]:
    """Smooth the losses with a Gaussian window over the logarithm of the rate.

    Losses above twice the first loss are cut to that, so that an explosion does not show before it happens.

    Args:
        rates: the rate of each step, increasing.
        losses: the loss of each step.

    >>> smooth([0.1, 1.0], [2.0, 2.0])
    (2.0, 2.0)
    """
    x, y = np.log10(rates), np.minimum(losses, _BLOWN_UP * losses[0])
    weights = np.exp(-(((x[:, None] - x[None, :]) / _WIDTH) ** 2) / 2)
    return tuple(((weights @ y) / weights.sum(1)).tolist())


def valley(smoothed: Sequence[float]) -> tuple[int, int] | None:
    """Find the valley around the lowest loss: the losses less than a tenth of the whole fall above it.

    Args:
        smoothed: smoothed losses, as from `smooth`.

    Returns:
        The first and the last index of the valley; None if the loss falls by less than a fiftieth.

    >>> valley([2.0, 1.0, 1.01, 3.0])
    (1, 2)
    """
    best = int(np.argmin(smoothed))
    fall = smoothed[0] - smoothed[best]
    if not fall > _LEARNED * smoothed[0]:
        return None
    edge = smoothed[best] + _VALLEY * fall
    first = next(i for i in range(best, -1, -1) if i == 0 or smoothed[i - 1] > edge)
    last = next(i for i in range(best, len(smoothed)) if i + 1 == len(smoothed) or smoothed[i + 1] > edge)
    return first, last


def suggest(rates: Sequence[float], smoothed: Sequence[float]) -> float | None:
    """Suggest the rate in the middle of the valley, on a logarithmic scale.

    Below the valley training is slow, above it the loss rises again. The lowest point itself depends on chance: with
    batch norm the valley is flat over a decade and more.

    Args:
        rates: the rate of each step, increasing.
        smoothed: the smoothed loss of each step.

    Returns:
        The rate, to two digits; None if there is no valley.

    >>> suggest([0.01, 0.1, 1.0, 10.0], [2.0, 1.0, 1.01, 3.0])
    0.32
    """
    if (found := valley(smoothed)) is None:
        return None
    return float(f"{math.sqrt(rates[found[0]] * rates[found[1]]):.1e}")


def draw(test: RangeTest, theme: Theme = LIGHT) -> Figure:
    """Draw the loss at each rate, and the suggestion if there is one."""
    found = valley(test.smoothed)
    suggestion = None
    if test.suggestion is not None and found is not None:
        suggestion = Suggestion(test.suggestion, low=test.rates[found[0]], high=test.rates[found[1]])
    return range_test(test.rates, test.losses, test.smoothed, suggestion, model=test.model, theme=theme)


def _climb(prepared: Prepared, rates: Sequence[float], progress: Progress | None) -> list[float]:
    """The loss of a step at each rate, until it blows up."""
    losses: list[float] = []
    for lr, batch in zip(rates, _endless(prepared), strict=False):
        try:
            losses.append(train_step(prepared.session, prepared.state, batch, lr))
        except TrainingDiverged:
            break
        if progress is not None:
            progress("Climbing", len(losses), len(rates))
        if statistics.median(losses[-3:]) > _BLOWN_UP * losses[0]:
            break
    return losses


def _endless(prepared: Prepared) -> Iterator[Batch]:
    session = prepared.session
    for epoch in itertools.count():
        yield from session.inputs(session.loader.batches(epoch))
