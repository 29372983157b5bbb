"""A training from its first image to its report: `start` or `resume` one, and iterate over it.

    load data -> pack -> model -> fit ... -> best weights -> evaluate on the test images -> report

Iterating yields the events of `fit`, then `Finished`. What was done is in the run folder before an event is yielded.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import classicnets
from classicnets.classifier import Classifier
from classicnets.data import Data, load_data
from classicnets.data.check import quick_check
from classicnets.data.imageset import ImageSet
from classicnets.data.loader import steps_per_epoch
from classicnets.data.pack import Packed, channel_stats, pack_data
from classicnets.errors import ConfigError, DataError, TrainingDiverged, WeightsError
from classicnets.evaluation import Report, evaluate, write_report
from classicnets.hardware import Precision, choose_device
from classicnets.images import image_size
from classicnets.models.catalog import create
from classicnets.models.contract import NetConfig
from classicnets.preprocess import Preprocess
from classicnets.training.checkpoint import Checkpoint, newest_checkpoint, save_checkpoint
from classicnets.training.loop import EpochDone, StepDone, TrainState, fit
from classicnets.training.recipe import Recipe, choose_recipe, load_recipe, with_settings
from classicnets.training.run import Run, environment
from classicnets.training.stopping import StopRequests
from classicnets.weights import pretrained

_SOME_STEPS = 50  # after so many, a training that learns has a loss that shows it
_NAMES = {"train": "training", "val": "validation", "test": "test"}

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


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

    `notes` say what was chosen before it began; `warnings` fills while it goes.
    """

    def __init__(
        self, run: Run, recipe: Recipe, parts: _Parts, *, checkpoint_every: int | None, notes: Iterable[str]
    ) -> None:
        self.run = run
        self.recipe = recipe
        self.notes = (*notes, *parts.notes)
        self.num_steps = recipe.epochs * steps_per_epoch(len(parts.train.labels), recipe.batch_size)
        self.warnings: list[str] = []
        self._parts = parts
        self._checkpoint_every = checkpoint_every

    def __iter__(self) -> Iterator[StepDone | EpochDone | Finished]:
        parts = self._parts
        self.run.write_metrics(parts.state.history)
        self.run.log("started", step=parts.state.step, notes=self.notes)
        at_rest = True
        with StopRequests() as stop:
            try:
                for event in fit(parts.state, parts.train, parts.val, parts.classifier, self.recipe, parts.precision):
                    at_rest = True
                    self._keep(event)
                    yield event
                    stop.obey()
                    at_rest = False
            except BaseException as stopped:
                if at_rest and not isinstance(stopped, Exception):
                    self._keep_what_was_reached()
                self.run.log("stopped", step=parts.state.step, reason=type(stopped).__name__)
                raise
        yield self._finish()

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
        best = self.run.classifier
        best.model.to(self._parts.precision.device)
        data = self._parts.data
        if data.test is not None:
            part, images, packed = "test", data.test, self._parts.test
        else:
            part, images, packed = "validation", data.val, self._parts.val
            self.warnings.append("These images chose the best epoch, for want of test images: expect less on new ones.")
        report = evaluate(best, images, packed=packed, data=f"{data.name} {part}")
        best.provenance["metrics"] = report.headline()
        best.save(self.run.path / "model")
        page = write_report(self.run.path, report, images)
        self.run.log("finished", **report.headline())
        return Finished(self.run, report, page)


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
    for key in ("model.name", "data.source"):
        if any(setting.partition("=")[0].strip() == key for setting in settings):
            raise ConfigError(f"{key} is what is trained, and on what: give it as the argument, not as a setting.")
    path = Path(out).resolve() if out is not None else None
    if path is not None and not path.name:
        raise ConfigError(f"--out {out} is no folder for a run. Give one that can be made anew, such as runs/mine.")
    given = recipe if isinstance(recipe, Recipe) else None if recipe is None else load_recipe(recipe)
    draft = with_settings(given or Recipe(), settings)
    network = create(model, device="meta", **_switches(draft))
    target = choose_device(device)
    loaded = data if isinstance(data, Data) else _load(data, draft)
    size = draft.image_size or _natural_size(loaded.train, network.config)
    if size < network.config.min_size:
        raise ConfigError(
            f"{model} takes images of {network.config.min_size} pixels or more, and image_size is {size}. "
            f"Set a larger one, or choose a variant for small images (`classicnets models cifar`)."
        )
    notes = [loaded.split]
    if given is None:
        name, reason = choose_recipe(
            num_train=len(loaded.train),
            image_size=size,
            batch_norm=any(isinstance(module, nn.BatchNorm2d) for module in network.modules()),
            pretrained=bool(draft.model.weights),
        )
        draft = with_settings(load_recipe(name), settings)
        notes.append(f"recipe {name!r}: {reason}")
    values = draft.model_dump(mode="json")
    values["image_size"] = size
    values["model"] |= {"name": model, "weights": _absolute(draft.model.weights)}
    values["data"] |= {
        "source": loaded.source,
        "split_seed": loaded.seed,
        "val_fraction": loaded.val_fraction,
        "test_fraction": loaded.test_fraction,
        "on_error": loaded.on_error,
    }
    resolved = Recipe.model_validate(values)
    parts = _prepare(resolved, loaded, target, progress)
    run = Run.create(path or Path("runs") / f"{model}-{loaded.name}", resolved, parts.precision.name)
    run.write_skipped(parts.data.skipped)
    return Job(run, resolved, parts, checkpoint_every=checkpoint_every, notes=[*quick_check(parts.data), *notes])


def resume(
    run: str | Path | Run,
    *,
    device: str = "auto",
    checkpoint_every: int | None = None,
    progress: Progress | None = None,
) -> Job:
    """Go on with a run from its newest whole checkpoint, with its own recipe and data; on the CPU, bit for bit.

    Raises ConfigError where there is no run, DataError where its data is no longer what it was, WeightsError where
    none of its checkpoints is whole.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    recipe = run.recipe
    checkpoint, notes = newest_checkpoint(run.path / "checkpoints")
    if checkpoint is None and (run.path / "model").exists():
        raise WeightsError(
            " ".join([*notes, f"{run.path} has no whole checkpoint to go on from; its model/ stays as it is."])
            + f" To train anew: classicnets train MODEL DATA --recipe {run.path}/recipe.toml"
        )
    data = _load(recipe.data.source, recipe)
    if checkpoint is not None and checkpoint.trainer["fingerprint"] != data.fingerprint():
        raise DataError(
            f"The images at {recipe.data.source} are not those that {run.path} was trained on. "
            f"Bring them back, or start a new run."
        )
    parts = _prepare(recipe, data, choose_device(device), progress, checkpoint)
    if checkpoint is None:
        notes.append("No checkpoint yet: starting from the beginning.")
    else:
        notes.append(f"Going on after step {parts.state.step}, epoch {len(parts.state.history)} of {recipe.epochs}.")
    before, now = run.environment, environment(parts.precision.name)
    for what in ("torch", "cpu", "threads", "precision"):
        if before.get(what) != now[what]:
            notes.append(f"{what} was {before.get(what)} and is {now[what]}: the last bits may differ.")
    return Job(run, recipe, parts, checkpoint_every=checkpoint_every, notes=notes)


def train(
    model: str,
    data: str | Path | Data,
    *,
    epochs: int | None = None,
    recipe: str | Path | Recipe | None = None,
    settings: Iterable[str] = (),
    out: str | Path | None = None,
    device: str = "auto",
    checkpoint_every: int | None = None,
) -> Run:
    """Train the catalog's `model` on `data`, measure it on the test images, and return the run.

    The arguments are those of `start`. To see the training as it goes, iterate over `start(...)` instead.
    """
    settings = [*settings, *([f"epochs={epochs}"] if epochs is not None else [])]
    job = start(
        model, data, recipe=recipe, settings=settings, out=out, device=device, checkpoint_every=checkpoint_every
    )
    for _ in job:
        pass
    return job.run


@dataclass(frozen=True)
class _Parts:
    """What a job works with, all made from the recipe, the data and the checkpoint alone."""

    train: Packed
    val: Packed
    test: Packed | None
    data: Data
    state: TrainState
    classifier: Classifier
    precision: Precision
    fingerprint: str
    notes: tuple[str, ...]


def _prepare(
    recipe: Recipe, data: Data, device: torch.device, progress: Progress | None, checkpoint: Checkpoint | None = None
) -> _Parts:
    side = recipe.image_size
    assert side is not None, "the resolved recipe holds the image size"
    fingerprint = data.fingerprint()
    channels = data.train.images.shape[1] if data.train.images is not None else 3
    options = {
        "num_classes": len(data.classes),
        "in_channels": channels,
        "generator": torch.Generator().manual_seed(recipe.seed),
        **_switches(recipe),
    }
    source = recipe.model
    # A checkpoint has all the weights: those that the run once started from need not be there any more.
    found = pretrained(source.name, source.weights, **options) if source.weights and checkpoint is None else None
    model = found.model if found else create(source.name, **options)
    model.to(device).to(memory_format=torch.channels_last)

    def report(part: str, done: int, total: int) -> None:
        if progress is not None:
            progress(f"Reading {_NAMES[part]} images", done, total)

    plain = Preprocess(input_size=(side, side), mean=(0.0,) * channels, std=(1.0,) * channels)
    large = round(side * recipe.augment.packing_scale)
    sizes = {"train": replace(plain, input_size=(large, large)), "val": plain, "test": plain}
    packed = pack_data(data, sizes, progress=report)
    state = TrainState.begin(model, recipe)
    if checkpoint is not None:
        preprocess = Preprocess.from_dict(checkpoint.trainer["preprocess"])
        state.restore(checkpoint.tensors, checkpoint.trainer)
    else:
        known = found.preprocess if found else None
        mean, std = (known.mean, known.std) if known else channel_stats(packed.train)
        preprocess = replace(plain, mean=mean, std=std)
    classifier = Classifier(
        model=model,
        model_name=source.name,
        classes=data.classes,
        preprocess=preprocess,
        tta="flip" if recipe.flip_at_test else "none",
        provenance={
            "data": {"name": data.name, "fingerprint": fingerprint, **recipe.data.model_dump(mode="json")},
            "versions": {"classicnets": classicnets.__version__, "torch": torch.__version__},
        },
    )
    return _Parts(
        train=packed.train,
        val=packed.val,
        test=packed.test,
        data=packed.data,
        state=state,
        classifier=classifier,
        precision=Precision.choose(recipe.precision, device),
        fingerprint=fingerprint,
        notes=(f"starting from {found.source}", *found.notes) if found else (),
    )


def _switches(recipe: Recipe) -> dict[str, Any]:
    """The recipe's switches of the network. Raises ConfigError for those that the data decides."""
    for name in ("num_classes", "in_channels", "generator", "device", "name"):
        if name in recipe.model.switches:
            raise ConfigError(f"model.switches.{name} is decided by the data and the command: remove it.")
    return recipe.model.switches


def _absolute(weights: str) -> str:
    """The weights as they can be found again from another folder."""
    is_path = weights.partition(":")[0] != "torchvision" and Path(weights).exists()
    return str(Path(weights).absolute()) if weights and is_path else weights


def _load(source: str | Path, recipe: Recipe) -> Data:
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
    return max(own if own <= 64 else max(64, config.image_size), config.min_size, 8)
