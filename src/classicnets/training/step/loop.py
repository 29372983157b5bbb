"""The training loop. `fit` is a generator: it trains, and reports by yielding; stopping it is `close()`.

    order, augment -> forward -> loss -> backward -> step -> StepDone ... -> validate -> EpochDone ...

It prints nothing and writes no file. All that changes is in `TrainState`, between any two events complete enough
to go on from, bit for bit: what a step does is a function of the state and of (seed, step).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from classicnets.classifier import Classifier
from classicnets.data.pipeline.loader import Batch, Part, steps_per_epoch, training_batches
from classicnets.data.pipeline.pack import Packed
from classicnets.evaluation.metrics import balanced_accuracy, cross_entropy, topk_accuracy
from classicnets.models.contract import ConvNet
from classicnets.system.devices import Precision
from classicnets.training.memory.lean import replaced_forwards
from classicnets.training.recipe.schema import ProgressiveSection, Recipe
from classicnets.training.scale.processes import ALONE, Processes
from classicnets.training.scale.whole_batch import whole_batch
from classicnets.training.step.diagnose import diverged, first_not_finite
from classicnets.training.step.optimizer import learning_rate
from classicnets.training.step.state import EpochDone, StepDone, Tally, TrainState
from classicnets.training.transfer.freeze import KeptViews, freeze, train_mode


def fit(
    state: TrainState,
    train: Packed,
    val: Packed,
    classifier: Classifier,
    recipe: Recipe,
    precision: Precision,
    processes: Processes = ALONE,
) -> Iterator[StepDone | EpochDone]:
    """Train `state` on `train` until `recipe.epochs` are done or patience is, validating on `val` after each.

    `classifier` gives the preprocessing, and validates: its model becomes `state.evaluated`. Raises TrainingDiverged
    when the loss is no longer finite, before the step is taken. All `processes` iterate alike and get the same events.
    """
    trained: nn.Module | None = None
    mine, val_batch = val.images[processes.part.of(len(val))], max(64, recipe.batch_size)
    kept = KeptViews(classifier, mine, precision, val_batch) if state.features else None
    size_of_batch = min(recipe.batch_size, len(train.labels))
    per_epoch = steps_per_epoch(len(train.labels), recipe.batch_size)

    def done() -> float:
        """The share of the run that is over."""
        return state.step / (per_epoch * recipe.epochs)

    def rate() -> float:
        return state.rate * learning_rate(recipe.optim, recipe.schedule, done())

    while not state.is_over(recipe):
        epoch = len(state.history)
        size = image_size_at(
            recipe.progressive, classifier.preprocess.input_size, epoch / recipe.epochs, state.model.config.min_size
        )
        batches = training_batches(
            train, classifier.preprocess, recipe.augment, batch_size=recipe.batch_size, seed=recipe.seed, epoch=epoch,
            start=state.step - epoch * per_epoch, image_size=size, workers=recipe.workers,
            balanced=recipe.data.balance == "sample", part=processes.part,
        )  # fmt: skip
        before = time.perf_counter()
        for batch in map(state.features.batch, batches) if state.features else batches:
            if freeze(state.model, recipe.finetune, done()) or trained is None:
                trained = processes.parallel(state.trained(recipe.loss))
            lr = rate()
            loss = train_step(state, batch, lr, recipe, precision, processes, trained, size_of_batch)
            now = time.perf_counter()
            state.tally.seconds, before = state.tally.seconds + now - before, now
            tally = state.tally
            yield StepDone(epoch + 1, state.step, loss, tally.correct / tally.images, lr, tally.images / tally.seconds)
        classifier.model = state.evaluated
        logits = kept.logits() if kept else classifier.logits(mine, batch_size=val_batch, precision=precision.name)
        logits = processes.rows(logits, len(val))
        state.seconds += state.tally.seconds + time.perf_counter() - before
        row = EpochDone(
            epoch=epoch + 1,
            step=state.step,
            image_size=size[0],
            lr=rate(),
            train_loss=state.tally.loss / state.tally.images,
            train_accuracy=state.tally.correct / state.tally.images,
            val_loss=cross_entropy(logits, val.labels),
            val_accuracy=topk_accuracy(logits, val.labels, k=1),
            val_balanced_accuracy=balanced_accuracy(logits, val.labels),
            images_per_second=state.tally.images / state.tally.seconds,
            seconds=state.seconds,
        )
        if not math.isfinite(row.val_loss):
            raise diverged(
                f"The validation loss is {row.val_loss} after epoch {row.epoch}: the weights have grown out of bounds.",
                recipe,
            )
        state.history.append(row)
        state.tally = Tally()
        yield row


def train_step(
    state: TrainState,
    batch: Batch,
    lr: float,
    recipe: Recipe,
    precision: Precision,
    processes: Processes = ALONE,
    trained: nn.Module | None = None,
    size: int | None = None,
) -> float:
    """One optimizer step on a batch; returns its loss.

    Of several processes, `batch` is this one's part of `size` images, and `trained` what `processes.parallel` made of
    the objective. Gradients are those of the mean over the whole batch.
    """
    trained = trained or state.trained(recipe.loss)
    size = size or len(batch.labels)
    images, labels, targets = (tensor.to(precision.device) for tensor in (batch.images, batch.labels, batch.targets))
    train_mode(state.model)
    state.optimizer.zero_grad(set_to_none=True)
    seed, loss_sum, correct = (recipe.seed << 32) + state.step, 0.0, 0
    parts = [
        Part(processes.rank * recipe.accumulate + i, processes.world * recipe.accumulate)
        for i in range(recipe.accumulate)
    ]
    first = parts[0].of(size).start
    for part in parts:
        more_to_come = processes.apart(trained) if part is not parts[-1] else nullcontext()
        here = slice(part.of(size).start - first, part.of(size).stop - first)
        with (
            seeded(seed, precision.device),  # dropout, a function of the step
            whole_batch(state.model, part, size, processes=processes.world),
            replaced_forwards(state.lean.forwards),
            more_to_come,
        ):
            with precision():
                loss, logits = trained(images[here], targets[here])
            # Gradients of parts add up, and those of processes are averaged.
            (loss * (len(logits) / size * processes.world)).backward()
        loss_sum += loss.item() * len(logits)
        correct += int((logits.argmax(1) == labels[here]).sum())
    loss_sum, correct_everywhere = processes.sums(loss_sum, correct)
    value = loss_sum / size
    parameters = [p for p in state.model.parameters() if p.grad is not None]
    norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
    if not (math.isfinite(value) and math.isfinite(norm.item())):

        def again() -> object:
            with seeded(seed, precision.device), precision():
                return state.trained(recipe.loss)(images, targets)

        raise diverged(
            f"The loss is {value} and the gradient's norm {norm.item()} at step {state.step + 1}, with learning rate "
            f"{lr:.3g}.", recipe, first_not_finite(state.learner, images, again),
        )  # fmt: skip
    if recipe.optim.clip_norm:
        clip_grads_with_norm_(parameters, recipe.optim.clip_norm, norm)
    for group in state.optimizer.param_groups:
        group["lr"] = lr * group["scale"]
    state.optimizer.step()
    if processes.world == 1:  # of several, gradients are DistributedDataParallel's to place
        state.lean.reclaim()
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    if state.average is not None:
        update_average(state.average, state.model, min(recipe.ema, state.step / (state.step + 9)))
    state.tally.loss += loss_sum
    state.tally.correct += int(correct_everywhere)
    state.tally.images += size
    return value


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Within, the random numbers of the CPU and of `device` are those of the seed; the caller's own are left alone."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed & 0x7FFF_FFFF_FFFF_FFFF)
        yield


@torch.no_grad()
def update_average(average: ConvNet, model: ConvNet, decay: float) -> None:
    """Move each weight and running statistic of `average` towards `model`'s; counters are copied."""
    old, new = list(average.state_dict().values()), list(model.state_dict().values())
    floats = [i for i, tensor in enumerate(old) if tensor.is_floating_point()]
    torch._foreach_lerp_([old[i] for i in floats], [new[i] for i in floats], 1 - decay)
    for a, b in zip(old, new, strict=True):
        if not a.is_floating_point():
            a.copy_(b)


def image_size_at(
    progressive: ProgressiveSection, full: tuple[int, int], done: float, smallest: int
) -> tuple[int, int]:
    """The image size (height, width) at the share `done` of the run: multiples of 4, at least `smallest`, then full."""
    if done >= progressive.until:
        return full
    scale = progressive.start + (1 - progressive.start) * done / progressive.until
    height, width = (min(side, max(smallest, 4 * math.ceil(side * scale / 4))) for side in full)
    return height, width
