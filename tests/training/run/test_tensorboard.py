"""TensorBoard's files, read back by TensorBoard's own reader."""

import sys

import pytest

from classicnets.errors import MissingExtra, TrainingDiverged
from classicnets.training import EpochDone, StepDone, reopen, start
from classicnets.training.run.tensorboard import log_to_tensorboard
from classicnets.training.step import loop

FAST = ("epochs=2", "batch_size=512", "precision=fp32", "model.switches.depths=[1,1,1]")


def scalars(run):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_a_killed_training_that_goes_on_has_every_step_once(tmp_path):
    """It is killed after step 3, its last checkpoint is that of step 2: step 3 is done twice."""
    job = start("resnet20_cifar", "digits", settings=FAST, out=tmp_path / "run")
    killed = log_to_tensorboard(job)
    for event in killed:
        if isinstance(event, StepDone) and event.step == 3:
            break
    checkpoints = job.run.path / "checkpoints"
    (checkpoints / "step-000002").rename(tmp_path / "kept")
    killed.close()
    for path in checkpoints.iterdir():
        path.rename(tmp_path / path.name)
    (tmp_path / "kept").rename(checkpoints / "step-000002")

    resumed = log_to_tensorboard(reopen(job.run))
    last = next(event for event in resumed if isinstance(event, EpochDone))
    resumed.close()
    found = scalars(job.run)
    assert [step for step, _ in found["step/loss"]] == [1, 2, 3, 4]
    assert [step for step, _ in found["step/lr"]] == [1, 2, 3, 4]
    for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "images_per_second"):
        assert [step for step, _ in found[f"epoch/{name}"]] == [2, 4]
        assert found[f"epoch/{name}"][-1][1] == pytest.approx(getattr(last, name))


@pytest.mark.usefixtures("plain_reports")
def test_steps_that_are_done_again_after_a_rollback_are_there_once(tmp_path, monkeypatch):
    """The loss of the third step fails once; its checkpoint is that of step 1, so that step 2 is done twice."""
    job = start("resnet20_cifar", "digits", settings=[*FAST, "on_nan=rollback"], out=tmp_path / "run")
    train_step, failures = loop.train_step, 1

    def failing(session, state, *args):
        nonlocal failures
        if state.step == 3 and failures:
            failures -= 1
            raise TrainingDiverged("The loss is not finite.")
        return train_step(session, state, *args)

    monkeypatch.setattr(loop, "train_step", failing)
    seen = [event.step for event in log_to_tensorboard(job) if isinstance(event, StepDone)]
    assert seen == [1, 2, 3, 3, 4]
    assert [step for step, _ in scalars(job.run)["step/loss"]] == [1, 2, 3, 4]
    assert [step for step, _ in scalars(job.run)["epoch/val_loss"]] == [2, 4]


def test_a_training_that_goes_on_with_a_validation_keeps_the_step_before_it(tmp_path):
    job = start("resnet20_cifar", "digits", settings=FAST, out=tmp_path / "run")
    closed = log_to_tensorboard(job)
    next(event for event in closed if isinstance(event, StepDone) and event.step == 2)
    closed.close()
    resumed = log_to_tensorboard(reopen(job.run))
    assert isinstance(next(resumed), EpochDone)
    resumed.close()
    assert [step for step, _ in scalars(job.run)["step/loss"]] == [1, 2]


def test_without_tensorboard_the_message_has_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingExtra, match=r"pip install \"classicnets\[track\]\""):
        next(log_to_tensorboard([]))
