"""TensorBoard logs of a training in `RUN/tensorboard`: every step and every epoch as scalars.

View them with `tensorboard --logdir runs`. The package is an extra: `pip install "classicnets[track]"`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from classicnets.errors import MissingExtra
from classicnets.training.run.job import Finished, Job
from classicnets.training.run.refit import Refitting
from classicnets.training.step.state import EpochDone, StepDone

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def require_tensorboard() -> None:
    """Raise MissingExtra, with the line that installs TensorBoard, if it is not installed."""
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        raise MissingExtra(
            'TensorBoard is not installed. Install it with: pip install "classicnets[track]", or leave out '
            "--tensorboard: metrics.csv and events.jsonl are always written."
        ) from None


def log_to_tensorboard(job: Job) -> Iterator[StepDone | EpochDone | Refitting | Finished]:
    """Iterate over a job, and write each event to `RUN/tensorboard` before it is yielded.

    A resumed job appends. Steps that run again after a resume or a rollback replace the old ones. The second training
    of `data.refit` is not written, because its steps have the numbers of the first.

    Args:
        job: a job from `start` or `resume`.

    Yields:
        The events of the job, unchanged.

    Raises:
        MissingExtra: TensorBoard is not installed.

    >>> for event in log_to_tensorboard(start("resnet20_cifar", "digits")): ...
    """
    require_tensorboard()
    writer: SummaryWriter | None = None
    written, refits = 0, False
    try:
        for event in job:
            refits = refits or isinstance(event, Refitting)
            if isinstance(event, StepDone | EpochDone) and not refits:
                # An epoch ends after its last step was written, so the next step to write is one later.
                first = event.step + 1 if isinstance(event, EpochDone) else event.step
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
