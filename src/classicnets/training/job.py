"""A training from its first image to its report: `start` or `resume` one, and iterate over it.

    load data -> pack -> model -> fit ... -> best weights -> evaluate on the test images -> report

Iterating yields the events of `fit`, then `Finished`. What was done is in the run folder before an event is yielded.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

import classicnets
from classicnets.classifier import Classifier
from classicnets.data import Data, load_data
from classicnets.data.check import quick_check
from classicnets.data.imageset import ImageSet
from classicnets.data.loader import steps_per_epoch
from classicnets.data.pack import Packed, channel_stats, pack_data
from classicnets.errors import DataError
from classicnets.evaluation import Report, evaluate, write_report
from classicnets.hardware import Precision, choose_device
from classicnets.images import image_size
from classicnets.models.catalog import create
from classicnets.models.contract import NetConfig
from classicnets.preprocess import Preprocess
from classicnets.training.checkpoint import Checkpoint, newest_checkpoint, save_checkpoint
from classicnets.training.loop import EpochDone, StepDone, TrainState, fit
from classicnets.training.recipe import Recipe, choose_recipe, load_recipe, with_settings
from classicnets.training.run import Run
from classicnets.training.stopping import StopRequests
from classicnets.weights import pretrained

_NAMES = {"train": "training", "val": "validation", "test": "test"}

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Finished:
    """The training is over, its best classifier measured: `report` on the test images, `page` the HTML report."""

    run: Run
    report: Report
    page: Path


class Job:
    """A training under way. Iterate over it once; closing the iteration early keeps what was reached."""

    def __init__(
        self, run: Run, recipe: Recipe, parts: _Parts, *, checkpoint_every: int | None, notes: Iterable[str]
    ) -> None:
        self.run = run
        self.recipe = recipe
        self.notes = (*notes, *parts.notes)
        self.num_steps = recipe.epochs * steps_per_epoch(len(parts.train.labels), recipe.batch_size)
        self._parts = parts
        self._checkpoint_every = checkpoint_every

    def __iter__(self) -> Iterator[StepDone | EpochDone | Finished]:
        p = self._parts
        self.run.log("started", step=p.state.step, notes=self.notes)
        with StopRequests() as stop:
            try:
                for event in fit(p.state, p.train, p.val, p.classifier, self.recipe, p.precision):
                    self._keep(event)
                    yield event
                    stop.obey()
            except BaseException as stopped:
                self._keep_what_was_reached(stopped)
                raise
        yield self._finish()

    def _keep(self, event: StepDone | EpochDone) -> None:
        if isinstance(event, EpochDone):
            if self._parts.state.improved:
                self._save_classifier()
            self._save_checkpoint()
            self.run.write_metrics(self._parts.state.history)
            self.run.log("epoch", **asdict(event))
        elif self._checkpoint_every and event.step % self._checkpoint_every == 0:
            self._save_checkpoint()

    def _keep_what_was_reached(self, stopped: BaseException) -> None:
        """After Ctrl-C or SIGTERM: a checkpoint to go on from, and a classifier even in the first epoch."""
        self.run.log("stopped", step=self._parts.state.step, reason=type(stopped).__name__)
        if isinstance(stopped, Exception):  # an error: the last checkpoint stands, what is in memory is not trusted
            return
        self._save_checkpoint()
        if not self._parts.state.history:
            self._save_classifier()

    def _save_checkpoint(self) -> None:
        state = self._parts.state
        checkpoint = Checkpoint(state.tensors(), {**state.trainer(), "fingerprint": self._parts.fingerprint})
        save_checkpoint(self.run.path / "checkpoints", state.step, checkpoint)

    def _save_classifier(self, report: Report | None = None) -> None:
        history = self._parts.state.history
        reached = {
            "step": self._parts.state.step,
            "epochs": len(history),
            "seconds": round(self._parts.state.seconds, 1),
        }
        if history:
            best = max(history, key=lambda row: (row.val_accuracy, row.epoch))
            reached |= {"best_epoch": best.epoch, "val_accuracy": best.val_accuracy}
        self._parts.classifier.provenance["training"] = reached | {"recipe": self.recipe.model_dump(mode="json")}
        if report is not None:
            self._parts.classifier.provenance["metrics"] = report.headline()
        self._parts.classifier.model = self._parts.state.evaluated
        self._parts.classifier.save(self.run.path / "model")

    def _finish(self) -> Finished:
        """Measure the best epoch's classifier on the test images, and write the report."""
        best = self.run.classifier
        best.model.to(self._parts.precision.device)
        data = self._parts.data
        part, images = ("test", data.test) if data.test else ("validation", data.val)
        report = evaluate(best, images, data=f"{data.name} {part}")
        best.provenance["metrics"] = report.headline()
        best.save(self.run.path / "model")
        page = write_report(self.run.path, report, images)
        self.run.log("finished", **report.headline())
        return Finished(self.run, report, page)


def start(
    model: str,
    data: str | Path | Data,
    *,
    recipe: str | Path | Recipe | None = None,
    settings: Iterable[str] = (),
    out: str | Path | None = None,
    device: str = "auto",
    checkpoint_every: int | None = None,
    progress: Progress | None = None,
) -> Job:
    """Prepare a training of the catalog's `model` on `data` from the beginning, and make its run folder.

    `recipe` is a Recipe, a shipped name or a file; None chooses one by the data and says why in `Job.notes`.
    `settings` are `key=value` changes to it. `out` is the run folder, `runs/MODEL-DATA` if None; a number is appended
    where it exists. `checkpoint_every` is in steps, beside the checkpoint after each epoch.
    Raises UnknownName, ConfigError, DataError, WeightsError or StorageError; then no folder was made.
    """
    settings = list(settings)
    given = recipe if isinstance(recipe, Recipe) else None if recipe is None else load_recipe(recipe)
    draft = with_settings(given or Recipe(), settings)
    config = create(model, device="meta", **draft.model.switches).config
    loaded = data if isinstance(data, Data) else _load(str(data), draft)
    size = draft.image_size or _natural_size(loaded.train, config)
    notes = [*quick_check(loaded), f"{loaded.split}"]
    if given is None:
        name, reason = choose_recipe(num_train=len(loaded.train), image_size=size)
        draft = with_settings(load_recipe(name), settings)
        notes.append(f"recipe {name!r}: {reason}")
    resolved = draft.model_copy(
        update={
            "image_size": size,
            "model": draft.model.model_copy(update={"name": model, "weights": _absolute(draft.model.weights)}),
            "data": draft.data.model_copy(update={"source": loaded.source}),
        }
    )
    parts = _prepare(resolved, loaded, choose_device(device), progress)
    path = Path(out) if out is not None else Path("runs") / f"{model}-{loaded.name}"
    run = Run.create(path, resolved, parts.precision.name)
    run.write_skipped(parts.data.skipped)
    return Job(run, resolved, parts, checkpoint_every=checkpoint_every, notes=notes)


def resume(
    run: str | Path | Run,
    *,
    device: str = "auto",
    checkpoint_every: int | None = None,
    progress: Progress | None = None,
) -> Job:
    """Go on with a run from its newest whole checkpoint, with its own recipe and data; on the CPU, bit for bit.

    Raises ConfigError where there is no run, DataError where its data is no longer what it was.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    recipe = run.recipe
    parts = _prepare(recipe, _load(recipe.data.source, recipe), choose_device(device), progress)
    checkpoint, notes = newest_checkpoint(run.path / "checkpoints")
    if checkpoint is None:
        notes.append("No checkpoint yet: starting from the beginning.")
    elif checkpoint.trainer["fingerprint"] != parts.fingerprint:
        raise DataError(
            f"The images at {recipe.data.source} are not those that {run.path} was trained on. "
            f"Bring them back, or start a new run."
        )
    else:
        parts.state.restore(checkpoint.tensors, checkpoint.trainer)
        notes.append(f"Going on after step {parts.state.step}, epoch {len(parts.state.history)} of {recipe.epochs}.")
    return Job(run, recipe, parts, checkpoint_every=checkpoint_every, notes=notes)


def train(model: str, data: str | Path | Data, *, epochs: int | None = None, **options: Any) -> Run:
    """Train the catalog's `model` on `data`, measure it on the test images, and return the run.

    `options` are those of `start`. To see the training as it goes, iterate over `start(...)` instead.
    """
    settings = [*options.pop("settings", ()), *([f"epochs={epochs}"] if epochs is not None else [])]
    job = start(model, data, settings=settings, **options)
    for _ in job:
        pass
    return job.run


@dataclass(frozen=True)
class _Parts:
    """What a job works with, all made from the recipe and the data alone."""

    train: Packed
    val: Packed
    data: Data
    state: TrainState
    classifier: Classifier
    precision: Precision
    fingerprint: str
    notes: tuple[str, ...]


def _prepare(recipe: Recipe, data: Data, device: torch.device, progress: Progress | None) -> _Parts:
    side = recipe.image_size
    assert side is not None, "the resolved recipe holds the image size"
    channels = data.train.images.shape[1] if data.train.images is not None else 3
    plain = Preprocess(input_size=(side, side), mean=(0.0,) * channels, std=(1.0,) * channels)
    large = round(side * recipe.augment.packing_scale)

    def report(part: str, done: int, total: int) -> None:
        if progress is not None:
            progress(f"Reading {_NAMES[part]} images", done, total)

    sizes = {"train": replace(plain, input_size=(large, large)), "val": plain, "test": plain}
    packed = pack_data(data, sizes, progress=report)
    data = packed.data
    source = recipe.model
    options = dict(
        num_classes=len(data.classes),
        in_channels=channels,
        generator=torch.Generator().manual_seed(recipe.seed),
        **source.switches,
    )
    found = pretrained(source.name, source.weights, **options) if source.weights else None
    model = (found.model if found else create(source.name, **options)).to(device).to(memory_format=torch.channels_last)
    mean, std = (
        (found.preprocess.mean, found.preprocess.std) if found and found.preprocess else channel_stats(packed.train)
    )
    fingerprint = data.train.fingerprint()
    classifier = Classifier(
        model=model,
        model_name=source.name,
        classes=data.classes,
        preprocess=replace(plain, mean=mean, std=std),
        tta="flip" if recipe.flip_at_test else "none",
        provenance={
            "data": {"name": data.name, "fingerprint": fingerprint, **recipe.data.model_dump(mode="json")},
            "versions": {"classicnets": classicnets.__version__, "torch": torch.__version__},
        },
    )
    return _Parts(
        train=packed.train,
        val=packed.val,
        data=data,
        state=TrainState.begin(model, recipe),
        classifier=classifier,
        precision=Precision.choose(recipe.precision, device),
        fingerprint=fingerprint,
        notes=(f"starting from {found.source}", *found.notes) if found else (),
    )


def _absolute(weights: str) -> str:
    """The weights as they can be found again from another folder."""
    return str(Path(weights).absolute()) if weights and Path(weights).exists() else weights


def _load(source: str, recipe: Recipe) -> Data:
    data = recipe.data
    return load_data(
        source, seed=data.split_seed, val_fraction=data.val_fraction, test_fraction=data.test_fraction,
        on_error=data.on_error,
    )  # fmt: skip


def _natural_size(images: ImageSet, config: NetConfig) -> int:
    """The image size to train at: the data's own up to 64 pixels, else the network's, at least 64."""
    if images.paths is None:
        own = min(images.image(0).shape[1:])
    else:
        sample = images.paths[:: max(1, len(images) // 50)]
        own = round(statistics.median(min(image_size(path)) for path in sample))
    return max(own if own <= 64 else max(64, config.image_size), config.min_size)
