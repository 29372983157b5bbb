"""The training loop. `fit` is a generator: it trains, and reports by yielding; stopping it is `close()`.

    order, augment -> forward -> loss -> backward -> step -> StepDone ... -> validate -> EpochDone ...

It prints nothing and writes no file. All that changes is in `TrainState`, between any two events complete enough
to go on from, bit for bit: what a step does is a function of the state and of (seed, step).
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from classicnets.classifier import Classifier
from classicnets.data.loader import Batch, Part, steps_per_epoch, training_batches
from classicnets.data.pack import Packed
from classicnets.errors import WeightsError
from classicnets.evaluation.metrics import balanced_accuracy, cross_entropy, topk_accuracy
from classicnets.hardware import Precision
from classicnets.models.contract import ConvNet
from classicnets.training.diagnose import diverged, first_not_finite
from classicnets.training.distill import Teacher
from classicnets.training.distributed import ALONE, Processes
from classicnets.training.finetune import Features, changes, freeze, train_mode
from classicnets.training.lean import replaced_forwards, wide_linears
from classicnets.training.objective import Trained
from classicnets.training.optimizer import learning_rate, make_optimizer
from classicnets.training.recipe import Best, LossSection, ProgressiveSection, Recipe
from classicnets.training.whole_batch import whole_batch

MOST_ROLLBACKS = 3


@dataclass(frozen=True)
class StepDone:
    """One optimizer step: `step` counts from 1 over the run, `loss` is the batch's, `accuracy` the epoch's so far."""

    epoch: int
    step: int
    loss: float
    accuracy: float
    lr: float
    images_per_second: float


@dataclass(frozen=True)
class EpochDone:
    """One epoch and its validation: a row of `metrics.csv`. Accuracies are 0..1, `seconds` since the run's start."""

    epoch: int
    step: int
    image_size: int
    lr: float
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    val_balanced_accuracy: float
    images_per_second: float
    seconds: float

    def value(self, by: Best) -> float:
        """What the epoch is judged by: a share, 0..1, or a loss."""
        return {
            "accuracy": self.val_accuracy, "loss": self.val_loss, "balanced_accuracy": self.val_balanced_accuracy
        }[by]  # fmt: skip

    def score(self, by: Best) -> float:
        """How good the epoch is; more is better."""
        return -self.value(by) if by == "loss" else self.value(by)


@dataclass
class Tally:
    """What the epoch under way has added up so far."""

    loss: float = 0.0
    correct: int = 0
    images: int = 0
    seconds: float = 0.0


@dataclass
class TrainState:
    """Everything that changes while training. `average` is the moving average of the weights, or None.

    What it goes by stays: `best` is how epochs are compared, `class_weights` (K,), `teacher` and `features` (those of
    a trunk that never learns) are None where the recipe asks for none.
    `rollbacks` says how often the run went back because numbers went wrong: each has quartered the rate.
    """

    model: ConvNet
    optimizer: torch.optim.Optimizer
    average: ConvNet | None = None
    best: Best = "accuracy"
    class_weights: Tensor | None = None
    teacher: Teacher | None = None
    features: Features | None = None
    step: int = 0
    seconds: float = 0.0
    rollbacks: int = 0
    tally: Tally = field(default_factory=Tally)
    history: list[EpochDone] = field(default_factory=list)

    @classmethod
    def begin(cls, model: ConvNet, recipe: Recipe) -> TrainState:
        average = copy.deepcopy(model).requires_grad_(False) if recipe.ema else None
        freeze(model, recipe.finetune, done=1.0)  # what is frozen at the end never learns: no optimizer needs to know
        return cls(model, make_optimizer(model, recipe.optim, recipe.finetune), average, recipe.best)

    @property
    def learner(self) -> nn.Module:
        """The network that learns from a batch: all of it, or what comes after features that are kept."""
        return self.features.rest if self.features else self.model

    def trained(self, recipe: LossSection) -> Trained:
        """What is minimised, as a module over the learner."""
        return Trained(self.learner, recipe, self.class_weights, self.teacher)

    @property
    def evaluated(self) -> ConvNet:
        """The network to validate and keep: the average where there is one."""
        return self.average or self.model

    @property
    def best_epoch(self) -> EpochDone:
        """The best epoch so far on the validation images (of equals, the later)."""
        return max(self.history, key=lambda row: (row.score(self.best), row.epoch))

    @property
    def best_reached(self) -> int:
        """The epoch that first was as good as the best: none after it was better."""
        return next(row.epoch for row in self.history if row.score(self.best) == self.best_epoch.score(self.best))

    @property
    def rate(self) -> float:
        """What the recipe's learning rate is multiplied by."""
        return float(0.25**self.rollbacks)

    @property
    def improved(self) -> bool:
        """Whether the last epoch is the best so far."""
        return self.history[-1] == self.best_epoch

    def is_over(self, recipe: Recipe) -> bool:
        """Whether all epochs are done, or the last `patience` of them brought nothing better."""
        done = len(self.history)
        if recipe.patience is None or not done:
            return done >= recipe.epochs
        return done >= recipe.epochs or done - self.best_reached >= recipe.patience

    def tensors(self) -> dict[str, Tensor]:
        """The weights of the model and of its average, each name prefixed with where it belongs."""
        parts = {"model": self.model, "average": self.average}
        return {f"{part}.{k}": v for part, net in parts.items() if net for k, v in net.state_dict().items()}

    def trainer(self) -> dict[str, Any]:
        """The rest of the state, in plain types and tensors."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "rollbacks": self.rollbacks,
            "tally": asdict(self.tally),
            "history": [asdict(row) for row in self.history],
        }

    def restore(self, tensors: dict[str, Tensor], trainer: dict[str, Any]) -> None:
        """Go back to a state that `tensors` and `trainer` described.

        Raises WeightsError where another version described it, with other things in it.
        """
        try:
            history = [EpochDone(**row) for row in trainer["history"]]
            tally = Tally(**trainer["tally"])
            self.step, self.seconds, self.rollbacks = trainer["step"], trainer["seconds"], trainer["rollbacks"]
        except (KeyError, TypeError) as error:
            raise WeightsError(
                f"The checkpoint was written by another version of classicnets ({error}). Go on with that one, which "
                f"the run's environment.json names, or start from what was learned: --weights RUN."
            ) from None
        for part, net in (("model", self.model), ("average", self.average)):
            if net is not None:
                net.load_state_dict(
                    {k.removeprefix(f"{part}."): v for k, v in tensors.items() if k.startswith(f"{part}.")}
                )
        self.optimizer.load_state_dict(trainer["optimizer"])
        self.optimizer.zero_grad(set_to_none=True)
        self.history, self.tally = history, tally

    def begin_epoch(self, steps_per_epoch: int) -> None:
        """Go to the beginning of the epoch under way, the weights as they are; an epoch may have other steps now."""
        self.step = len(self.history) * steps_per_epoch
        self.tally = Tally()


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
    freeze(state.model, recipe.finetune, done=1.0)  # what learns later is to be known from the beginning
    trained = processes.parallel(state.trained(recipe.loss), changing=changes(recipe.finetune))
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
            freeze(state.model, recipe.finetune, done())
            lr = rate()
            loss = train_step(state, batch, lr, recipe, precision, processes, trained, size_of_batch)
            now = time.perf_counter()
            state.tally.seconds, before = state.tally.seconds + now - before, now
            tally = state.tally
            yield StepDone(epoch + 1, state.step, loss, tally.correct / tally.images, lr, tally.images / tally.seconds)
        classifier.model = state.evaluated
        logits = processes.logits(
            classifier, val.images, batch_size=max(64, recipe.batch_size), precision=precision.name
        )
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
            replaced_forwards(wide_linears(state.model)),
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
