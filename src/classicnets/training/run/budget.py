"""A training that fits a number of minutes: its first steps are timed, then its epochs and image size are chosen.

prepare -> time steps, validation and saving -> another image size? prepare and time again -> the number of epochs

The timed steps leave no trace: weights, optimizer and statistics are restored, and the result is bit for bit that of
the same recipe without a budget.
"""

from __future__ import annotations

import bisect
import copy
import itertools
import math
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from classicnets.data.pipeline.pack import Packed
from classicnets.data.split import balanced_sample
from classicnets.data.words import counted
from classicnets.errors import ConfigError
from classicnets.evaluation.novelty import MOST_TRAINING_IMAGES
from classicnets.models.catalog import create
from classicnets.system.devices import fast_training, synchronize
from classicnets.system.stopwatch import seconds_of
from classicnets.training.recipe.plan import Plan, switches
from classicnets.training.recipe.schema import FinetuneSection, ProgressiveSection, Recipe
from classicnets.training.recipe.settings import sets
from classicnets.training.run.calibrate import training_images
from classicnets.training.run.checkpoint import Checkpoint, save_checkpoint
from classicnets.training.run.identity import identity
from classicnets.training.run.prepare import Prepared
from classicnets.training.step.loop import fit, image_size_at
from classicnets.training.step.session import Session
from classicnets.training.step.state import EpochDone, StepDone, TrainState
from classicnets.training.step.statistics import SETTLED, images_measured, measure_statistics
from classicnets.training.step.validation import Validation

_PLANNED = 0.95  # share of the minutes that is planned for; the rest is a reserve
_MOST_EPOCHS = 100_000
_SHARE_TIMED = 0.01  # of the minutes, spent on the timed steps of each kind; what longer steps imply is computed
_MOST_STEPS = 20
_FEWEST_TIMED, _MOST_TIMED = 16, 64  # of the validation images, in each process
_SAVED = 16 << 20  # bytes of a checkpoint that are saved to time it
_SMALLEST = 48  # images are not made smaller than this
_MOST_SIZES = 3  # image sizes that are tried
_FEW_PHOTOS = 5_000  # are read again for another size in seconds


@dataclass(frozen=True)
class Timing:
    """What a training takes here, in seconds.

    Attributes:
        full: a step at the image size.
        small: a step at the size of the first epoch.
        frozen: a step while the trunk is frozen, as a share of one in which it learns.
        statistics: measuring the batch norms' statistics, which a young run does after each epoch.
        validation: a validation.
        saving: saving a checkpoint and the classifier.
        end: calibrating the classifier, measuring the test images and writing the report.
    """

    full: float
    small: float
    frozen: float
    statistics: float
    validation: float
    saving: float
    end: float

    def training(self, recipe: Recipe, epochs: int, steps_per_epoch: int, smallest: int) -> float:
        """Return the seconds of that many epochs, without the end."""
        assert recipe.image_size is not None
        area = recipe.image_size**2
        start_area = _first_side(recipe, smallest) ** 2
        seconds = 0.0
        parts = min(epochs, 200)
        for part in range(parts):
            side = _side_at(recipe, part / parts, smallest)
            grown = (side**2 - start_area) / (area - start_area) if area > start_area else 1.0
            seconds += (self.small + (self.full - self.small) * grown) / parts
        freeze = recipe.finetune.freeze
        step = seconds * (freeze * self.frozen + 1 - freeze) if freeze < 1 else seconds
        young = min(epochs, math.ceil(SETTLED / steps_per_epoch))
        return epochs * (steps_per_epoch * step + self.validation + self.saving) + young * self.statistics

    def epochs_within(self, seconds: float, recipe: Recipe, steps_per_epoch: int, smallest: int) -> int:
        """Return the largest number of epochs that ends, with the report, within `seconds`; 0 if not one does."""

        def whole(epochs: int) -> float:
            return self.end + self.training(recipe, epochs, steps_per_epoch, smallest)

        return bisect.bisect_right(range(1, _MOST_EPOCHS + 1), seconds, key=whole)


def check_minutes(minutes: float, settings: Iterable[str]) -> None:
    """Raise ConfigError for minutes that are no positive number, or settings that fix the epochs too."""
    if not (math.isfinite(minutes) and minutes > 0):
        raise ConfigError(f"--minutes must be a number above 0, got {minutes:g}.")
    if sets("epochs", settings):
        raise ConfigError("--minutes chooses the number of epochs: leave out --epochs, or leave out --minutes.")


def fit_to_minutes(
    minutes: float,
    plan: Plan,
    *,
    begun: float,
    size_is_free: bool,
    resolve: Callable[[list[str]], Plan],
    prepare: Callable[[Plan], Prepared],
) -> tuple[Plan, Prepared]:
    """Choose the epochs, and the image size if it is free, so that the training and its report take `minutes`.

    Args:
        minutes: from `begun` to the end of the report, above 0.
        plan: the training as it is without a budget.
        begun: when the training began, by `time.monotonic`.
        size_is_free: whether the images may be made smaller. They are if fewer epochs fit than the recipe has. Of
            few photos, the smallest size is timed first, because a short budget leaves no time to time a large one.
        resolve: resolves the same training again with further settings.
        prepare: prepares a plan.

    Returns:
        The plan with the chosen values, and what to train it with, as fresh as before.

    Raises:
        ConfigError: not even one epoch fits.
        TrainingDiverged: a timed step failed.
    """
    wanted, natural = plan.recipe.epochs, plan.recipe.image_size
    assert natural is not None
    network = create(plan.recipe.model.name, device="meta", **switches(plan.recipe))
    smallest = network.config.min_size
    least = min(natural, max(_SMALLEST, smallest)) if size_is_free else natural
    side = least if len(plan.data.train) < _FEW_PHOTOS else natural

    def fit(prepared: Prepared) -> _Fit:
        processes, recipe, steps = prepared.session.processes, prepared.session.recipe, len(prepared.session.loader)
        timing = measure(prepared, most_seconds=minutes * 60 * _SHARE_TIMED)
        # The first process decides for all: the others' clocks differ.
        left = processes.on_main(lambda: minutes * 60 * _PLANNED - (time.monotonic() - begun))
        timing = processes.on_main(lambda: timing)
        share = max(left - timing.end, 0.0) / timing.training(recipe, wanted, steps, smallest)
        return _Fit(timing, left, timing.epochs_within(left, recipe, steps, smallest), share)

    chosen = [f"image_size={side}"] if side != natural else []
    prepared = prepare(resolve([*chosen, "epochs=1"]) if chosen else plan)
    found = fit(prepared)
    for _ in range(_MOST_SIZES - 1):
        better = min(natural, max(least, round(side * found.share**0.5 / 16) * 16))
        if better == side:
            break
        likely = int(wanted * min(1.0, found.share * (side / better) ** 2))
        side, chosen = better, [f"image_size={better}"]
        prepared = prepare(resolve([*chosen, f"epochs={max(1, likely)}"]))
        found = fit(prepared)
    for is_last in (False, True):  # a run of few steps has another optimizer, whose steps take another time
        plan = resolve([*chosen, f"epochs={max(1, found.epochs)}"])
        if not _steps_differ(plan.recipe, prepared.session.recipe):
            break
        prepared = prepare(plan)
        if not is_last:
            found = fit(prepared)
    recipe, steps = plan.recipe, len(prepared.session.loader)
    spent = minutes * 60 * _PLANNED - found.left
    if not found.epochs:
        _refuse(minutes, found.timing, recipe, steps, smallest, spent=spent)
    seconds = found.timing.training(recipe, found.epochs, steps, smallest)
    total = (spent + seconds + found.timing.end) / 60
    each = _seconds(seconds / found.epochs)
    notes = [f"{counted(found.epochs, 'epoch')} in about {total:.2g} of {minutes:g} minutes: {each} an epoch"]
    if side != natural:
        notes.append(f"image_size is {side} instead of {natural}, so that more epochs fit into the minutes")
    recipe = recipe.model_copy(update={"minutes": minutes})
    return replace(plan, recipe=recipe, notes=(*plan.notes, *notes)), _with_recipe(prepared, recipe, plan)


class _Fit(NamedTuple):
    """What fits: the timing, the seconds left for training and report, the epochs, and the share of those wanted."""

    timing: Timing
    left: float
    epochs: int
    share: float


def _steps_differ(one: Recipe, other: Recipe) -> bool:
    """Return whether the recipes differ in what was built for a step: its batch or its optimizer."""
    return (one.batch_size, one.optim) != (other.batch_size, other.optim)


def measure(prepared: Prepared, *, most_seconds: float) -> Timing:
    """Time a few steps, a validation and saving, and restore the state exactly.

    Args:
        prepared: a training, whose state may have been trained already.
        most_seconds: about how long the steps of each kind may take; at least one is timed.
    """
    session, state = prepared.session, prepared.state
    tensors = {name: tensor.clone() for name, tensor in state.tensors().items()}
    trainer = copy.deepcopy(state.trainer())
    with fast_training(session.precision):
        try:
            return _measured(prepared, most_seconds)
        finally:
            state.restore(tensors, trainer)


def _measured(prepared: Prepared, most_seconds: float) -> Timing:
    from classicnets.reports.duration import report_seconds  # needs matplotlib

    session, state, recipe = prepared.session, prepared.state, prepared.session.recipe
    smallest = state.model.config.min_size
    freeze = recipe.finetune.freeze
    learning = recipe.finetune if freeze == 1 else recipe.finetune.model_copy(update={"freeze": 0.0})
    full = small = _step_seconds(session, state, learning, progressive=False, most_seconds=most_seconds)
    assert recipe.image_size is not None
    first_side = _first_side(recipe, smallest)
    is_long = session.processes.largest(int(full > most_seconds)) > 0  # if it is for one process, it is for all
    if first_side != recipe.image_size and is_long:
        small = full * (first_side / recipe.image_size) ** 2
    elif first_side != recipe.image_size:
        small = _step_seconds(session, state, learning, progressive=True, most_seconds=most_seconds)
    frozen = 1.0
    if 0 < freeze < 1:
        all_frozen = recipe.finetune.model_copy(update={"freeze": 0.99})
        frozen = _step_seconds(session, state, all_frozen, progressive=False, most_seconds=most_seconds) / full
    forward = full / 3
    if is_long:
        statistics = forward * math.ceil(images_measured(session, is_last=False) / session.batch_size)
    else:

        def measured() -> None:
            measure_statistics(session, state)
            synchronize(session.precision.device)

        statistics = seconds_of(measured)
    seconds = _pass_seconds(prepared, most_seconds, forward / session.batch_size)
    saving = session.processes.on_main(lambda: _saving_seconds(prepared))
    report = session.processes.on_main(lambda: report_seconds(prepared.data.test or prepared.data.val))
    end = seconds.end + 2 * saving.classifier + report  # the classifier is loaded, and saved with its thresholds
    return Timing(full, small, frozen, statistics, seconds.validation, saving.checkpoint + saving.classifier, end)


def _step_seconds(
    session: Session, state: TrainState, finetune: FinetuneSection, *, progressive: bool, most_seconds: float
) -> float:
    """The mean seconds of a step after a warm-up step, at the size of the first epoch or at the image size."""
    changes: dict[str, object] = {"epochs": _MOST_EPOCHS, "patience": None, "finetune": finetune}
    if not progressive:
        changes["progressive"] = ProgressiveSection()
    timed_session = replace(session, recipe=session.recipe.model_copy(update=changes), compiles=False)
    timed = _step_times(fit(timed_session, state), session.precision.device)
    next(timed)
    first = next(timed)
    count = session.processes.largest(min(_MOST_STEPS, max(1, round(most_seconds / first))))
    times = [first, *itertools.islice(timed, count - 1)]
    timed.close()
    return sum(times) / len(times)


def _step_times(events: Iterator[StepDone | EpochDone], device: torch.device) -> Generator[float, None, None]:
    """The seconds of each step; validations between them are left out."""
    before = time.perf_counter()
    for event in events:
        synchronize(device)
        if isinstance(event, StepDone):
            yield time.perf_counter() - before
        before = time.perf_counter()


class _Passes(NamedTuple):
    """Seconds of forward passes: of a validation, and of those after the last epoch."""

    validation: float
    end: float


def _pass_seconds(prepared: Prepared, most_seconds: float, an_image: float) -> _Passes:
    """Time passes over a few images; `an_image` are the seconds of one, about."""
    session, state = prepared.session, prepared.state
    validation, network, world = session.validation, state.validated_model, session.processes.world
    number = session.processes.largest(max(_FEWEST_TIMED, min(_MOST_TIMED, int(most_seconds / an_image / 2))))
    few = _first(validation.packed, number * world)
    plain = Validation(validation.card, few, validation.precision, validation.batch_size, validation.processes)
    plain.classifier(network)  # made before it is timed
    trained = seconds_of(lambda: plain.logits(network)) / len(few)
    if session.features:
        validation.logits(network)  # computes the features, which are then kept
        whole = seconds_of(lambda: validation.logits(network))
    else:
        whole = trained * len(validation.packed)
    tested = prepared.test or validation.packed
    classifier = validation.classifier(network)
    mine = few.images[session.processes.shard.of(len(few))]
    answered = seconds_of(lambda: classifier.logits(mine)) / len(few)
    chosen = balanced_sample(session.loader.packed.labels, MOST_TRAINING_IMAGES)
    some = chosen[:_FEWEST_TIMED]
    reading = seconds_of(lambda: training_images(session, prepared.data, classifier, some)) / len(some)
    end = answered * (len(validation.packed) + len(tested)) + (trained + reading) * len(chosen)
    return _Passes(whole, end)


class _Saving(NamedTuple):
    """Seconds of saving a checkpoint, and of saving the classifier."""

    checkpoint: float
    classifier: float


def _saving_seconds(prepared: Prepared) -> _Saving:
    """Save both into a folder that is deleted. Of a large checkpoint a part is saved; the rest is as fast."""
    state = prepared.state
    moments = [value for values in state.optimizer.state.values() for value in values.values()]
    tensors = [*state.tensors().values(), *(value for value in moments if isinstance(value, Tensor))]
    sizes = list(itertools.accumulate(tensor.nbytes for tensor in tensors))
    number = max(1, bisect.bisect_right(sizes, _SAVED))
    part = {str(i): tensor for i, tensor in enumerate(tensors[:number])}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = seconds_of(lambda: save_checkpoint(folder, state.step, Checkpoint(part, {})))
        classifier = prepared.session.validation.classifier(state.validated_model)
        saved = seconds_of(lambda: classifier.save(folder / "model"))
    return _Saving(checkpoint * sizes[-1] / sizes[number - 1], saved)


def _with_recipe(prepared: Prepared, recipe: Recipe, plan: Plan) -> Prepared:
    """The same, untrained, for a recipe that has other epochs and may be with or without an average."""
    state = prepared.state
    if not recipe.ema:
        state.average = None
    elif state.average is None:
        state.average = copy.deepcopy(state.model).requires_grad_(False)
    session = replace(prepared.session, recipe=recipe)
    return replace(prepared, session=session, identity=identity(recipe, plan.data))


def _refuse(minutes: float, timing: Timing, recipe: Recipe, steps: int, smallest: int, *, spent: float) -> None:
    epoch = timing.training(recipe, 1, steps, smallest)
    least = math.ceil((spent + epoch + timing.end) / _PLANNED / 6) / 10
    assert recipe.image_size is not None
    smaller = f"lower image_size (it is {recipe.image_size}), " if recipe.image_size > max(8, smallest) else ""
    raise ConfigError(
        f"--minutes {minutes:g} is too short for one epoch: it takes about {_seconds(epoch)} here, and "
        f"{_seconds(spent + epoch + timing.end)} with preparation and report. Give at least --minutes {least:g}, "
        f"{smaller}or choose a smaller network."
    )


def _first_side(recipe: Recipe, smallest: int) -> int:
    return _side_at(recipe, 0.0, smallest)


def _side_at(recipe: Recipe, done: float, smallest: int) -> int:
    assert recipe.image_size is not None
    return image_size_at(recipe.progressive, (recipe.image_size, recipe.image_size), done, smallest)[0]


def _first(packed: Packed, n: int) -> Packed:
    return Packed(packed.images[:n], packed.labels[:n], packed.ids[:n], packed.num_classes)


def _seconds(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
