"""`Unread`: the sums of the steps that the host has not read yet.

On a GPU the host only queues a step's work. Reading a number of it, such as the loss, waits until the GPU has caught
up. So the numbers are added up on the device, and the host reads many steps at once.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

MOST_SKIPPED = 24
"""Steps in a row that loss scaling may skip. Each halves the scale, which starts at 2^16, so 24 bring it below 1."""


class Reading(NamedTuple):
    """What the host reads: sums over the steps since the last reading, and the last step.

    If a step failed, the sums end before it, and it counts as the last one.

    Attributes:
        loss: sum of the loss over the images.
        correct: number of correct predictions.
        steps: number of steps.
        last_loss: sum of the loss over the images of the last step.
        last_norm: the gradient's norm in the last step.
        failed: whether a step failed, because its loss or its gradient is not finite.
    """

    loss: float
    correct: int
    steps: int
    last_loss: float
    last_norm: float
    failed: bool


class Unread:
    """Sums of the steps since the last reading, on the device of the loss.

    After a step that failed, all later steps count as failed too. The optimizer skips them, so the weights stay those
    before the failure until the host reads.

    Attributes:
        steps: how many steps were added since the last reading.
    """

    def __init__(self) -> None:
        self.steps = 0
        self._sums: Tensor | None = None  # loss, correct predictions, steps

    def add(self, loss: Tensor, correct: Tensor, norm: Tensor, *, scaled: bool) -> Tensor:
        """Add a step, and return 1 if the optimizer must skip it, else 0: float32 (), on the device.

        Args:
            loss: sum of the loss over the images of the batch: float64 (), or float32 () on a device without float64.
            correct: number of correct predictions: integers or floats ().
            norm: the norm of the gradient: floats ().
            scaled: whether the loss is scaled. Then a gradient that is not finite is skipped, and only the 25th in a
                row is a failure.
        """
        if self._sums is None:
            self._sums, self._last = loss.new_zeros(3), loss.new_zeros(2)
            self._failed = torch.zeros_like(loss, dtype=torch.bool)
            self._skipped = torch.zeros_like(loss)
        overflow = ~norm.isfinite()
        self._skipped = (self._skipped + 1) * overflow
        fails = ~loss.isfinite() | (self._skipped > (MOST_SKIPPED if scaled else 0))
        self._last = torch.where(self._failed, self._last, torch.stack([loss, norm.to(loss)]))
        self._failed = self._failed | fails
        step = torch.stack([loss, correct.to(loss), torch.ones_like(loss)])
        self._sums = self._sums + torch.where(self._failed, 0.0, step)
        self.steps += 1
        return (self._failed | overflow).float()

    def read(self) -> Reading:
        """Wait for the device, return the sums, and begin again at zero. Call it only if `steps` is above 0."""
        assert self._sums is not None, "a step was added"
        numbers = torch.cat([self._sums, self._last, self._failed[None]]).tolist()
        loss, correct, steps, last_loss, last_norm, failed = numbers
        self.steps, self._sums = 0, torch.zeros_like(self._sums)
        return Reading(loss, int(correct), int(steps), last_loss, last_norm, bool(failed))
