"""The training loop. `fit` is a generator: it trains and yields an event after each step; `close()` stops it.

    order, augment -> forward -> loss -> backward -> step -> StepDone ... -> validate -> EpochDone ...

It prints nothing and writes no file. Everything that changes is in `TrainState`. A step depends only on the state, the
seed and the step number, so on a CPU a training can resume bit for bit from the state between any two events.

On a GPU the loop queues steps and reads their losses every `READ_EVERY` steps, so that the GPU never waits for it.
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
from classicnets.training.step.optimizer import learning_rate, skipping
from classicnets.training.step.session import Session
from classicnets.training.step.state import EpochDone, StepDone, Tally, TrainState
from classicnets.training.step.statistics import measure_statistics
from classicnets.training.transfer.freeze import freeze, train_mode

READ_EVERY = 20
"""Steps after which an accelerator's losses are read: rarely enough that it does not wait, often enough to watch."""


def fit(session: Session, state: TrainState) -> Iterator[StepDone | EpochDone]:
    """Train `state` until the recipe's epochs are done or its patience runs out; validate after each epoch.

    If the session does not validate, the epochs' validation metrics are NaN.

    Every process calls it and gets the same events.

    Args:
        session: what the training works with; it does not change.
        state: what the training changes. To resume, give a restored state.

    Yields:
        A StepDone after every optimizer step, an EpochDone after every validation. On an accelerator a StepDone may
        come while the step is still being computed; see `StepDone`.

    Raises:
        TrainingDiverged: the loss or the gradient is not finite. The step is not taken. On an accelerator it is raised
            at the next reading, at the latest after the epoch's last step; no step after the failed one is taken.

    >>> for event in fit(session, TrainState.begin(model, recipe)): ...
    """
    recipe, loader = session.recipe, session.loader
    objective: nn.Module | None = None
    while not state.is_over(recipe):
        epoch = len(state.history)
        size = _size(session, state)
        batches = loader.batches(epoch, start=state.step - epoch * len(loader), image_size=size)
        before = time.perf_counter()
        for batch in session.inputs(batches):
            if freeze(state.model, recipe.finetune, session.share_done(state.step)) or objective is None:
                objective = _objective(session, state)
            lr, reads = rate_now(session, state), _reads(session, state)
            loss = train_step(session, state, batch, lr, objective, reads)
            tally = state.tally
            if reads:
                now = time.perf_counter()
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


def _objective(session: Session, state: TrainState) -> nn.Module:
    """The training loss of the parameters that learn now, compiled if the session compiles."""
    objective = session.objective(state.model)
    if session.compiles:
        objective.compile()  # in place: names, types and checkpoints stay as they are
    return session.processes.parallel(objective)


def rate_now(session: Session, state: TrainState) -> float:
    """Return the learning rate of the next step."""
    recipe = session.recipe
    return state.rate * learning_rate(recipe.optim, recipe.schedule, session.share_done(state.step))


def _reads(session: Session, state: TrainState) -> bool:
    """Whether to read the next step's loss: on a CPU always; else an epoch's first and last, and every 20th step."""
    step, epoch_ends = state.step + 1, (len(state.history) + 1) * len(session.loader)
    nothing_yet = not state.tally.images or math.isnan(state.loss)
    return session.precision.device.type == "cpu" or nothing_yet or step % READ_EVERY == 0 or step == epoch_ends


def train_step(
    session: Session,
    state: TrainState,
    batch: Batch,
    lr: float,
    objective: nn.Module | None = None,
    reads: bool = True,
) -> float:
    """Take one optimizer step on a batch and return its loss.

    Args:
        session: what the training works with.
        state: what the step changes.
        batch: this process's part of the batch: images (B, C, H, W), targets (B,) or (B, K), labels (B,).
        lr: the learning rate.
        objective: `session.objective(state.model)`, wrapped by `processes.parallel`. None: created here.
        reads: whether to wait for the device and read the loss. If not, the step is only queued.

    Returns:
        The mean loss over the whole batch, of all processes; the gradients are of this mean too. If earlier steps were
        not read, it is the mean over them too. Without `reads`, it is what was read last.

    Raises:
        TrainingDiverged: the loss or the gradient is not finite, in this step or in one that was not read. No weight
            has changed since.
    """
    device, optimizer = session.precision.device, state.optimizer
    batch = batch.on(device)
    summed = _forward_backward(session, state, batch, objective or session.objective(state.model))
    state.scaler.unscale_(optimizer)
    parameters = [parameter for parameter in state.model.parameters() if parameter.grad is not None]
    norm = get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    scaled = state.scaler.is_enabled()
    skip = state.unread.add(summed.loss, summed.correct, norm, scaled=scaled)
    if reads:
        read(session, state, batch)
    if session.recipe.optim.clip_norm:
        clip_grads_with_norm_(parameters, session.recipe.optim.clip_norm, norm)
    _update(session, state, lr, skip if scaled or not reads else None)
    return state.loss


def read(session: Session, state: TrainState, batch: Batch | None = None) -> None:
    """Read the losses of the steps that were only queued, into the tally. Waits for the device.

    Args:
        session: what the training works with.
        state: the state between two steps; or within one, before its update.
        batch: the batch of the step that is under way. None: no step is.

    Raises:
        TrainingDiverged: the loss or the gradient of one of these steps is not finite. The state is that before it,
            except for running statistics and the average.
    """
    if not state.unread.steps:
        return
    under_way = int(batch is not None)
    first = state.step + under_way - state.unread.steps + 1
    reading = state.unread.read()
    tally, size = state.tally, session.batch_size
    tally.loss += reading.loss
    tally.correct += reading.correct
    tally.images += reading.steps * size
    if reading.failed:
        late = first + reading.steps != state.step + under_way
        state.step = first + reading.steps - 1
        raise diverged(
            f"The loss is {reading.last_loss / size} and the gradient's norm {reading.last_norm} at step "
            f"{state.step + 1}, with learning rate {rate_now(session, state):.3g}.", session.recipe,
            _first_failure(session, state, None if late else batch),
        )  # fmt: skip
    state.loss = reading.loss / (reading.steps * size)


class _Summed(NamedTuple):
    """Sums over the images of a batch: the loss, and the number of correct predictions. Both are on the device."""

    loss: Tensor
    correct: Tensor


def _forward_backward(session: Session, state: TrainState, batch: Batch, objective: nn.Module) -> _Summed:
    """Compute the gradients of the whole batch, part by part if the recipe accumulates."""
    processes, precision, size = session.processes, session.precision, session.batch_size
    train_mode(state.model)
    state.optimizer.zero_grad(set_to_none=True)
    sums = torch.zeros(2, dtype=precision.widest, device=precision.device)
    shards = _shards(session)
    first = shards[0].of(size).start
    for shard in shards:
        here = slice(shard.of(size).start - first, shard.of(size).stop - first)
        more_to_come = processes.without_sync(objective) if shard is not shards[-1] else nullcontext()
        with (
            seeded(_seed(session, state), precision.device),  # dropout depends on the step alone
            whole_batch(state.model, shard, size, processes=processes.world),
            replaced_forwards({} if session.compiles else state.forwards),
            more_to_come,
        ):
            with precision():
                loss, logits = objective(batch.images[here], batch.targets[here])
            # Gradients are summed over parts and averaged over processes.
            state.scaler.scale(loss * (len(logits) / size * processes.world)).backward()
        correct = (logits.argmax(1) == batch.labels[here]).sum()
        sums += torch.stack([loss.detach().to(sums) * len(logits), correct.to(sums)])
    return _Summed(*processes.summed(sums))


def _shards(session: Session) -> list[Shard]:
    """Return the parts of the batch that this process computes, in order."""
    rank, world, parts = session.processes.rank, session.processes.world, session.recipe.accumulate
    return [Shard(rank * parts + i, world * parts) for i in range(parts)]


def _seed(session: Session, state: TrainState) -> int:
    return (session.recipe.seed << 32) + state.step


def _first_failure(session: Session, state: TrainState, batch: Batch | None) -> str:
    """Run a failed step again, and return a sentence that names the first value that is not finite.

    `batch` is its batch, whose gradients are still there. None: the batch of the next step is made again.
    """
    if batch is None:
        epoch = len(state.history)
        made = session.loader.batches(
            epoch, start=state.step - epoch * len(session.loader), image_size=_size(session, state)
        )
        batch = next(iter(session.inputs(made))).on(session.precision.device)
        if session.processes.world == 1:  # of several, only the first may be reading
            _forward_backward(session, state, batch, session.objective(state.model))

    def again() -> Tensor:
        with seeded(_seed(session, state), session.precision.device), session.precision():
            loss: Tensor = session.objective(state.model)(batch.images, batch.targets).loss
            return loss

    return first_not_finite(session.trained_part(state.model), batch.images, again)


def _size(session: Session, state: TrainState) -> tuple[int, int]:
    """The size of the training images in the epoch under way, in pixels."""
    recipe, full = session.recipe, session.preprocess.input_size
    return image_size_at(recipe.progressive, full, len(state.history) / recipe.epochs, state.model.config.min_size)


def _update(session: Session, state: TrainState, lr: float, skip: Tensor | None) -> None:
    """Update the weights, then their moving average. If `skip` is 1, the weights stay; None means 0."""
    for group in state.optimizer.param_groups:
        group["lr"] = lr * group["scale"]
    with skipping(state.optimizer, skip):
        state.optimizer.step()
    state.scaler.update()
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
