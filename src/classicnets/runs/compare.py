"""Runs side by side: what each of them reached, how their recipes differ, and their curves in one figure.

Only the small files of a run folder are read, and nothing is written.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from classicnets.errors import ClassicNetsError, ConfigError
from classicnets.evaluation.best import Best, best_index, metric_of
from classicnets.reports.canvas import LIGHT, Theme
from classicnets.reports.comparison import Training, compared_curves
from classicnets.reports.curves import read_best, read_curves
from classicnets.training.recipe.schema import Recipe, flat
from classicnets.training.run.folder import LIFE, Run

_LEFT_BY_A_RUN = ("recipe.toml", "metrics.csv", "events.jsonl", "checkpoints")
_QUIET = 3600  # seconds without an event, after which a run on another machine counts as stopped


@dataclass(frozen=True)
class RunSummary:
    """One run in one line. What is not known is None: everything except `reason`, if a run is damaged.

    Attributes:
        path: the run folder.
        state: "finished", "running", "stopped" (can be resumed), "unmeasured" (trained to the end, but the test
            images were not looked at) or "damaged".
        reason: why a run is damaged; else empty.
        model, data: the catalog name, and the source of the images.
        epochs, epochs_planned: how many are done, and how many the recipe has; patience may end a run before.
        best: what the recipe chooses the best epoch by: "accuracy", "loss", "balanced_accuracy" or "last".
        best_value: the best epoch's validation value of that: a share, 0..1, or a loss.
        val_accuracy: the best epoch's accuracy on the validation images, 0..1.
        test_accuracy: the accuracy on the test images, 0..1; None if there are none or they were not looked at.
        seconds: time spent training.
        started: local time of the first start (ISO 8601).
    """

    path: Path
    state: str
    reason: str = ""
    model: str | None = None
    data: str | None = None
    epochs: int | None = None
    epochs_planned: int | None = None
    best: Best | None = None
    best_value: float | None = None
    val_accuracy: float | None = None
    test_accuracy: float | None = None
    seconds: float | None = None
    started: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the summary, JSON-ready."""
        return {**asdict(self), "path": str(self.path)}


def find_runs(*folders: str | Path) -> list[Path]:
    """Find run folders, damaged ones too.

    Args:
        folders: run folders, or folders with run folders directly in them.

    Returns:
        Each run folder once, in the order given.

    Raises:
        ConfigError: a folder does not exist, or is a file.

    >>> find_runs()
    []
    """
    found: dict[Path, None] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise ConfigError(f"{folder} is not a folder. Give run folders, or a folder of runs.")
        inside = [folder] if _is_run(folder) else sorted(path for path in folder.iterdir() if _is_run(path))
        found |= dict.fromkeys(inside)
    return list(found)


def summarize(path: str | Path) -> RunSummary:
    """Summarize a run by the files in its folder. A damaged run raises nothing: its `state` and `reason` say so.

    Args:
        path: a run folder.

    >>> summarize("runs/none").state
    'damaged'
    """
    run = Run(Path(path))
    try:
        recipe = Run.open(run.path).recipe
        by = f"val_{metric_of(recipe.best)}"
        rows = run.metrics("val_accuracy", "seconds", by)
    except (ClassicNetsError, OSError, ValueError) as error:
        return RunSummary(run.path, "damaged", reason=str(error))
    index = best_index([row[by] for row in rows], recipe.best)
    best_row = None if index is None else rows[index]
    events = run.events
    measured: dict[str, Any] = next((event for event in reversed(events) if event["event"] == "finished"), {})
    return RunSummary(
        path=run.path,
        state=_state(events, done=len(rows) >= recipe.epochs),
        model=recipe.model.name,
        data=recipe.data.source,
        epochs=len(rows),
        epochs_planned=recipe.epochs,
        best=recipe.best,
        best_value=best_row[by] if best_row else None,
        val_accuracy=best_row["val_accuracy"] if best_row else None,
        test_accuracy=measured.get("top1") if str(measured.get("data")).endswith(" test") else None,
        seconds=rows[-1]["seconds"] if rows else None,
        started=events[0].get("time") if events else None,
    )


def short_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Name each run by its folder, or by its whole path if two folders have the same name.

    Args:
        paths: run folders.

    >>> short_names([Path("runs/plain"), Path("runs/wide")])[Path("runs/wide")]
    'wide'
    """
    names = [path.resolve().name for path in paths]
    return {path: name if names.count(name) == 1 else str(path) for path, name in zip(paths, names, strict=True)}


def recipe_differences(recipes: Sequence[Recipe]) -> dict[str, list[Any]]:
    """Compare recipes key by key.

    Args:
        recipes: the recipes to compare.

    Returns:
        Each dotted key whose value differs, with the value of every recipe; None if a recipe leaves it unset.

    >>> recipe_differences([Recipe(epochs=3), Recipe(epochs=5)])
    {'epochs': [3, 5]}
    """
    tables = [flat(recipe.model_dump(mode="json")) for recipe in recipes]
    keys = dict.fromkeys(key for table in tables for key in table)
    found = {key: [table.get(key) for table in tables] for key in keys}
    return {key: values for key, values in found.items() if any(value != values[0] for value in values)}


def compare_curves(runs: Mapping[str, Path], theme: Theme = LIGHT) -> Figure:
    """Draw loss and accuracy by epoch of every run, each with the accuracy of the epoch that it keeps.

    Args:
        runs: run folders, by the names to show. Runs without an epoch are left out.
        theme: the colours.

    Raises:
        ConfigError: none of the runs has finished an epoch.
    """
    trainings = [Training(name, read_curves(path / "metrics.csv"), read_best(path)) for name, path in runs.items()]
    return compared_curves(trainings, theme)


def _is_run(path: Path) -> bool:
    return path.is_dir() and any((path / name).exists() for name in _LEFT_BY_A_RUN)


def _state(events: Sequence[Mapping[str, Any]], *, done: bool) -> str:
    """The state of a run that is not damaged; `done` is whether it has all its epochs."""
    life = [event for event in events if event["event"] in LIFE]
    last = life[-1]["event"] if life else "stopped"
    if last == "finished":
        return "finished"
    if last != "stopped" and _is_alive(life):
        return "running"
    starts = [number for number, event in enumerate(events) if event["event"] == "started"]
    since_last_start = events[starts[-1] :] if starts else events
    out_of_patience = any(event["event"] == "stopped_early" for event in since_last_start)
    return "unmeasured" if done or out_of_patience else "stopped"


def _is_alive(life: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the process that started last still runs; on another machine, whether it logged an event recently."""
    start: Mapping[str, Any] = next((event for event in reversed(life) if event["event"] == "started"), {})
    if os.name == "posix" and start.get("host") == platform.node() and isinstance(start.get("pid"), int):
        try:
            os.kill(start["pid"], 0)
        except ProcessLookupError:
            return False
        except OSError:
            return True  # it runs as another user
        return True
    try:
        last_event = datetime.fromisoformat(str(life[-1].get("time")))
    except ValueError:
        return False
    return time.time() - last_event.timestamp() < _QUIET
