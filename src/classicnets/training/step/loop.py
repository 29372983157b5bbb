"""The training loop. `fit` is a generator: it trains and yields an event after each step; `close()` stops it.

    order, augment -> forward -> loss -> backward -> step -> StepDone ... -> validate -> EpochDone ...

It prints nothing and writes no file. Everything that changes is in `TrainState`. A step depends only on the state, the
seed and the step number, so a training can resume bit for bit from the state between any two events.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from classicnets.data.pipeline.loader import Batch, Shard
from classicnets.evaluation.metrics import balanced_accuracy, cross_entropy, topk_accuracy
from classicnets.models.contract import ConvNet
from classicnets.training.memory.lean import replaced_forwards
from classicnets.training.recipe.schema import ProgressiveSection
from classicnets.training.scale.whole_batch import whole_batch
from classicnets.training.step.diagnose import diverged, first_not_finite
from classicnets.training.step.optimizer import learning_rate
from classicnets.training.step.session import Session
from classicnets.training.step.state import EpochDone, StepDone, Tally, TrainState
from classicnets.training.step.statistics import measure_statistics
from classicnets.training.transfer.freeze import freeze, train_mode


def fit(session: Session, state: TrainState) -> Iterator[StepDone | EpochDone]:
    """Train `state` until the recipe's epochs are done or its patience runs out; validate after each epoch.

    If the session does not validate, the epochs' validation metrics are NaN.

    Every process calls it and gets the same events.

    Args:
        session: what the training works with; it does not change.
        state: what the training changes. To resume, give a restored state.

    Yields:
        A StepDone after every optimizer step, an EpochDone after every validation.

    Raises:
        TrainingDiverged: the loss or the gradient is not finite. The step is not taken.

    >>> for event in fit(session, TrainState.begin(model, recipe)): ...
    """
    recipe, loader = session.recipe, session.loader
    objective: nn.Module | None = None
    while not state.is_over(recipe):
        epoch = len(state.history)
        size = image_size_at(
            recipe.progressive, session.preprocess.input_size, epoch / recipe.epochs, state.model.config.min_size
        )
        batches = loader.batches(epoch, start=state.step - epoch * len(loader), image_size=size)
        before = time.perf_counter()
        for batch in session.inputs(batches):
            if freeze(state.model, recipe.finetune, session.share_done(state.step)) or objective is None:
                objective = session.processes.parallel(session.objective(state.model))
            lr = rate_now(session, state)
            loss = train_step(session, state, batch, lr, objective)
            now = time.perf_counter()
            tally = state.tally
            tally.seconds, before = tally.seconds + now - before, now
            yield StepDone(epoch + 1, state.step, loss, tally.accuracy, lr, tally.images_per_second)
        measure_statistics(session, state)
        measured = _validated(session, state) if session.validates else _NOT_MEASURED
        state.seconds += state.tally.seconds + time.perf_counter() - before
        row = _epoch_done(session, state, measured, size[0])
        if session.validates and not math.isfinite(row.val_loss):
            raise diverged(
                f"The validation loss is {row.val_loss} after epoch {row.epoch}: the weights have grown too large.",
                recipe,
            )
        state.history.append(row)
        state.tally = Tally()
        yield row


def rate_now(session: Session, state: TrainState) -> float:
    """Return the learning rate of the next step."""
    recipe = session.recipe
    return state.rate * learning_rate(recipe.optim, recipe.schedule, session.share_done(state.step))


def train_step(
    session: Session, state: TrainState, batch: Batch, lr: float, objective: nn.Module | None = None
) -> float:
    """Take one optimizer step on a batch and return its loss.

    Args:
        session: what the training works with.
        state: what the step changes.
        batch: this process's part of the batch: images (B, C, H, W), targets (B,) or (B, K), labels (B,).
        lr: the learning rate.
        objective: `session.objective(state.model)`, wrapped by `processes.parallel`. None: created here.

    Returns:
        The mean loss over the whole batch, of all processes. The gradients are of this mean too.

    Raises:
        TrainingDiverged: the loss or the gradient is not finite. No weight has changed.
    """
    batch = Batch(*(tensor.to(session.precision.device) for tensor in batch))
    summed = _forward_backward(session, state, batch, objective or session.objective(state.model))
    loss = summed.loss / session.batch_size
    parameters = [parameter for parameter in state.model.parameters() if parameter.grad is not None]
    norm = get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    if not (math.isfinite(loss) and math.isfinite(norm.item())):
        raise diverged(
            f"The loss is {loss} and the gradient's norm {norm.item()} at step {state.step + 1}, with learning rate "
            f"{lr:.3g}.", session.recipe, _first_failure(session, state, batch),
        )  # fmt: skip
    if session.recipe.optim.clip_norm:
        clip_grads_with_norm_(parameters, session.recipe.optim.clip_norm, norm)
    _update(session, state, lr)
    state.tally.loss += summed.loss
    state.tally.correct += summed.correct
    state.tally.images += session.batch_size
    return loss


class _Summed(NamedTuple):
    """Sums over the images of a batch: the loss, and the number of correct predictions."""

    loss: float
    correct: int


def _forward_backward(session: Session, state: TrainState, batch: Batch, objective: nn.Module) -> _Summed:
    """Compute the gradients of the whole batch, part by part if the recipe accumulates."""
    processes, precision, size = session.processes, session.precision, session.batch_size
    train_mode(state.model)
    state.optimizer.zero_grad(set_to_none=True)
    loss_sum, correct = 0.0, 0
    shards = _shards(session)
    first = shards[0].of(size).start
    for shard in shards:
        here = slice(shard.of(size).start - first, shard.of(size).stop - first)
        more_to_come = processes.without_sync(objective) if shard is not shards[-1] else nullcontext()
        with (
            seeded(_seed(session, state), precision.device),  # dropout depends on the step alone
            whole_batch(state.model, shard, size, processes=processes.world),
            replaced_forwards(state.forwards),
            more_to_come,
        ):
            with precision():
                loss, logits = objective(batch.images[here], batch.targets[here])
            # Gradients are summed over parts and averaged over processes.
            (loss * (len(logits) / size * processes.world)).backward()
        loss_sum += loss.item() * len(logits)
        correct += int((logits.argmax(1) == batch.labels[here]).sum())
    loss_sum, correct_everywhere = processes.sums(loss_sum, correct)
    return _Summed(loss_sum, int(correct_everywhere))


def _shards(session: Session) -> list[Shard]:
    """Return the parts of the batch that this process computes, in order."""
    rank, world, parts = session.processes.rank, session.processes.world, session.recipe.accumulate
    return [Shard(rank * parts + i, world * parts) for i in range(parts)]


def _seed(session: Session, state: TrainState) -> int:
    return (session.recipe.seed << 32) + state.step


def _first_failure(session: Session, state: TrainState, batch: Batch) -> str:
    """Run the batch again, and return a sentence that names the first value that is not finite."""

    def again() -> Tensor:
        with seeded(_seed(session, state), session.precision.device), session.precision():
            loss: Tensor = session.objective(state.model)(batch.images, batch.targets).loss
            return loss

    return first_not_finite(session.trained_part(state.model), batch.images, again)


def _update(session: Session, state: TrainState, lr: float) -> None:
    """Update the weights, then their moving average."""
    for group in state.optimizer.param_groups:
        group["lr"] = lr * group["scale"]
    state.optimizer.step()
    if session.processes.world == 1:  # with several, DistributedDataParallel holds the gradients
        state.lean.reclaim()
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    if state.average is not None:
        update_average(state.average, state.model, min(session.recipe.ema, state.step / (state.step + 9)))


class _Measured(NamedTuple):
    """Metrics on the validation images; accuracies are 0..1."""

    loss: float
    accuracy: float
    balanced_accuracy: float


_NOT_MEASURED = _Measured(math.nan, math.nan, math.nan)


def _validated(session: Session, state: TrainState) -> _Measured:
    logits, labels = session.validation.logits(state.validated_model), session.validation.labels
    return _Measured(
        cross_entropy(logits, labels), topk_accuracy(logits, labels, k=1), balanced_accuracy(logits, labels)
    )


def _epoch_done(session: Session, state: TrainState, measured: _Measured, side: int) -> EpochDone:
    """Return the metrics of the epoch that has ended."""
    tally = state.tally
    return EpochDone(
        epoch=len(state.history) + 1,
        step=state.step,
        image_size=side,
        lr=rate_now(session, state),
        train_loss=tally.loss / tally.images,
        train_accuracy=tally.accuracy,
        val_loss=measured.loss,
        val_accuracy=measured.accuracy,
        val_balanced_accuracy=measured.balanced_accuracy,
        images_per_second=tally.images_per_second,
        seconds=state.seconds,
    )


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the CPU and `device` inside the block, and restore their random state afterwards."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed & 0x7FFF_FFFF_FFFF_FFFF)
        yield


@torch.no_grad()
def update_average(average: ConvNet, model: ConvNet, decay: float) -> None:
    """Update a moving average of a model's weights and running statistics, in place.

    Args:
        average: the average, a network like `model`.
        model: the network that was trained.
        decay: how much of the old average is kept, 0..1. Integer counters are copied.
    """
    old, new = list(average.state_dict().values()), list(model.state_dict().values())
    floats = [i for i, tensor in enumerate(old) if tensor.is_floating_point()]
    torch._foreach_lerp_([old[i] for i in floats], [new[i] for i in floats], 1 - decay)
    for a, b in zip(old, new, strict=True):
        if not a.is_floating_point():
            a.copy_(b)


def image_size_at(
    progressive: ProgressiveSection, full: tuple[int, int], done: float, smallest: int
) -> tuple[int, int]:
    """Return the image size (height, width) for progressive resizing, in pixels.

    Args:
        progressive: where the size starts, as a fraction of `full`, and when it reaches `full`.
        full: the full size (height, width).
        done: the fraction of the run that is done, 0..1.
        smallest: the smallest side that the network takes.

    Returns:
        Multiples of 4, at least `smallest` and at most `full`.
    """
    if done >= progressive.until:
        return full
    scale = progressive.start + (1 - progressive.start) * done / progressive.until
    height, width = (min(side, max(smallest, 4 * math.ceil(side * scale / 4))) for side in full)
    return height, width
