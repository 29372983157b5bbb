"""`History`: what has happened in a training so far, few enough numbers to be drawn, for whoever looks late."""

from __future__ import annotations

import threading
import time
from typing import Any, Literal

from classicnets.reports.curves import read_curves
from classicnets.system.finite import finite
from classicnets.training.progress import TimeLeft
from classicnets.training.run.job import Finished, Job
from classicnets.training.run.refit import Refitting
from classicnets.training.step.state import EpochDone, StepDone

End = Literal["finished", "stopped", "failed"]
_MOST_POINTS = 400


class Curve:
    """Mean losses over equal numbers of steps, and the last learning rate of each; at most `most` points.

    When there are more, two neighbours become one. Steps that run again, after a rollback, replace the old ones.
    """

    def __init__(self, most: int = _MOST_POINTS) -> None:
        self._most, self._width = most, 1
        self._points: list[tuple[int, int, float, float]] = []  # last step, number of steps, sum of losses, rate

    def add(self, step: int, loss: float, rate: float) -> None:
        """Add a step, from 1."""
        while self._points and self._points[-1][0] >= step:
            self._points.pop()
        if self._points and self._points[-1][1] < self._width:
            self._points[-1] = _joined(self._points[-1], (step, 1, loss, rate))
        else:
            self._points.append((step, 1, loss, rate))
        if len(self._points) > self._most:
            pairs = zip(self._points[::2], self._points[1::2], strict=False)
            odd = self._points[-1:] if len(self._points) % 2 else []
            self._points = [*(_joined(*pair) for pair in pairs), *odd]
            self._width *= 2

    def points(self) -> dict[str, list[float]]:
        """Return the last step, the mean loss and the rate of each point."""
        return {
            "step": [step for step, _, _, _ in self._points],
            "loss": [float(f"{loss / number:.5g}") for _, number, loss, _ in self._points],
            "rate": [float(f"{rate:.5g}") for _, _, _, rate in self._points],
        }


def _joined(
    first: tuple[int, int, float, float], second: tuple[int, int, float, float]
) -> tuple[int, int, float, float]:
    return second[0], first[1] + second[1], first[2] + second[2], second[3]


class History:
    """What has happened in a training. One thread adds its events, others may ask for its `state`.

    Args:
        job: the training, not iterated over yet.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self._phase, self._about = "preparing", ""
        self._end: End | None = None
        self._result: dict[str, Any] = {}
        self._seen = False
        self._begin(job.recipe.epochs, job.num_steps)

    def _begin(self, epochs: int, num_steps: int) -> None:
        self._epochs, self._num_steps = epochs, num_steps
        self._left = TimeLeft(num_steps)
        self._seconds_left: float | None = None
        self._curve = Curve()
        self._rows: list[dict[str, float]] = []
        self._last: StepDone | None = None

    def add(self, event: StepDone | EpochDone | Refitting | Finished) -> None:
        """Add an event of the training."""
        with self._lock:
            if not self._seen and isinstance(event, StepDone):  # what an earlier process did, if this one resumed
                self._rows = [_row(point) for point in read_curves(self._job.run.path / "metrics.csv")]
            self._seen = True
            if isinstance(event, StepDone):
                self._step(event)
            elif isinstance(event, EpochDone):
                self._rows = [row for row in self._rows if row["epoch"] < event.epoch] + [_row(event)]
                self._phase = "measuring" if event.epoch == self._epochs else "training"
            elif isinstance(event, Refitting):
                self._about = str(event)
                self._begin(event.epochs, event.num_steps)
            else:
                self._result = {**event.report.headline(), "page": str(event.page)}

    def _step(self, event: StepDone) -> None:
        self._last = event
        self._curve.add(event.step, event.loss, event.lr)
        self._rows = [row for row in self._rows if row["epoch"] < event.epoch]
        self._seconds_left = self._left.after(event.step)
        is_last = event.step * self._epochs % self._num_steps == 0
        self._phase = "validating" if is_last else "training"

    def end(self, how: End, text: str = "") -> None:
        """Say that the training is over: how, and in a sentence why."""
        with self._lock:
            self._end, self._about = how, text or self._about

    def state(self) -> dict[str, Any]:
        """Return everything that a page shows, JSON-ready."""
        job = self._job
        with self._lock:
            last = self._last
            found = {
                "run": str(job.run.path),
                "phase": self._end or self._phase,
                "about": self._about,
                "epoch": last.epoch if last else len(self._rows),
                "epochs": self._epochs,
                "step": last.step if last else 0,
                "num_steps": self._num_steps,
                "loss": last.loss if last else None,
                "rate": last.lr if last else None,
                "images_per_second": last.images_per_second if last else None,
                "seconds": time.monotonic() - self._begun,
                "seconds_left": self._seconds_left,
                "curve": self._curve.points(),
                "rows": list(self._rows),
                "notes": list(job.notes),
                "warnings": list(job.warnings),
                "result": self._result,
            }
        values: dict[str, Any] = finite(found)
        return values


def _row(point: Any) -> dict[str, float]:
    """An epoch, as metrics.csv or an event has it."""
    names = ("epoch", "train_loss", "val_loss", "train_accuracy", "val_accuracy")
    return {name: getattr(point, name) for name in names}
