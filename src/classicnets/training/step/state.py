"""`TrainState`, everything that changes while training, and the events that a training reports."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from classicnets.errors import WeightsError
from classicnets.evaluation.best import Best, best_index, metric_of, score_of
from classicnets.models.contract import ConvNet
from classicnets.system.devices import Precision
from classicnets.training.memory.lean import Lean
from classicnets.training.recipe.schema import Recipe
from classicnets.training.step.convolution import fast_convolutions
from classicnets.training.step.optimizer import make_optimizer
from classicnets.training.step.unread import Unread
from classicnets.training.transfer.freeze import freeze


@dataclass(frozen=True)
class StepDone:
    """One optimizer step.

    On an accelerator the step may still be under way. Its loss, accuracy and speed are then those of the last reading:
    an epoch's first step, every 20th step of the run and an epoch's last step are read.

    Attributes:
        epoch: the epoch, from 1.
        step: the step, from 1 over the whole run.
        loss: mean loss of the batch; on an accelerator, of all batches between the last two readings.
        accuracy: training accuracy of the epoch so far, 0..1.
        lr: the learning rate of the step.
        images_per_second: training speed in the epoch so far.
    """

    epoch: int
    step: int
    loss: float
    accuracy: float
    lr: float
    images_per_second: float


@dataclass(frozen=True)
class EpochDone:
    """One epoch and its validation: a row of `metrics.csv`.

    Attributes:
        epoch: the epoch, from 1.
        step: optimizer steps done in the whole run.
        image_size: height of the training images, in pixels.
        lr: the learning rate of the next step.
        train_loss, train_accuracy: means over the epoch's training images; accuracies are 0..1.
        val_loss, val_accuracy, val_balanced_accuracy: the validated network on the validation images; NaN in the
            second training of `data.refit`, which has none.
        images_per_second: training speed, without validation.
        seconds: training time since the start of the run, with validation.
    """

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
        """Return the validation metric that `by` measures: an accuracy, 0..1, or a loss."""
        return {
            "accuracy": self.val_accuracy, "loss": self.val_loss, "balanced_accuracy": self.val_balanced_accuracy
        }[metric_of(by)]  # fmt: skip

    def score(self, by: Best) -> float:
        """Return the metric that `by` measures as a score: higher is better, also for a loss."""
        return score_of(self.value(by), by)


@dataclass
class Tally:
    """Sums over the current epoch so far."""

    loss: float = 0.0
    correct: int = 0
    images: int = 0
    seconds: float = 0.0

    @property
    def accuracy(self) -> float:
        """The fraction of correct predictions, 0..1."""
        return self.correct / self.images

    @property
    def images_per_second(self) -> float:
        """Images trained on per second."""
        return self.images / self.seconds


@dataclass
class TrainState:
    """Everything that changes while training.

    Attributes:
        model: the network to train.
        optimizer: its optimizer.
        lean: the layers that train in less memory. They hold no state that a checkpoint needs.
        forwards: what the layers that train in less memory or less time use as their `forward`.
        best: how epochs are compared.
        average: the moving average of the weights, or None.
        step: optimizer steps done.
        seconds: time spent in completed epochs.
        rollbacks: how often the run returned to a checkpoint because it diverged. Each one quarters the learning rate.
        scaler: the scale of the loss, which only fp16 needs; else a do-nothing object.
        tally: sums over the current epoch.
        history: one row per completed epoch.
        unread: sums of the steps that are not in the tally yet. A checkpoint is written after they are read.
        loss: the mean loss that was read last.
    """

    model: ConvNet
    optimizer: torch.optim.Optimizer
    lean: Lean
    forwards: dict[nn.Module, Any]
    best: Best
    scaler: torch.amp.GradScaler
    average: ConvNet | None = None
    step: int = 0
    seconds: float = 0.0
    rollbacks: int = 0
    tally: Tally = field(default_factory=Tally)
    history: list[EpochDone] = field(default_factory=list)
    unread: Unread = field(default_factory=Unread)
    loss: float = math.nan

    @classmethod
    def begin(cls, model: ConvNet, recipe: Recipe) -> TrainState:
        """Return the state before the first step, for a network on its device and a resolved recipe."""
        average = copy.deepcopy(model).requires_grad_(False) if recipe.ema else None
        freeze(model, recipe.finetune, done=1.0)  # stages frozen until the end need no optimizer
        optimizer = make_optimizer(model, recipe.optim, recipe.finetune)
        lean = Lean(model)
        forwards = {**lean.forwards, **fast_convolutions(model)}
        scaler = Precision.choose(recipe.precision, next(model.parameters()).device).scaler()
        return cls(model, optimizer, lean, forwards, recipe.best, scaler, average)

    @property
    def validated_model(self) -> ConvNet:
        """The network that is validated and saved: the average if there is one."""
        return self.average or self.model

    @property
    def best_epoch(self) -> EpochDone:
        """The epoch that is kept: the best so far on the validation images, of equals the later one; or the last."""
        best = best_index([row.value(self.best) for row in self.history], self.best)
        assert best is not None, "an epoch is done"
        return self.history[best]

    @property
    def best_reached(self) -> int:
        """The first epoch that reached the best score; no later epoch is better."""
        return next(row.epoch for row in self.history if row.score(self.best) == self.best_epoch.score(self.best))

    @property
    def rate(self) -> float:
        """The factor on the recipe's learning rate, lowered by rollbacks."""
        return float(0.25**self.rollbacks)

    @property
    def improved(self) -> bool:
        """Whether the last epoch is the best so far."""
        return self.history[-1] == self.best_epoch

    def is_over(self, recipe: Recipe) -> bool:
        """Whether all epochs are done, or the last `patience` epochs brought no improvement."""
        done = len(self.history)
        if recipe.patience is None or not done:
            return done >= recipe.epochs
        return done >= recipe.epochs or done - self.best_reached >= recipe.patience

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights of the model as `model.NAME`, and of its average as `average.NAME`."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        return tensors

    def trainer(self) -> dict[str, Any]:
        """Return the rest of the state as plain types and tensors."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "rollbacks": self.rollbacks,
            "tally": asdict(self.tally),
            "history": [asdict(row) for row in self.history],
        }

    def restore(self, tensors: dict[str, Tensor], trainer: dict[str, Any]) -> None:
        """Restore a saved state.

        Args:
            tensors: what `tensors()` returned.
            trainer: what `trainer()` returned.

        Raises:
            WeightsError: another version of classicnets saved the state, with other fields.
        """
        try:
            history = [EpochDone(**row) for row in trainer["history"]]
            tally = Tally(**trainer["tally"])
            self.step, self.seconds, self.rollbacks = trainer["step"], trainer["seconds"], trainer["rollbacks"]
        except (KeyError, TypeError) as error:
            raise WeightsError(
                f"The checkpoint was written by another version of classicnets ({error}). Resume with that "
                f"version, named in the run's environment.json, or start a new run from its weights: --weights RUN."
            ) from None
        for part, net in (("model", self.model), ("average", self.average)):
            if net is not None:
                net.load_state_dict(
                    {k.removeprefix(f"{part}."): v for k, v in tensors.items() if k.startswith(f"{part}.")}
                )
        self.optimizer.load_state_dict(trainer["optimizer"])
        self.optimizer.zero_grad(set_to_none=True)
        if scale := trainer.get("scaler"):  # older checkpoints and other precisions have none
            self.scaler.load_state_dict(scale)
        self.history, self.tally, self.unread = history, tally, Unread()

    def begin_epoch(self, steps_per_epoch: int) -> None:
        """Restart the current epoch with the weights as they are; `steps_per_epoch` may have changed."""
        self.step = len(self.history) * steps_per_epoch
        self.tally, self.unread = Tally(), Unread()
