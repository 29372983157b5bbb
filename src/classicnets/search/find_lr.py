"""The learning rate range test (Smith 2017, Cyclical Learning Rates, Sec. 3.3): one short climb tells a good rate.

    fresh network -> a step at each rate, from far too low to far too high -> smooth -> suggest

No run folder is made and nothing is kept.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterator, Sequence
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
from classicnets.system.devices import choose_device
from classicnets.training.recipe.plan import resolve
from classicnets.training.recipe.schema import Recipe
from classicnets.training.run.prepare import Prepared, Progress, prepare
from classicnets.training.scale.processes import only_alone
from classicnets.training.step.loop import train_step

_RANGES = {"sgd": (1e-4, 10.0), "adamw": (1e-6, 0.1)}
_BLOWN_UP = 2.0  # times the first loss
_WIDTH = 0.15  # of the smoothing, in decades of the rate
_VALLEY = 0.1  # of the fall of the loss: what lies less above the lowest is in the valley
_LEARNED = 0.02  # of the first loss: a fall below that shows nothing


@dataclass(frozen=True)
class RangeTest:
    """What the climb showed: the loss (and smoothed) at each rate, and the suggestion, None where no rate taught.

    `stopped_early` tells that the loss blew up, or was no longer finite, before the highest rate. `recipe` is what a
    training would use, with the rate that it had before; `notes` say what was chosen.
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
        """JSON-ready."""
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
    """Climb from the rate `low` to `high` in `steps` optimizer steps (20 or more), with the recipe of `train`.

    None for `low` and `high` is 1e-4 and 10, and for AdamW 1e-6 and 0.1. The other arguments are those of `start`, and
    so are the errors: UnknownName, ConfigError, DataError, WeightsError.
    """
    only_alone("find-lr")
    if steps < 20:
        raise ConfigError(f"A range test of {steps} steps shows nothing. Give 20 or more; 200 is a good number.")
    plan = resolve(model, data, recipe=recipe, settings=settings)
    lowest, highest = _RANGES.get(plan.recipe.optim.name, _RANGES["sgd"])
    low, high = lowest if low is None else low, highest if high is None else high
    if not 0 < low < high:
        raise ConfigError(f"The rates go from {low:g} to {high:g}: the first must be above 0 and below the last.")
    prepared = prepare(plan.recipe, plan.data, choose_device(device), progress)
    rates = np.geomspace(low, high, steps).tolist()
    losses = _climb(prepared, rates, progress)
    if not losses:
        raise TrainingDiverged(
            f"The loss is not finite at the first step already, with rate {low:g}. Give a lower --low."
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
    """Each loss as the mean of its neighbours on both sides, Gaussian in the logarithm of the rate.

    What lies above twice the first loss counts as twice, so that an explosion is not seen before it comes.
    """
    x, y = np.log10(rates), np.minimum(losses, _BLOWN_UP * losses[0])
    weights = np.exp(-(((x[:, None] - x[None, :]) / _WIDTH) ** 2) / 2)
    return tuple(((weights @ y) / weights.sum(1)).tolist())


def valley(smoothed: Sequence[float]) -> tuple[int, int] | None:
    """The first and last index around the lowest loss that are less than a tenth of the fall above it.

    None where the loss falls by less than a fiftieth.
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
    """The middle of the valley, on the scale of the logarithm, to two digits; None where there is no valley.

    Left of it a training dawdles, right of it the loss rises again. The lowest point itself hangs on chance: with
    batch norm the bottom is flat over a decade and more.
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
    """The loss of a step at each rate, up to where it blows up."""
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
