"""TensorBoard's event files of a training, in `RUN/tensorboard`: every step and every epoch as scalars.

Look at them with `tensorboard --logdir runs`. The package is an extra: `pip install "classicnets[track]"`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from classicnets.errors import MissingExtra
from classicnets.training.run.job import Finished, Job
from classicnets.training.step.state import EpochDone, StepDone

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def require_tensorboard() -> None:
    """Raise MissingExtra, with the line that installs it, where TensorBoard is not installed."""
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        raise MissingExtra(
            'TensorBoard is not installed. Install it with: pip install "classicnets[track]", or leave --tensorboard '
            "out: metrics.csv and events.jsonl are written always."
        ) from None


def log_to_tensorboard(job: Job) -> Iterator[StepDone | EpochDone | Finished]:
    """Iterate over `job`, and write what it yields to `RUN/tensorboard` on the way.

    A job that goes on after an earlier one appends; steps that are done again, then or after a rollback, take the
    place of the old ones.
    Raises MissingExtra where TensorBoard is not installed.
    """
    require_tensorboard()
    writer: SummaryWriter | None = None
    written = 0
    try:
        for event in job:
            if isinstance(event, StepDone | EpochDone):
                first = event.step + isinstance(event, EpochDone)  # all from this step on is still to come
                if writer is None or first <= written:
                    if writer is not None:
                        writer.close()
                    writer = _writer(job, first)
                written = event.step
                _write(writer, event)
            yield event
    finally:
        if writer is not None:
            writer.close()


def _writer(job: Job, first_step: int) -> SummaryWriter:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(job.run.path / "tensorboard"), purge_step=first_step)


def _write(writer: SummaryWriter, event: StepDone | EpochDone) -> None:
    if isinstance(event, StepDone):
        writer.add_scalar("step/loss", event.loss, event.step)
        writer.add_scalar("step/lr", event.lr, event.step)
        return
    for name in (
        "train_loss",
        "train_accuracy",
        "val_loss",
        "val_accuracy",
        "val_balanced_accuracy",
        "images_per_second",
    ):
        writer.add_scalar(f"epoch/{name}", getattr(event, name), event.step)
    writer.flush()
