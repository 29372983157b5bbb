"""The run folder: where a training writes what it did, and where everything after it reads.

runs/resnet20_cifar-fashion-mnist/
  recipe.toml  environment.json  metrics.csv  events.jsonl
  checkpoints/  model/  evaluation/  figures/  report.html
"""

from __future__ import annotations

import csv
import glob
import io
import json
import os
import platform
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import classicnets
from classicnets.classifier import Classifier
from classicnets.errors import BadImage, ConfigError, StorageError
from classicnets.evaluation import Report
from classicnets.training.distributed import launch_id
from classicnets.training.loop import EpochDone
from classicnets.training.recipe import Recipe, parse_recipe
from classicnets.weights.files import written_aside


@dataclass(frozen=True)
class Run:
    """A run folder. Its files are the truth: every property reads them."""

    path: Path

    @classmethod
    def create(cls, path: Path, recipe: Recipe, precision: str) -> Run:
        """Make a new folder at `path`, or at `path-2`, `path-3`, ... where that is taken: nothing is overwritten.

        Raises StorageError where the place cannot be written to.
        """
        for number in range(1, 10_000):
            folder = path if number == 1 else path.with_name(f"{path.name}-{number}")
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as error:
                raise StorageError(
                    f"Cannot write the run to {folder} ({error.strerror}). Choose another place with --out."
                ) from None
            run = cls(folder)
            try:
                run._write("recipe.toml", recipe.to_toml())
                run._write("environment.json", json.dumps(environment(precision), indent=2) + "\n")
            except StorageError:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            return run
        raise StorageError(f"{path} and 9,999 numbered folders beside it exist already. Choose another --out.")

    @classmethod
    def of_launch(cls, path: Path, recipe: Recipe) -> Run | None:
        """The run that this torchrun made at `path` or beside it, with that recipe, before it restarted us."""
        if (launch := launch_id()) is None:
            return None
        for folder in sorted(
            path.parent.glob(f"{glob.escape(path.name)}*"), key=lambda f: f.stat().st_mtime, reverse=True
        ):
            run = cls(folder)
            if run.environment.get("launch") == launch and run.recipe == recipe:
                return run
        return None

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """The run at `path`. Raises ConfigError where there is none."""
        run = cls(Path(path))
        if not (run.path / "recipe.toml").is_file():
            raise ConfigError(f"{path} is not a run folder: it has no recipe.toml. Give a folder that `train` made.")
        recipe = run.recipe
        if not (recipe.model.name and recipe.data.source and recipe.image_size):
            raise ConfigError(f"{path}/recipe.toml names no model, data or image size, as the recipe of a run does.")
        return run

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe, as it was trained with."""
        return parse_recipe((self.path / "recipe.toml").read_text("utf-8"), str(self.path / "recipe.toml"))

    @property
    def environment(self) -> dict[str, Any]:
        """What it began on, as `environment` tells it; empty where that is lost."""
        try:
            found = json.loads((self.path / "environment.json").read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def classifier(self) -> Classifier:
        """The classifier of the best epoch."""
        return Classifier.load(self.path / "model")

    @property
    def report(self) -> Report:
        """What was measured on the test images, or on the validation images where there are no others."""
        return Report.load(self.path / "evaluation")

    def write_metrics(self, history: Sequence[EpochDone]) -> None:
        """Write `metrics.csv` anew: one row an epoch."""
        rows = [[round(v, 6) if isinstance(v, float) else v for v in astuple(row)] for row in history]
        self._write_csv("metrics.csv", [f.name for f in fields(EpochDone)], rows)

    def write_skipped(self, skipped: Sequence[BadImage]) -> None:
        """Write `skipped.csv`, the images that were left out and why; no file where there are none."""
        if skipped:
            self._write_csv("skipped.csv", ("image", "reason"), [(image.name, image.reason) for image in skipped])

    def log(self, event: str, **values: Any) -> None:
        """Append a line to `events.jsonl`: when, what, and its values."""
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event, **values}
        try:
            with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
        except OSError as error:
            raise StorageError(f"Cannot write {self.path}/events.jsonl: {error.strerror}. Free some space.") from None

    def _write(self, name: str, text: str) -> None:
        with written_aside(self.path / name) as new:
            new.write_text(text, "utf-8", newline="")

    def _write_csv(self, name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([header, *rows])
        self._write(name, text.getvalue())


def environment(precision: str) -> dict[str, Any]:
    """What the training ran on, JSON-ready."""
    return {
        "classicnets": classicnets.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "precision": precision,
        "processes": dist.get_world_size() if dist.is_initialized() else 1,
        "launch": launch_id(),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
