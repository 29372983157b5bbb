"""The run folder: where a training writes what it did, and where everything after it reads.

runs/resnet20_cifar-fashion-mnist/
  recipe.toml  environment.json  metrics.csv  events.jsonl
  checkpoints/  model/  evaluation/  figures/  report.html
"""

from __future__ import annotations

import csv
import json
import os
import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import torch

import classicnets
from classicnets.classifier import Classifier
from classicnets.errors import BadImage, ConfigError, StorageError
from classicnets.evaluation import Report
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
                run = cls(folder)
                (folder / "recipe.toml").write_text(recipe.to_toml(), "utf-8")
                (folder / "environment.json").write_text(json.dumps(environment(precision), indent=2), "utf-8")
            except FileExistsError:
                continue
            except OSError as error:
                raise StorageError(
                    f"Cannot write the run to {folder} ({error.strerror}). Choose another place with --out."
                ) from None
            return run
        raise StorageError(f"{path} and 9,999 numbered folders beside it exist already. Choose another --out.")

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """The run at `path`. Raises ConfigError where there is none."""
        run = cls(Path(path))
        if not (run.path / "recipe.toml").is_file():
            raise ConfigError(f"{path} is not a run folder: it has no recipe.toml. Give a folder that `train` made.")
        return run

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe, as it was trained with."""
        return parse_recipe((self.path / "recipe.toml").read_text("utf-8"), str(self.path / "recipe.toml"))

    @property
    def classifier(self) -> Classifier:
        """The classifier of the best epoch."""
        return Classifier.load(self.path / "model")

    @property
    def report(self) -> Report:
        """What was measured on the test images."""
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
        with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
            file.write(json.dumps({"time": stamp, "event": event, **values}, ensure_ascii=False) + "\n")

    def _write_csv(self, name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        with written_aside(self.path / name) as new, new.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *rows])


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
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
