"""`Job`: a training that runs while you iterate over it, and writes its run folder.

    fit ... -> checkpoints, best weights, metrics -> with data.refit: fit again
        -> calibrate on the validation images -> evaluate on the test images -> report

Iterating yields the events of `fit`, with `data.refit` also `Refitting` and those of a second `fit`, then `Finished`.
An event is yielded after its results are in the run folder.
"""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from classicnets.classifier import Classifier
from classicnets.data.record import write_record
from classicnets.errors import ConfigError, StorageError, TrainingDiverged
from classicnets.evaluation import Report, evaluate
from classicnets.evaluation.best import words_of
from classicnets.evaluation.calibration import Temperature
from classicnets.evaluation.trust import with_temperature_only
from classicnets.reports import write_report
from classicnets.system.devices import fast_training
from classicnets.system.threads import threads_kept
from classicnets.training.recipe.schema import Recipe
from classicnets.training.run.calibrate import TRAINED_ON, all_outputs, calibrated, first_temperature
from classicnets.training.run.checkpoint import Checkpoint, newest_checkpoint, save_checkpoint
from classicnets.training.run.folder import Run
from classicnets.training.run.pace import threads_for, work_of_step
from classicnets.training.run.prepare import Prepared
from classicnets.training.run.refit import Refitting, prepare_refit
from classicnets.training.run.shortage import shortage_explained
from classicnets.training.run.stopping import StopRequests
from classicnets.training.step.compiled import is_compile_error, without_compiler
from classicnets.training.step.diagnose import diverged, stuck
from classicnets.training.step.loop import fit, read
from classicnets.training.step.state import EpochDone, StepDone

_REFIT = "trained again on training and validation images; best epoch and val accuracy are of the first training"
_MOST_ROLLBACKS = 3
_SOME_STEPS = 50  # after this many steps, the loss shows whether the network learns


@dataclass(frozen=True)
class Finished:
    """The last event of a job: the training is over and its best classifier is measured.

    Attributes:
        run: the run folder.
        report: the evaluation on the test images, or on the validation images if there are no test images.
        page: the path of the HTML report.
    """

    run: Run
    report: Report
    page: Path


class Job:
    """A training. Iterate over it once to run it. If you stop iterating early, the progress so far is saved.

    If several processes train together, each iterates over the same events.

    Attributes:
        run: the run folder.
        recipe: the resolved recipe.
        notes: what was chosen, one sentence each; threads are chosen while the training goes.
        warnings: problems found so far, one sentence each. Only the main process collects them.
        num_steps: optimizer steps in the whole run, without those of `data.refit`.
        is_main: whether this process writes the run folder.
        measure: set it to False to end after the last epoch, without `data.refit` and without using the test images.
            Resuming the run later does both.

    Iterating raises Locked if another process trains the run, ConfigError if one has trained it since this job was
    prepared, TrainingDiverged if the loss is not finite, OutOfMemory if memory runs out, and StorageError if the run
    folder cannot be written.

    `start` and `reopen` create jobs.

    Args:
        run: the run folder.
        recipe: the resolved recipe.
        prepared: the session, state and data to train with.
        checkpoint_every: also save a checkpoint within an epoch, every so many steps; None saves after epochs only.
        notes: what was chosen so far, one sentence each.
        changed: whether recipe or data differ from the newest checkpoint.
        threads: a number of CPU threads, "auto" to measure it again, or None to keep what is recorded.

    >>> for event in start("resnet20_cifar", "digits"): ...
    """

    measure = True

    def __init__(
        self,
        run: Run,
        recipe: Recipe,
        prepared: Prepared,
        *,
        checkpoint_every: int | None,
        notes: Iterable[str],
        changed: bool = False,
        threads: int | Literal["auto"] | None = None,
    ) -> None:
        self.run = run
        self.recipe = recipe
        self.notes = [*notes, *prepared.notes]
        self.num_steps = recipe.epochs * len(prepared.session.loader)
        self.warnings: list[str] = []
        self.is_main = prepared.session.processes.is_main
        self._session = prepared.session
        self._state = prepared.state
        self._prepared = prepared
        self._checkpoint_every = checkpoint_every
        self._threads = threads
        self._changed = changed  # whether recipe or data differ from the newest checkpoint
        self._at_rest = False  # whether the state is between two steps and can be saved
        self._reached: dict[str, Any] | None = None
        self._place = run  # where checkpoints, metrics and threads of the training under way are kept
        self._best: EpochDone | None = None  # the best epoch of the first training, during the second
        self._temperature: Temperature | None = None  # that of the first training's classifier, during the second
        self._seen = self._session.processes.on_main(lambda: len(run.events))
        self._goes_on = self._seen > 0

    def __iter__(self) -> Iterator[StepDone | EpochDone | Refitting | Finished]:
        processes, run = self._session.processes, self.run
        precision = self._session.precision
        explained = shortage_explained(self.recipe, precision.device, run.path)
        with processes.connected(), explained, fast_training(precision), threads_kept(), ExitStack() as stack:
            processes.on_main(lambda: stack.enter_context(self._locked()))
            if processes.on_main(self._is_complete):
                yield Finished(run, processes.on_main(lambda: run.report), run.page)
                return
            try:
                processes.on_main(self._begin)
                yield from self._train()
                processes.on_main(self._say_if_early)
                if self.measure and self.recipe.data.refit:
                    yield self._begin_refit()
                    yield from self._train()
                    processes.on_main(self._save_classifier)
                if self.measure:
                    yield self._finish()
                else:
                    processes.on_main(lambda: run.log("stopped", step=self._step, reason="measure is False"))
            except StorageError as error:
                go_on = f"classicnets train --resume {shlex.quote(str(run.path))}"
                raise StorageError(f"{error} Then resume with: {go_on}") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the run. Raises ConfigError if another process has trained it since this job was prepared."""
        with self.run.locked():
            if len(self.run.events) != self._seen:
                raise ConfigError(
                    f"{self.run.path} has been trained by another process since this job was prepared. Continuing from "
                    f"here would overwrite its progress. Resume the run again: "
                    f"classicnets train --resume {shlex.quote(str(self.run.path))}"
                )
            try:
                yield
            finally:
                self._seen = len(self.run.events)

    def _is_complete(self) -> bool:
        """Whether the run is finished and its report is still there."""
        return (
            self.run.finished and (self.run.path / "evaluation" / "report.json").is_file() and self.run.page.is_file()
        )

    @property
    def _step(self) -> int:
        return self._state.step

    def _begin(self) -> None:
        """Write the files that a killed process may not have written."""
        state = self._state
        host = {"pid": os.getpid(), "host": platform.node()}
        self.run.log("started", step=state.step, **host, notes=self.notes)
        self.run.write_skipped(self._prepared.data.skipped)
        if not self.run.record.exists():
            write_record(self.run.record, self._prepared.data)
        if self.recipe.data.corrections:
            self.run.keep_corrections(self.recipe.data.corrections)
        self.run.write_metrics(state.history)
        if state.history and state.improved and not state.tally.images:
            self._save_classifier()
        if self._changed or (self.recipe.on_nan == "rollback" and state.step == 0):
            self._save_checkpoint()

    def _begin_refit(self) -> Refitting:
        """From here on, train a new network on training and validation images, or go on where it was left."""
        self._temperature = first_temperature(
            self._session.processes.on_main(lambda: self.run.classifier), self._session
        )
        processes, best, place = self._session.processes, self._state.best_epoch, self.run.refit
        found, _ = processes.on_main(lambda: newest_checkpoint(place.path / "checkpoints"))
        self._prepared = processes.main_first(lambda: prepare_refit(self._prepared, self.recipe, best.epoch, found))
        self._session, self._state, self._place, self._best = (
            self._prepared.session, self._prepared.state, place, best
        )  # fmt: skip
        self._at_rest, self._reached = False, None
        self._goes_on = processes.on_main(lambda: bool(place.events))
        begun = Refitting(
            epochs=best.epoch, num_steps=best.epoch * len(self._session.loader),
            num_images=len(self._session.loader.packed), step=self._step,
        )  # fmt: skip
        self.notes.append(str(begun))

        def write() -> None:
            place.write_metrics(self._state.history)  # creates the folder
            self.run.log("refit", epochs=best.epoch, images=begun.num_images, step=begun.step)
            if self.recipe.on_nan == "rollback" and self._step == 0:
                self._save_checkpoint()

        processes.on_main(write)
        return begun

    def _train(self) -> Iterator[StepDone | EpochDone]:
        processes = self._session.processes
        with StopRequests(processes) as stop:
            try:
                for event in self._kept_events():
                    stop.at_once = False
                    self._at_rest, self._reached = True, None
                    yield event
                    stop.obey()
                    # After an epoch's last step comes its validation. It changes nothing, so it can stop at once.
                    self._at_rest = isinstance(event, StepDone) and event.step % len(self._session.loader) == 0
                    self._reached = self._state.trainer() if self._at_rest else None
                    stop.at_once = self._at_rest
            except BaseException as stopped:
                stop.at_once = False
                if self._at_rest and not isinstance(stopped, Exception):
                    processes.on_main(self._save_progress)
                if self.is_main:
                    self.run.log("stopped", step=self._step, reason=type(stopped).__name__)
                raise

    def _kept_events(self) -> Iterator[StepDone | EpochDone]:
        """Yield the events of `fit`, each after it is saved. If training diverges, restart from a checkpoint."""
        work = partial(work_of_step, self._session, self._state)
        threads = threads_for(
            self._place, self._session, self._state.step, given=self._threads, goes_on=self._goes_on,
            note=self.notes.append, warn=self._warn,
        )  # fmt: skip
        while True:
            try:
                for event in threads.paced(fit(self._session, self._state), self._state, work):
                    self._session.processes.on_main(partial(self._keep, event))
                    yield event
                return
            except TrainingDiverged as error:
                self._go_back(error)
            except RuntimeError as error:
                if not (self._session.compiles and is_compile_error(error)):
                    raise
                self._session = replace(self._session, compiles=False)
                self._warn(without_compiler(error))

    def _go_back(self, error: TrainingDiverged) -> None:
        """Restore the newest valid checkpoint and lower the rate if `on_nan` is "rollback"; else raise `error`."""
        state, processes = self._state, self._session.processes
        if self.recipe.on_nan == "stop":
            go_on = f"classicnets train --resume {shlex.quote(str(self.run.path))} --on-nan rollback"
            raise TrainingDiverged(
                f"{error} Or return to a checkpoint and continue at a lower rate: {go_on}"
            ) from error
        if state.rollbacks == _MOST_ROLLBACKS:
            raise error
        self._at_rest = False
        rollbacks = state.rollbacks + 1
        checkpoint, notes = processes.on_main(lambda: newest_checkpoint(self._place.path / "checkpoints"))
        if checkpoint is None:
            raise error
        state.restore(checkpoint.tensors, checkpoint.trainer)
        state.rollbacks = rollbacks

        def write() -> None:
            self._save_checkpoint()  # so that the lower rate survives a kill
            self._place.write_metrics(state.history)
            self.run.log("rollback", step=state.step, rate=state.rate, reason=str(error))
            self._warn(
                f"{error} Returned to step {state.step} and continued at {state.rate:g} of the rate "
                f"(rollback {rollbacks} of at most {_MOST_ROLLBACKS}). {' '.join(notes)}".rstrip()
            )

        processes.on_main(write)

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self.run.log("warning", text=text)

    def _keep(self, event: StepDone | EpochDone) -> None:
        state = self._state
        if isinstance(event, EpochDone):
            self._save_checkpoint()
            if state.improved and not self._best:
                self._save_classifier()
            self._place.write_metrics(state.history)
            if not self._best:
                self._log_epoch(event)
        elif self._checkpoint_every and event.step % self._checkpoint_every == 0:
            self._save_checkpoint()

    def _log_epoch(self, epoch: EpochDone) -> None:
        self.run.log("epoch", **asdict(epoch))
        steps_before = epoch.step * (epoch.epoch - 1) // epoch.epoch
        if steps_before < _SOME_STEPS <= epoch.step:
            self._warn_if_stuck(epoch)

    def _warn_if_stuck(self, epoch: EpochDone) -> None:
        num_classes = len(self._prepared.data.classes)
        warning = stuck(
            epoch.train_loss, epoch.train_accuracy, num_classes, epoch.step, self.recipe, self._state.model
        )  # fmt: skip
        if warning:
            self._warn(warning)

    def _save_progress(self) -> None:
        """After Ctrl-C or SIGTERM: save a checkpoint, and in the first epoch a classifier too."""
        self._save_checkpoint(self._reached)
        if not (self._state.history or self._best):
            self._save_classifier()

    def _save_checkpoint(self, trainer: dict[str, Any] | None = None) -> None:
        """Save the state. `trainer` is the state's `trainer()` if it was taken earlier."""
        state = self._state
        read(self._session, state)
        tensors = state.tensors()
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise diverged(f"The weights are not finite after step {state.step}.", self.recipe)
        trainer = {
            **(trainer or state.trainer()),
            "identity": self._prepared.identity,
            "preprocess": self._session.preprocess.to_dict(),
        }
        save_checkpoint(self._place.path / "checkpoints", state.step, Checkpoint(tensors, trainer))

    def _save_classifier(self) -> None:
        state, card = self._state, self._session.validation.card
        reached: dict[str, Any] = {"step": state.step, "epochs": len(state.history), "seconds": round(state.seconds, 1)}
        if state.history:
            best = self._best or state.best_epoch
            reached |= {"best_epoch": best.epoch, "val_accuracy": best.val_accuracy}
        if self._best:
            reached["refit"] = _REFIT
        training = reached | {"recipe": self.recipe.model_dump(mode="json")}
        card = replace(card, provenance={**card.provenance, "training": training})
        if self._temperature:
            card = with_temperature_only(card, self._temperature, TRAINED_ON)
        Classifier.of(card, state.validated_model).save(self.run.path / "model")

    def _finish(self) -> Finished:
        """Measure the best epoch's classifier on the test images, and write the report."""
        processes, data = self._session.processes, self._prepared.data
        best = processes.on_main(lambda: self.run.classifier)
        best.model.to(self._session.precision.device)
        if not self._best:
            best = calibrated(best, self._session, data)
        if data.test is not None and self._prepared.test is not None:
            part, images, packed = "test", data.test, self._prepared.test
        else:
            part, images, packed = "validation", data.val, self._session.validation.packed
            chose = " They also chose the best epoch, so expect a lower accuracy on new images."
            self.warnings.append(
                "The data has no test images, so the accuracy is measured on the validation images."
                f"{'' if self.recipe.best == 'last' else chose}"
            )
        logits, novelty = all_outputs(best, packed.images, processes)
        report = evaluate(best, images, packed=packed, logits=logits, novelty=novelty, data=f"{data.name} {part}")

        def write() -> Path:
            measured = replace(best.card, provenance={**best.card.provenance, "metrics": report.headline()})
            Classifier.of(measured, best.model, best.novelty_score).save(self.run.path / "model")
            page = write_report(self.run.path, report, images)
            self.run.log("finished", **report.headline())
            return page

        return Finished(self.run, report, processes.on_main(write))

    def _say_if_early(self) -> None:
        state, epochs = self._state, self.recipe.epochs
        if len(state.history) < epochs:
            self.warnings.append(
                f"Stopped after epoch {len(state.history)} of {epochs}: validation "
                f"{words_of(self.recipe.best)} has not improved since epoch {state.best_reached} "
                f"(patience = {self.recipe.patience})."
            )
            self.run.log("stopped_early", epoch=len(state.history), best_epoch=state.best_epoch.epoch)
