"""A training under way: iterate over a `Job`, and its run folder fills.

    fit ... -> checkpoints, best weights, metrics -> evaluate on the test images -> report

Iterating yields the events of `fit`, then `Finished`. What was done is in the run folder before an event is yielded.
"""

from __future__ import annotations

import math
import os
import platform
import shlex
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from classicnets.classifier import Classifier
from classicnets.data.record import write_record
from classicnets.errors import ConfigError, StorageError, TrainingDiverged
from classicnets.evaluation import Report, evaluate
from classicnets.reports import write_report
from classicnets.system.memory import memory_kept
from classicnets.system.threads import FROM_ENVIRONMENT, most_threads, threads_kept
from classicnets.training.recipe.schema import Recipe
from classicnets.training.run.checkpoint import Checkpoint, newest_checkpoint, save_checkpoint
from classicnets.training.run.folder import Run
from classicnets.training.run.prepare import Prepared
from classicnets.training.run.stopping import StopRequests
from classicnets.training.scale.threads import Threads, Used, asked_for, planned, recorded
from classicnets.training.step.diagnose import diverged, stuck
from classicnets.training.step.loop import fit, image_size_at
from classicnets.training.step.state import EpochDone, StepDone

_MOST_ROLLBACKS = 3
_SOME_STEPS = 50  # after so many, a training that learns has a loss that shows it


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

    `notes` say what was chosen, `warnings` what is probably wrong; both fill while it goes. With `measure` set to
    False, it ends after the last epoch and the test images stay unseen; to resume the run measures it.
    Several processes iterate alike, over the same events; the one with `is_main` writes, and has the warnings.
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
        self._changed = changed  # the run goes on otherwise than its newest checkpoint says
        self._steps_per_epoch = self.num_steps // recipe.epochs
        self._at_rest = False  # whether the state is between two steps, and can be kept
        self._reached: dict[str, Any] | None = None
        self._seen = self._session.processes.on_main(lambda: len(run.events))
        self._goes_on = self._seen > 0

    def __iter__(self) -> Iterator[StepDone | EpochDone | Finished]:
        processes, run = self._session.processes, self.run
        kept = memory_kept(self._session.precision.dtype)
        with processes.connected(), kept, threads_kept(), ExitStack() as stack:
            processes.on_main(lambda: stack.enter_context(self._locked()))
            if processes.on_main(self._is_complete):
                yield Finished(run, processes.on_main(lambda: run.report), run.page)
                return
            try:
                processes.on_main(self._begin)
                yield from self._train()
                processes.on_main(self._say_if_early)
                if self.measure:
                    yield self._finish()
                else:
                    processes.on_main(lambda: run.log("stopped", step=self._step, reason="not to be measured"))
            except StorageError as error:
                go_on = f"classicnets train --resume {shlex.quote(str(run.path))}"
                raise StorageError(f"{error} Then go on with: {go_on}") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from the run. Raises ConfigError if one has trained it since this job was prepared."""
        with self.run.locked():
            if len(self.run.events) != self._seen:
                raise ConfigError(
                    f"{self.run.path} has been trained by another process since this job was prepared: going on from "
                    f"here would lose what that one did. Resume the run again: "
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
        """Write what the state says, and a kill may have left unwritten."""
        state = self._state
        host = {"pid": os.getpid(), "host": platform.node()}
        self.run.log("started", step=state.step, **host, notes=self.notes)
        self.run.write_skipped(self._prepared.data.skipped)
        if not self.run.record.exists():
            write_record(self.run.record, self._prepared.data)
        self.run.write_metrics(state.history)
        if state.history and state.improved and not state.tally.images:
            self._save_classifier()
        if self._changed or (self.recipe.on_nan == "rollback" and state.step == 0):
            self._save_checkpoint()

    def _train(self) -> Iterator[StepDone | EpochDone]:
        processes = self._session.processes
        with StopRequests(processes) as stop:
            try:
                for event in self._kept_events():
                    stop.at_once = False
                    self._at_rest, self._reached = True, None
                    yield event
                    stop.obey()
                    # After an epoch's last step comes its validation, which changes nothing: that can be left at once.
                    self._at_rest = isinstance(event, StepDone) and event.step % self._steps_per_epoch == 0
                    self._reached = self._state.trainer() if self._at_rest else None
                    stop.at_once = self._at_rest
            except BaseException as stopped:
                stop.at_once = False
                if self._at_rest and not isinstance(stopped, Exception):
                    processes.on_main(self._keep_what_was_reached)
                if self.is_main:
                    self.run.log("stopped", step=self._step, reason=type(stopped).__name__)
                raise

    def _kept_events(self) -> Iterator[StepDone | EpochDone]:
        """The events of `fit`, what was done kept in the run; where numbers go wrong, from a checkpoint again."""
        threads = self._paced_by()
        while True:
            try:
                for event in threads.paced(fit(self._session, self._state), self._state, self._work):
                    self._session.processes.on_main(partial(self._keep, event))
                    yield event
                return
            except TrainingDiverged as error:
                self._go_back(error)

    def _paced_by(self) -> Threads:
        """What decides how many threads compute which step: what was given, what is recorded, or measurements."""
        processes, now = self._session.processes, torch.get_num_threads()
        measurable = processes.world == 1 and self._session.precision.device.type == "cpu"
        given = self._threads
        if given is None and FROM_ENVIRONMENT in os.environ:
            given = now
        plan = processes.on_main(lambda: recorded(self.run.events))
        at_first = processes.on_main(lambda: self.run.environment.get("threads", now))
        before = planned(plan, self._step) if plan else at_first
        if not plan and not measurable:
            plan = [Used(0, now, "fixed")]
        elif not plan and (isinstance(given, int) or self._goes_on):
            plan = [Used(0, at_first, "fixed")]  # a run that has no record used this number throughout
        asked = asked_for(given, plan, self._step) if measurable or given != "auto" else None
        if asked is not None:
            plan = [*(used for used in plan if used.step < asked.step), asked]
            processes.on_main(lambda: self._record_threads(asked))
        used = planned(plan, self._step) if plan else before
        if self._goes_on and used != before:
            self.notes.append(f"threads was {before} and is {used}: the last bits may differ.")
        return Threads(plan, most_threads(), self._session.batch_size, self._record_threads, self._say_threads)

    def _record_threads(self, used: Used) -> None:
        self.run.log("threads", **asdict(used))

    def _say_threads(self, text: str, warning: bool) -> None:
        if warning:
            self._warn(text)
        else:
            self.notes.append(text)

    def _work(self) -> float:
        """How much there is to do in a step of the epoch under way, as a share of one at full image size."""
        state, full = self._state, self._session.preprocess.input_size
        done = len(state.history) / self.recipe.epochs
        size = image_size_at(self.recipe.progressive, full, done, state.model.config.min_size)
        return math.prod(size) / math.prod(full)

    def _go_back(self, error: TrainingDiverged) -> None:
        """Restore the newest whole checkpoint and lower the rate, for `on_nan = "rollback"`; else raise `error`."""
        state, processes = self._state, self._session.processes
        if self.recipe.on_nan == "stop":
            go_on = f"classicnets train --resume {shlex.quote(str(self.run.path))} --on-nan rollback"
            raise TrainingDiverged(f"{error} Or go back to a checkpoint, and on at a lower rate: {go_on}") from error
        if state.rollbacks == _MOST_ROLLBACKS:
            raise error
        self._at_rest = False
        rollbacks = state.rollbacks + 1
        checkpoint, notes = processes.on_main(lambda: newest_checkpoint(self.run.path / "checkpoints"))
        if checkpoint is None:
            raise error
        state.restore(checkpoint.tensors, checkpoint.trainer)
        state.rollbacks = rollbacks

        def write() -> None:
            self._save_checkpoint()  # so that a run killed from here on has the lower rate too
            self.run.write_metrics(state.history)
            self.run.log("rollback", step=state.step, rate=state.rate, reason=str(error))
            self._warn(
                f"{error} Went back to step {state.step}, and on with {state.rate:g} of the rate "
                f"({rollbacks} of at most {_MOST_ROLLBACKS} times). {' '.join(notes)}".rstrip()
            )

        processes.on_main(write)

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self.run.log("warning", text=text)

    def _keep(self, event: StepDone | EpochDone) -> None:
        state = self._state
        if isinstance(event, EpochDone):
            self._save_checkpoint()
            if state.improved:
                self._save_classifier()
            self.run.write_metrics(state.history)
            self.run.log("epoch", **asdict(event))
            first_look = event.step >= _SOME_STEPS > event.step * (event.epoch - 1) // event.epoch
            learned = (event.train_loss, event.train_accuracy, len(self._prepared.data.classes))
            if first_look and (warning := stuck(*learned, event.step, self.recipe, state.model)):
                self._warn(warning)
        elif self._checkpoint_every and event.step % self._checkpoint_every == 0:
            self._save_checkpoint()

    def _keep_what_was_reached(self) -> None:
        """After Ctrl-C or SIGTERM: a checkpoint to go on from, and a classifier even in the first epoch."""
        self._save_checkpoint(self._reached)
        if not self._state.history:
            self._save_classifier()

    def _save_checkpoint(self, trainer: dict[str, Any] | None = None) -> None:
        """Save the state; `trainer` is its plain part where that was taken before."""
        state = self._state
        tensors = state.tensors()
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise diverged(f"Weights are no longer finite after step {state.step}.", self.recipe)
        trainer = {
            **(trainer or state.trainer()),
            "identity": self._prepared.identity,
            "preprocess": self._session.preprocess.to_dict(),
        }
        save_checkpoint(self.run.path / "checkpoints", state.step, Checkpoint(tensors, trainer))

    def _save_classifier(self) -> None:
        state, card = self._state, self._session.validation.card
        reached = {"step": state.step, "epochs": len(state.history), "seconds": round(state.seconds, 1)}
        if state.history:
            best = state.best_epoch
            reached |= {"best_epoch": best.epoch, "val_accuracy": best.val_accuracy}
        training = reached | {"recipe": self.recipe.model_dump(mode="json")}
        card = replace(card, provenance={**card.provenance, "training": training})
        Classifier.of(card, state.validated_model).save(self.run.path / "model")

    def _finish(self) -> Finished:
        """Measure the best epoch's classifier on the test images, and write the report."""
        processes, data = self._session.processes, self._prepared.data
        best = processes.on_main(lambda: self.run.classifier)
        best.model.to(self._session.precision.device)
        if data.test is not None and self._prepared.test is not None:
            part, images, packed = "test", data.test, self._prepared.test
        else:
            part, images, packed = "validation", data.val, self._session.validation.packed
            self.warnings.append("These images chose the best epoch, for want of test images: expect less on new ones.")
        logits = processes.rows(best.logits(packed.images[processes.shard.of(len(packed))]), len(packed))
        report = evaluate(best, images, packed=packed, logits=logits, data=f"{data.name} {part}")

        def write() -> Path:
            measured = replace(best.card, provenance={**best.card.provenance, "metrics": report.headline()})
            Classifier.of(measured, best.model).save(self.run.path / "model")
            page = write_report(self.run.path, report, images)
            self.run.log("finished", **report.headline())
            return page

        return Finished(self.run, report, processes.on_main(write))

    def _say_if_early(self) -> None:
        state, epochs = self._state, self.recipe.epochs
        if len(state.history) < epochs:
            self.warnings.append(
                f"Stopped after epoch {len(state.history)} of {epochs}: since epoch {state.best_reached} none had "
                f"a better validation {self.recipe.best.replace('_', ' ')} (patience = {self.recipe.patience})."
            )
            self.run.log("stopped_early", epoch=len(state.history), best_epoch=state.best_epoch.epoch)
