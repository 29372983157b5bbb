"""All that changes while training: the state, which a checkpoint holds, and the rows that the training reports."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from classicnets.errors import WeightsError
from classicnets.evaluation.best import Best, best_index, score_of
from classicnets.models.contract import ConvNet
from classicnets.training.memory.lean import Lean
from classicnets.training.recipe.schema import Recipe
from classicnets.training.step.optimizer import make_optimizer
from classicnets.training.transfer.freeze import freeze


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
        return score_of(self.value(by), by)


@dataclass
class Tally:
    """What the epoch under way has added up so far."""

    loss: float = 0.0
    correct: int = 0
    images: int = 0
    seconds: float = 0.0

    @property
    def accuracy(self) -> float:
        """The share of the images that were right, 0..1."""
        return self.correct / self.images

    @property
    def images_per_second(self) -> float:
        """Images trained on per second."""
        return self.images / self.seconds


@dataclass
class TrainState:
    """Everything that changes while training.

    Attributes:
        model: the network that learns.
        optimizer: its optimizer.
        lean: the layers that train in less memory. What they hold between steps does not matter.
        best: how epochs are compared.
        average: the moving average of the weights, or None.
        step: optimizer steps done.
        seconds: time spent in the epochs that are done.
        rollbacks: how often the run went back because numbers went wrong. Each time quarters the learning rate.
        tally: the epoch under way.
        history: the epochs that are done.
    """

    model: ConvNet
    optimizer: torch.optim.Optimizer
    lean: Lean
    best: Best
    average: ConvNet | None = None
    step: int = 0
    seconds: float = 0.0
    rollbacks: int = 0
    tally: Tally = field(default_factory=Tally)
    history: list[EpochDone] = field(default_factory=list)

    @classmethod
    def begin(cls, model: ConvNet, recipe: Recipe) -> TrainState:
        """The state before the first step."""
        average = copy.deepcopy(model).requires_grad_(False) if recipe.ema else None
        freeze(model, recipe.finetune, done=1.0)  # what is frozen at the end never learns: no optimizer needs to know
        optimizer = make_optimizer(model, recipe.optim, recipe.finetune)
        return cls(model, optimizer, Lean(model), recipe.best, average)

    @property
    def validated_model(self) -> ConvNet:
        """The network that is validated and kept: the average if there is one."""
        return self.average or self.model

    @property
    def best_epoch(self) -> EpochDone:
        """The best epoch so far on the validation images (of equals, the later)."""
        best = best_index([row.value(self.best) for row in self.history], self.best)
        assert best is not None, "an epoch is done"
        return self.history[best]

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
