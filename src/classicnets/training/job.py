"""A training under way: iterate over a `Job`, and its run folder fills.

    fit ... -> checkpoints, best weights, metrics -> evaluate on the test images -> report

Iterating yields the events of `fit`, then `Finished`. What was done is in the run folder before an event is yielded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from classicnets.classifier import Classifier
from classicnets.data import Data
from classicnets.data.loader import steps_per_epoch
from classicnets.data.pack import Packed
from classicnets.errors import TrainingDiverged
from classicnets.evaluation import Report, evaluate, write_report
from classicnets.hardware import Precision
from classicnets.training.checkpoint import Checkpoint, save_checkpoint
from classicnets.training.distributed import Processes
from classicnets.training.loop import EpochDone, StepDone, TrainState, fit
from classicnets.training.recipe import Recipe
from classicnets.training.run import Run
from classicnets.training.stopping import StopRequests

_SOME_STEPS = 50  # after so many, a training that learns has a loss that shows it


@dataclass(frozen=True)
class Parts:
    """What a job works with, all made from the recipe, the data and the checkpoint alone."""

    train: Packed
    val: Packed
    test: Packed | None
    data: Data
    state: TrainState
    classifier: Classifier
    precision: Precision
    processes: Processes
    fingerprint: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Finished:
    """The training is over, its best classifier measured: `report`, and `page`, the HTML report.

    Measured on the test images, or on the validation images where there are no others.
    """

    run: Run
    report: Report
    page: Path


class Job:
    """A training under way. Iterate over it once; closing the iteration early keeps what was reached.

    Several processes iterate alike, over the same events; the one with `is_main` writes.

    `notes` say what was chosen before it began; `warnings` fills while it goes.
    """

    def __init__(
        self, run: Run, recipe: Recipe, parts: Parts, *, checkpoint_every: int | None, notes: Iterable[str]
    ) -> None:
        self.run = run
        self.recipe = recipe
        self.notes = (*notes, *parts.notes)
        self.num_steps = recipe.epochs * steps_per_epoch(len(parts.train.labels), recipe.batch_size)
        self.warnings: list[str] = []
        self.is_main = parts.processes.is_main
        self._parts = parts
        self._checkpoint_every = checkpoint_every

    def __iter__(self) -> Iterator[StepDone | EpochDone | Finished]:
        with self._parts.processes.connected():
            yield from self._train()
            yield self._finish()

    def _train(self) -> Iterator[StepDone | EpochDone]:
        parts, processes = self._parts, self._parts.processes
        processes.on_main(self._begin)
        at_rest = True
        with StopRequests(processes) as stop:
            try:
                for event in fit(
                    parts.state, parts.train, parts.val, parts.classifier, self.recipe, parts.precision, processes
                ):
                    at_rest = True
                    processes.on_main(partial(self._keep, event))
                    yield event
                    stop.obey()
                    at_rest = False
            except BaseException as stopped:
                if at_rest and not isinstance(stopped, Exception):
                    processes.on_main(self._keep_what_was_reached)
                if self.is_main:
                    self.run.log("stopped", step=parts.state.step, reason=type(stopped).__name__)
                raise

    def _begin(self) -> None:
        self.run.write_metrics(self._parts.state.history)
        self.run.log("started", step=self._parts.state.step, notes=self.notes)

    def _keep(self, event: StepDone | EpochDone) -> None:
        state = self._parts.state
        if isinstance(event, EpochDone):
            self._save_checkpoint()
            if state.improved:
                self._save_classifier()
            self.run.write_metrics(state.history)
            self.run.log("epoch", **asdict(event))
            first_look = event.step >= _SOME_STEPS > event.step * (event.epoch - 1) // event.epoch
            if first_look and (warning := stuck(event, len(self._parts.data.classes), self.recipe)):
                self.warnings.append(warning)
                self.run.log("warning", text=warning)
        elif self._checkpoint_every and event.step % self._checkpoint_every == 0:
            self._save_checkpoint()

    def _keep_what_was_reached(self) -> None:
        """After Ctrl-C or SIGTERM: a checkpoint to go on from, and a classifier even in the first epoch."""
        self._save_checkpoint()
        if not self._parts.state.history:
            self._save_classifier()

    def _save_checkpoint(self) -> None:
        state, preprocess = self._parts.state, self._parts.classifier.preprocess
        tensors = state.tensors()
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise TrainingDiverged(
                f"Weights are no longer finite after step {state.step}; the checkpoint before it stands. "
                f"Try a lower rate (--set optim.lr={self.recipe.optim.lr / 4:.3g}) or --set optim.clip_norm=1."
            )
        trainer = {**state.trainer(), "fingerprint": self._parts.fingerprint, "preprocess": preprocess.to_dict()}
        save_checkpoint(self.run.path / "checkpoints", state.step, Checkpoint(tensors, trainer))

    def _save_classifier(self) -> None:
        state, classifier = self._parts.state, self._parts.classifier
        reached = {"step": state.step, "epochs": len(state.history), "seconds": round(state.seconds, 1)}
        if state.history:
            best = max(state.history, key=lambda row: (row.val_accuracy, row.epoch))
            reached |= {"best_epoch": best.epoch, "val_accuracy": best.val_accuracy}
        classifier.provenance["training"] = reached | {"recipe": self.recipe.model_dump(mode="json")}
        classifier.model = state.evaluated
        classifier.save(self.run.path / "model")

    def _finish(self) -> Finished:
        """Measure the best epoch's classifier on the test images, and write the report."""
        processes, data = self._parts.processes, self._parts.data
        best = processes.on_main(lambda: self.run.classifier)
        best.model.to(self._parts.precision.device)
        if data.test is not None and self._parts.test is not None:
            part, images, packed = "test", data.test, self._parts.test
        else:
            part, images, packed = "validation", data.val, self._parts.val
            self.warnings.append("These images chose the best epoch, for want of test images: expect less on new ones.")
        logits = processes.logits(best, packed.images)
        report = evaluate(best, images, packed=packed, logits=logits, data=f"{data.name} {part}")

        def write() -> Path:
            best.provenance["metrics"] = report.headline()
            best.save(self.run.path / "model")
            page = write_report(self.run.path, report, images)
            self.run.log("finished", **report.headline())
            return page

        return Finished(self.run, report, processes.on_main(write))


def stuck(row: EpochDone, num_classes: int, recipe: Recipe) -> str | None:
    """A warning where training has taught nothing: the classic failure of these networks, at ln(classes)."""
    chance = math.log(num_classes)
    if row.train_loss < 0.97 * chance or row.train_accuracy > 1.5 / num_classes:
        return None
    return (
        f"After {row.step} steps the loss is {row.train_loss:.3f}, and knowing nothing costs ln({num_classes}) = "
        f"{chance:.3f}: nothing is learned. Usually the rate is too high: try --set "
        f"optim.lr={recipe.optim.lr / 10:.3g}, or a variant with batch norm."
    )
