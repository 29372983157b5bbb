"""`Run`: the folder that a training writes, and that evaluation, prediction and reports read.

runs/resnet20_cifar-fashion-mnist/
  recipe.toml  environment.json  metrics.csv  events.jsonl
  checkpoints/  model/  evaluation/  figures/  report.html
  corrections.csv       with data.corrections: a copy
  refit/                with data.refit: the second training's checkpoints/, metrics.csv and events.jsonl
"""

from __future__ import annotations

import csv
import glob
import json
import os
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import classicnets
from classicnets.classifier import Classifier
from classicnets.data.corrections import read_corrections, write_corrections
from classicnets.errors import BadImage, ConfigError, Locked, StorageError
from classicnets.evaluation import Report
from classicnets.system.csv_text import csv_text
from classicnets.system.locks import lock
from classicnets.system.machine import cpu_name
from classicnets.system.paths import numbered
from classicnets.system.storage import recover, written_aside
from classicnets.training.recipe.files import parse_recipe
from classicnets.training.recipe.schema import Recipe
from classicnets.training.scale.processes import is_first_start, launch_id
from classicnets.training.step.state import EpochDone

LIFE = ("started", "reopened", "epoch", "stopped", "finished")
"""The events that give a run's state. The last one counts."""

CPU = torch.device("cpu")

_MAKE_ROOM = "Free some space, or make the folder writable."


@dataclass(frozen=True)
class Run:
    """A run folder. Every property reads the files again, so it is always up to date.

    Args:
        path: the folder. `Run.open` also checks that it is a run.

    >>> Run.open("runs/resnet20_cifar-digits").finished
    """

    path: Path

    @classmethod
    def create(
        cls, path: Path, recipe: Recipe, precision: str, device: torch.device = CPU, *, compiles: bool = False
    ) -> Run:
        """Create a run folder. Nothing is overwritten.

        Args:
            path: the folder. If it exists, the run goes to `path-2`, `path-3`, ... instead.
            recipe: the resolved recipe, written to recipe.toml.
            precision: "fp32", "bf16" or "fp16", written to environment.json.
            device: where it trains, written there too.
            compiles: whether its step is compiled, written there too.

        Returns:
            The new run.

        Raises:
            StorageError: the folder cannot be written.
        """
        for folder in islice(numbered(path), 9_999):
            if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
                continue
            try:
                with written_aside(folder, replace=False) as new:  # so that no run folder is ever without its recipe
                    new.mkdir()
                    (new / "recipe.toml").write_text(recipe.to_toml(), "utf-8", newline="")
                    machine = environment(precision, device, compiles=compiles)
                    (new / "environment.json").write_text(json.dumps(machine, indent=2) + "\n", "utf-8")
            except FileExistsError:
                continue  # another process was faster
            except StorageError as error:
                raise StorageError(f"{error} Choose the run folder with --out.") from None
            return cls(folder)
        raise StorageError(f"{path} and 9,999 numbered folders beside it exist. Choose another folder with --out.")

    @classmethod
    def of_launch(cls, path: Path, recipe: Recipe) -> Run | None:
        """Return the run with this recipe that the same torchrun created at or beside `path` before a restart.

        None if there is none, or if this is not a restart.
        """
        if (launch := launch_id()) is None or is_first_start():
            return None
        for folder in sorted(
            path.parent.glob(f"{glob.escape(path.name)}*"), key=lambda f: f.stat().st_mtime, reverse=True
        ):
            run = cls(folder)
            if run.environment.get("launch") == launch and _asked(run.recipe) == _asked(recipe):
                return run
        return None

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Return the run at `path`. Raises ConfigError if the folder is not a run."""
        run = cls(Path(path))
        if not (run.path / "recipe.toml").is_file():
            raise ConfigError(f"{path} is not a run folder: it has no recipe.toml. Give a folder that `train` created.")
        recipe = run.recipe
        if not (recipe.model.name and recipe.data.source and recipe.image_size):
            raise ConfigError(
                f"{path}/recipe.toml names no model, data or image size. Restore the file, or train again with it: "
                f"classicnets train MODEL DATA --recipe {path}/recipe.toml"
            )
        return run

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe of the training."""
        return parse_recipe((self.path / "recipe.toml").read_text("utf-8"), str(self.path / "recipe.toml"))

    @property
    def environment(self) -> dict[str, Any]:
        """The machine and versions that the run started with; empty if the file is missing or damaged."""
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
        """The evaluation on the test images, or on the validation images if there are no test images."""
        return Report.load(self.path / "evaluation")

    @property
    def record(self) -> Path:
        """The file that lists which image is in which part. It still matches after the images have moved."""
        return self.path / "images.csv"

    @property
    def corrections(self) -> Path:
        """The copy of the corrections that the run is trained with; no file if there are none."""
        return self.path / "corrections.csv"

    @property
    def refit(self) -> Run:
        """Where the second training of `data.refit` keeps its checkpoints, metrics and threads; no run of its own."""
        return Run(self.path / "refit")

    @property
    def page(self) -> Path:
        """The HTML report."""
        return self.path / "report.html"

    def __fspath__(self) -> str:
        """A run can be used as a path: `cn.load(run)`."""
        return str(self.path)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of `events.jsonl`, oldest first. Lines that cannot be read are left out."""
        try:
            lines = (self.path / "events.jsonl").read_text("utf-8", errors="replace").splitlines()
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

    @property
    def finished(self) -> bool:
        """Whether the training ended and was measured. Only the events decide."""
        life = [event["event"] for event in self.events if event["event"] in LIFE]
        return bool(life) and life[-1] == "finished"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the run for this process, and complete or undo what a killed process left half written.

        The operating system releases the lock when the process ends. Raises Locked (a ConfigError) if another process
        holds the lock, and StorageError if the folder cannot be written.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(lock(self.path / ".lock"))
            except Locked:
                raise Locked(
                    f"{self.path} is being trained by {self._writer()}. Let it finish, or stop it first."
                ) from None
            names = ("checkpoints", "evaluation", "figures", "refit", "refit/checkpoints")
            for folder in (self.path, *(self.path / name for name in names)):
                recover(folder)
            self._drop_cut_line()
            yield

    def _drop_cut_line(self) -> None:
        """Remove a last event that is cut short because its process was killed."""
        events = self.path / "events.jsonl"
        if not events.exists():
            return
        try:
            with events.open("r+b") as file:
                lines = file.read()
                if not lines.endswith(b"\n"):
                    file.truncate(lines.rfind(b"\n") + 1)
        except OSError as error:
            raise StorageError(f"Cannot write {events}: {error.strerror}. {_MAKE_ROOM}") from None

    def _writer(self) -> str:
        """The process that wrote the last `started` event."""
        for event in reversed(self.events):
            if event["event"] == "started":
                return f"process {event.get('pid')} on {event.get('host')}"
        return "another process"

    def write_recipe(self, recipe: Recipe) -> None:
        """Replace `recipe.toml`, for a run that continues with a changed recipe."""
        self._write("recipe.toml", recipe.to_toml())

    def reopen(self) -> None:
        """Record that the training continues, so that an earlier report no longer counts as final."""
        self.log("reopened")

    def write_metrics(self, history: Sequence[EpochDone]) -> None:
        """Replace `metrics.csv`: one row for each epoch of `history`."""
        rows = [[_rounded(value) for value in astuple(row)] for row in history]
        self._write_csv("metrics.csv", [f.name for f in fields(EpochDone)], rows)

    def metrics(self, *columns: str) -> list[dict[str, float]]:
        """Return columns of `metrics.csv`.

        Args:
            columns: column names, such as "val_loss"; see `EpochDone`.

        Returns:
            One dict per epoch, oldest first; empty if no epoch is done.

        Raises:
            StorageError: a line cannot be read; the message gives its number.
        """
        path, rows = self.path / "metrics.csv", []
        if not path.exists():
            return []
        try:
            with path.open(encoding="utf-8", newline="") as file:
                for number, row in enumerate(csv.DictReader(file), start=2):
                    try:
                        rows.append({key: float(row[key]) for key in columns})
                    except (KeyError, TypeError, ValueError):
                        raise StorageError(
                            f"{path}: line {number} cannot be read. Resume the run, which writes the file again."
                        ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise StorageError(
                f"{path} cannot be read: {error}. Resume the run, which writes the file again."
            ) from None
        return rows

    def write_skipped(self, skipped: Sequence[BadImage]) -> None:
        """Write `skipped.csv`: the images that were left out, and why. No file if there are none."""
        if skipped:
            self._write_csv("skipped.csv", ("image", "reason"), [(image.name, image.reason) for image in skipped])

    def keep_corrections(self, file: str | Path) -> None:
        """Write `corrections.csv`: a copy of the corrections that the run is trained with."""
        write_corrections(self.corrections, read_corrections(file))

    def log(self, event: str, **values: Any) -> None:
        """Append an event to `events.jsonl`: its time, its name and its values. Raises StorageError."""
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event, **values}
        try:
            with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(f"Cannot write {self.path}/events.jsonl: {error.strerror}. {_MAKE_ROOM}") from None

    def _write(self, name: str, text: str) -> None:
        with written_aside(self.path / name) as new:
            new.write_text(text, "utf-8", newline="")

    def _write_csv(self, name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        self._write(name, csv_text(header, rows))


def _rounded(value: float) -> float:
    return round(value, 6) if isinstance(value, float) else value


def _asked(recipe: Recipe) -> Recipe:
    """The recipe without what was fitted to its minutes, which the next start would fit differently."""
    if recipe.minutes is None:
        return recipe
    return recipe.model_copy(update={"epochs": 1, "image_size": None, "ema": 0.0})


def environment(precision: str, device: torch.device = CPU, *, compiles: bool = False) -> dict[str, Any]:
    """Return the machine, the versions and the arithmetic in use, as JSON values.

    Args:
        precision: "fp32", "bf16" or "fp16".
        device: where the training computes.
        compiles: whether its step is compiled.
    """
    on_gpu = device.type == "cuda"
    return {
        "classicnets": classicnets.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device.type,
        "accelerator": torch.cuda.get_device_name(device) if on_gpu else None,
        "precision": precision,
        "tf32": on_gpu,
        "cudnn_benchmark": on_gpu,
        "compile": compiles,
        "processes": dist.get_world_size() if dist.is_initialized() else 1,
        "launch": launch_id(),
    }
