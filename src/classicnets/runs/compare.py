"""Runs side by side: what each of them reached, where their recipes differ, and their curves in one figure.

Nothing is loaded but the small files of a run folder, and nothing is changed.
"""

from __future__ import annotations

import json
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
from classicnets.evaluation.best import score_of
from classicnets.reports.canvas import LIGHT, Theme
from classicnets.reports.comparison import Training, compared_curves
from classicnets.reports.curves import read_best, read_curves
from classicnets.training.recipe.schema import Recipe
from classicnets.training.run.folder import Run

_LEFT_BY_A_RUN = ("recipe.toml", "metrics.csv", "events.jsonl", "checkpoints")
_QUIET = 3600  # seconds without a word, after which a run on another machine is taken to have ended


@dataclass(frozen=True)
class RunSummary:
    """A line about a run. None is what is not known: all of it, but for `reason`, where a run is damaged.

    `state` is "finished", "running", "stopped" (resume goes on with it), "unmeasured" (the training is over, and
    the test images were not looked at) or "damaged". `epochs` of `epochs_planned` are done, fewer where patience ran
    out. `val_accuracy` is that of the best epoch, `test_accuracy` that on the test images where there are any, both
    0..1. `seconds` were spent training, `started` is the local time of the first start (ISO 8601).
    """

    path: Path
    state: str
    reason: str = ""
    model: str | None = None
    data: str | None = None
    epochs: int | None = None
    epochs_planned: int | None = None
    val_accuracy: float | None = None
    test_accuracy: float | None = None
    seconds: float | None = None
    started: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "path": str(self.path)}


def find_runs(*folders: str | Path) -> list[Path]:
    """The run folders among `folders` and directly in them, damaged ones too; each once, in the order given.

    Raises ConfigError for a folder that does not exist, or is a file.
    """
    found: dict[Path, None] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise ConfigError(f"{folder} is no folder. Give run folders, or a folder of runs.")
        inside = [folder] if _is_run(folder) else sorted(path for path in folder.iterdir() if _is_run(path))
        found |= dict.fromkeys(inside)
    return list(found)


def summarize(path: str | Path) -> RunSummary:
    """What the files in the run folder `path` say. A damaged one is no error: its `state` and `reason` tell it."""
    run = Run(Path(path))
    try:
        recipe = Run.open(run.path).recipe
        by = f"val_{recipe.best}"
        rows = run.metrics("val_accuracy", "seconds", by)
    except (ClassicNetsError, OSError, ValueError) as error:
        return RunSummary(run.path, "damaged", reason=str(error))
    best = max(rows, key=lambda row: score_of(row[by], recipe.best), default=None)
    events = _events(run.path / "events.jsonl")
    measured: dict[str, Any] = next((event for event in reversed(events) if event["event"] == "finished"), {})
    return RunSummary(
        path=run.path,
        state=_state(events, done=len(rows) >= recipe.epochs),
        model=recipe.model.name,
        data=recipe.data.source,
        epochs=len(rows),
        epochs_planned=recipe.epochs,
        val_accuracy=best["val_accuracy"] if best else None,
        test_accuracy=measured.get("top1") if str(measured.get("data")).endswith(" test") else None,
        seconds=rows[-1]["seconds"] if rows else None,
        started=events[0].get("time") if events else None,
    )


def recipe_differences(recipes: Sequence[Recipe]) -> dict[str, list[Any]]:
    """The dotted keys whose values differ, and the value of each recipe; None where a recipe leaves it unset."""
    flat = [_flat(recipe.model_dump(mode="json")) for recipe in recipes]
    keys = dict.fromkeys(key for values in flat for key in values)
    table = {key: [values.get(key) for values in flat] for key in keys}
    return {key: values for key, values in table.items() if any(value != values[0] for value in values)}


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


def _events(path: Path) -> list[dict[str, Any]]:
    """The events in a log, without lines that cannot be read: the last one may be cut short."""
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []
    events = []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            events.append(event)
    return events


def _state(events: Sequence[Mapping[str, Any]], *, done: bool) -> str:
    """The state of a run that is not damaged; `done` is whether it has all its epochs."""
    life = [event for event in events if event["event"] in ("started", "epoch", "stopped", "finished")]
    last = life[-1]["event"] if life else "stopped"
    if last == "finished":
        return "finished"
    if last != "stopped" and _is_alive(life):
        return "running"
    starts = [number for number, event in enumerate(events) if event["event"] == "started"]
    out_of_patience = any(event["event"] == "stopped_early" for event in events[starts[-1] if starts else 0 :])
    return "unmeasured" if done or out_of_patience else "stopped"


def _is_alive(life: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the process that started last still runs; on another machine, whether it was heard of of late."""
    start: Mapping[str, Any] = next((event for event in reversed(life) if event["event"] == "started"), {})
    if os.name == "posix" and start.get("host") == platform.node() and isinstance(start.get("pid"), int):
        try:
            os.kill(start["pid"], 0)
        except ProcessLookupError:
            return False
        except OSError:
            return True  # it runs, and is another user's
        return True
    try:
        heard = datetime.fromisoformat(str(life[-1].get("time")))
    except ValueError:
        return False
    return time.time() - heard.timestamp() < _QUIET


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return flat
