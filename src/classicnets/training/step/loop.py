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
    """Train `state` until the recipe's epochs are done or its patience is over; validate after each epoch.

    Yields a StepDone after every optimizer step and an EpochDone after every validation. All processes iterate alike
    and get the same events. Raises TrainingDiverged when the loss is no longer finite, before the step is taken.
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
            if freeze(state.model, recipe.finetune, share_done(session, state)) or objective is None:
                objective = session.processes.parallel(session.objective(state.model))
            lr = rate_now(session, state)
            loss = train_step(session, state, batch, lr, objective)
            now = time.perf_counter()
            tally = state.tally
            tally.seconds, before = tally.seconds + now - before, now
            yield StepDone(epoch + 1, state.step, loss, tally.accuracy, lr, tally.images_per_second)
        measure_statistics(session, state)
        logits = session.validation.logits(state.validated_model)
        state.seconds += state.tally.seconds + time.perf_counter() - before
        row = _epoch_done(session, state, logits, size[0])
        if not math.isfinite(row.val_loss):
            raise diverged(
                f"The validation loss is {row.val_loss} after epoch {row.epoch}: the weights have grown out of bounds.",
                recipe,
            )
        state.history.append(row)
        state.tally = Tally()
        yield row


def share_done(session: Session, state: TrainState) -> float:
    """The share of the run that is over, 0..1."""
    return state.step / (len(session.loader) * session.recipe.epochs)


def rate_now(session: Session, state: TrainState) -> float:
    """The learning rate of the next step."""
    recipe = session.recipe
    return state.rate * learning_rate(recipe.optim, recipe.schedule, share_done(session, state))


def train_step(
    session: Session, state: TrainState, batch: Batch, lr: float, objective: nn.Module | None = None
) -> float:
    """Take one optimizer step on a batch and return its loss.

    Args:
        session: what the training works with.
        state: what the step changes.
        batch: this process's share of the batch.
        lr: the learning rate.
        objective: what `processes.parallel` made of `session.objective`; made here if None.

    The gradients are those of the mean over the whole batch, of all processes. Raises TrainingDiverged if the loss or
    the gradient is not finite; then no weight has changed.
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
    """The loss and the number of right answers, added up over the images of a batch."""

    loss: float
    correct: int


def _forward_backward(session: Session, state: TrainState, batch: Batch, objective: nn.Module) -> _Summed:
    """Compute the gradients, part by part if the recipe accumulates."""
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
            seeded(_seed(session, state), precision.device),  # dropout, a function of the step
            whole_batch(state.model, shard, size, processes=processes.world),
            replaced_forwards(state.lean.forwards),
            more_to_come,
        ):
            with precision():
                loss, logits = objective(batch.images[here], batch.targets[here])
            # Gradients of parts add up, and those of processes are averaged.
            (loss * (len(logits) / size * processes.world)).backward()
        loss_sum += loss.item() * len(logits)
        correct += int((logits.argmax(1) == batch.labels[here]).sum())
    loss_sum, correct_everywhere = processes.sums(loss_sum, correct)
    return _Summed(loss_sum, int(correct_everywhere))


def _shards(session: Session) -> list[Shard]:
    """The parts of the whole batch that this process computes, one after another."""
    rank, world, parts = session.processes.rank, session.processes.world, session.recipe.accumulate
    return [Shard(rank * parts + i, world * parts) for i in range(parts)]


def _seed(session: Session, state: TrainState) -> int:
    return (session.recipe.seed << 32) + state.step


def _first_failure(session: Session, state: TrainState, batch: Batch) -> str:
    """A sentence on where numbers stop being finite, found by running the batch once more."""

    def again() -> Tensor:
        with seeded(_seed(session, state), session.precision.device), session.precision():
            loss: Tensor = session.objective(state.model)(batch.images, batch.targets).loss
            return loss

    return first_not_finite(session.trained_part(state.model), batch.images, again)


def _update(session: Session, state: TrainState, lr: float) -> None:
    """Move the weights by their gradients, and the average after them."""
    for group in state.optimizer.param_groups:
        group["lr"] = lr * group["scale"]
    state.optimizer.step()
    if session.processes.world == 1:  # with several, DistributedDataParallel places the gradients
        state.lean.reclaim()
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    if state.average is not None:
        update_average(state.average, state.model, min(session.recipe.ema, state.step / (state.step + 9)))


def _epoch_done(session: Session, state: TrainState, logits: Tensor, side: int) -> EpochDone:
    """The row of the epoch that is over."""
    labels, tally = session.validation.labels, state.tally
    return EpochDone(
        epoch=len(state.history) + 1,
        step=state.step,
        image_size=side,
        lr=rate_now(session, state),
        train_loss=tally.loss / tally.images,
        train_accuracy=tally.accuracy,
        val_loss=cross_entropy(logits, labels),
        val_accuracy=topk_accuracy(logits, labels, k=1),
        val_balanced_accuracy=balanced_accuracy(logits, labels),
        images_per_second=tally.images_per_second,
        seconds=state.seconds,
    )


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
