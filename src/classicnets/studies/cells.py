"""A cell: one network, trained once with one seed, and what was measured on it. It is a file, written whole.

The file's name ends in a hash of everything that determines its numbers, so a cell is measured once and found again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch

from classicnets.classifier import Classifier
from classicnets.data import Data
from classicnets.errors import StorageError, TrainingDiverged, WeightsError
from classicnets.evaluation import evaluate
from classicnets.models.catalog import create
from classicnets.models.contract import ConvNet
from classicnets.studies.claim import Arm, Cell, Claim, Preset
from classicnets.system.progress import Report
from classicnets.system.storage import written_aside
from classicnets.training.entry import reopen, start
from classicnets.training.recipe.plan import resolve
from classicnets.training.recipe.schema import Recipe
from classicnets.training.recipe.settings import as_settings
from classicnets.training.run.job import Job
from classicnets.training.step.state import StepDone

if TYPE_CHECKING:
    from collections.abc import Generator

logger = logging.getLogger("classicnets")

_VERSION = 1  # of what every cell measures
_MOST_MEASURED = 5_000  # training images on which the training error is measured
_TEST, _VALIDATION = 2_000, 500  # images of a preset that does not use all of them


class Trained(NamedTuple):
    """What a probe looks at: the network before its first step, the classifier of the best epoch, and the data."""

    start: ConvNet
    classifier: Classifier
    data: Data


def few(data: Data, images: int | None) -> Data:
    """Return `data` with so many training images, 500 for validation and 2,000 for the test.

    None, and a number that is not below that of the training images, return all of it. The choice is random and always
    the same.
    """
    if images is None or images >= len(data.train):
        return data
    test = None if data.test is None else data.test.sample(_TEST)
    return replace(data, train=data.train.sample(images), val=data.val.sample(_VALIDATION), test=test)


@dataclass(frozen=True, kw_only=True)
class CellPlan:
    """A cell to measure: where its file is or will be, and what determines its numbers.

    Attributes:
        claim: the claim that it belongs to.
        arm: the network.
        seed: decides the first weights, the order and the augmentation.
        settings: changes to the default recipe.
        data: the images.
        folder: the study's folder.
        key: everything that determines the numbers, JSON-ready.
    """

    claim: Claim
    arm: Arm
    seed: int
    settings: tuple[str, ...]
    data: Data
    folder: Path
    key: dict[str, Any]

    @classmethod
    def of(
        cls, claim: Claim, preset: Preset, arm: Arm, seed: int, data: Data, folder: Path, fingerprint: str
    ) -> CellPlan:
        """Resolve the cell's recipe. Nothing is trained yet. `fingerprint` is that of `data`."""
        switches = {f"model.switches.{name}": value for name, value in arm.switches.items()}
        settings = tuple(as_settings((*preset.settings, *arm.settings), {**switches, "seed": seed}))
        recipe = resolve(arm.model, data, recipe=Recipe(), settings=settings).recipe.model_dump(mode="json")
        del recipe["data"]["source"]  # the fingerprint stands for it
        network = create(arm.model, device="meta", **arm.switches)
        key = {
            "version": [_VERSION, claim.version],
            "probe": claim.name if claim.probe else None,
            "config": network.config.to_dict(),
            "recipe": recipe,
            "data": fingerprint,
        }
        return cls(claim=claim, arm=arm, seed=seed, settings=settings, data=data, folder=folder, key=key)

    @property
    def name(self) -> str:
        """The name of the cell's file without its suffix."""
        text = json.dumps(self.key, sort_keys=True)
        arm = re.sub(r"[^A-Za-z0-9.]+", "-", self.arm.name)
        return f"{arm}-seed{self.seed}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def path(self) -> Path:
        """The cell's file."""
        return self.folder / "cells" / f"{self.name}.json"

    def read(self) -> Cell | None:
        """Return what was measured before; None if nothing was, or if the file is damaged."""
        try:
            found = json.loads(self.path.read_text("utf-8"))
            cell: Cell = found["cell"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return cell

    def measure(self, device: str, progress: Report) -> Cell:
        """Train, measure and write the cell. A training that was interrupted continues from its last epoch.

        A training that diverges is a result: its cell says so and holds no numbers.

        Raises StorageError if the disk refuses.
        """
        run = self.folder / "trainings" / self.name
        try:
            cell = self._numbers(run, device, progress)
        except TrainingDiverged as error:
            cell = {"diverged": str(error).partition(" Or return")[0]}
        except StorageError as error:
            reason = str(error).partition(" Then resume")[0]
            raise StorageError(f"{reason} The cells measured so far are kept: run the same command again.") from error
        with written_aside(self.path) as new:
            new.write_text(json.dumps({"key": self.key, "cell": cell}, indent=1) + "\n", "utf-8", newline="")
        shutil.rmtree(run, ignore_errors=True)
        return cell

    def _numbers(self, run: Path, device: str, progress: Report) -> dict[str, Any]:
        job = self._job(run, device, progress)
        job.measure = False  # the study measures what it needs, and draws no report
        what = f"{self.arm.name}, seed {self.seed}"
        with closing(cast("Generator", iter(job))) as events:
            for event in events:
                if isinstance(event, StepDone):
                    progress(what, event.step, job.num_steps)
        classifier = Classifier.load(job.run.path / "model", device=device)
        data = self.data
        test = evaluate(classifier, data.test if data.test is not None else data.val, data="test")
        train = evaluate(classifier, data.train.sample(_MOST_MEASURED), data="train")
        epochs = job.run.metrics("epoch", "step", "train_loss", "train_accuracy", "val_accuracy", "seconds")
        cell: dict[str, Any] = {
            "parameters": sum(parameter.numel() for parameter in classifier.model.parameters()),
            "test_accuracy": test.top1,
            "test_loss": test.loss,
            "train_accuracy": train.top1,
            "train_loss": train.loss,
            "seconds": epochs[-1]["seconds"],
            "epochs": epochs,
        }
        if self.claim.probe:
            cell |= self.claim.probe(Trained(self._start(classifier), classifier, data))
        return cell

    def _start(self, classifier: Classifier) -> ConvNet:
        """The network as it was before its first step."""
        trained = classifier.model
        device = next(trained.parameters()).device
        generator = torch.Generator().manual_seed(self.seed)
        sizes = {"num_classes": trained.config.num_classes, "in_channels": trained.config.in_channels}
        return create(self.arm.model, generator=generator, device=device, **sizes, **self.arm.switches)

    def _job(self, run: Path, device: str, progress: Report) -> Job:
        if (run / "recipe.toml").is_file():
            try:
                return reopen(run, data=self.data, device=device, progress=progress)
            except WeightsError as error:
                logger.warning("%s Training this cell from the beginning.", error)
        shutil.rmtree(run, ignore_errors=True)  # ours, and stopped before it held anything
        return start(
            self.arm.model, self.data, recipe=Recipe(), settings=self.settings, out=run, device=device,
            progress=progress,
        )  # fmt: skip
