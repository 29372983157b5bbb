"""Stopped at bad moments, gone wrong, moved, changed: what a run does then."""

import json
import math
import os
import shutil
import signal
import sys

import pytest
import torch

import classicnets.training.step.objective as minimised
from classicnets.classifier import Classifier
from classicnets.data import load_data
from classicnets.errors import ConfigError, StorageError, TrainingDiverged, WeightsError
from classicnets.evaluation import evaluate
from classicnets.search.find_lr import find_lr
from classicnets.search.tune import resume_tuning
from classicnets.training import EpochDone, Finished, Run, StepDone, reopen, start
from classicnets.training.recipe.schema import Recipe
from classicnets.training.run.checkpoint import newest_checkpoint, save_checkpoint
from classicnets.training.step import loop
from classicnets.training.step.objective import Objective
from classicnets.training.step.state import TrainState
from small import FAST

pytestmark = pytest.mark.usefixtures("plain_reports")

NARROW = (*FAST, "model.switches.widths=[4,8,8]")


def begin(folder, *settings, name="run"):
    return start(
        "resnet20_cifar", "digits", settings=["epochs=3", *NARROW, *settings], out=folder / name, checkpoint_every=1
    )


def until(job, step=None, epoch=None):
    """Train until that step or epoch is done, and close."""
    events = iter(job)
    for event in events:
        if (isinstance(event, StepDone) and event.step == step) or (
            isinstance(event, EpochDone) and event.epoch == epoch
        ):
            events.close()
            return event
    raise AssertionError("the training ended before")


def newest(run):
    checkpoint, notes = newest_checkpoint(run.path / "checkpoints")
    assert notes == []
    return checkpoint


def events(run):
    return [json.loads(line) for line in (run.path / "events.jsonl").read_text().splitlines()]


def fail_at(monkeypatch, step, times=1):
    """Let the loss be infinite at that step, so many times; what the state was is counted by the calls."""
    left = times

    def failing(model, images, targets, recipe, **options):
        nonlocal left
        found = objective(model, images, targets, recipe, **options)
        if model.training and torch.is_grad_enabled() and left and seen.step + 1 == step:
            left -= 1
            return Objective(found.loss * math.inf, found.logits)
        return found

    seen: TrainState
    objective, train_step = minimised.objective, loop.train_step

    def watching(session, state, *args):
        nonlocal seen
        seen = state
        return train_step(session, state, *args)

    monkeypatch.setattr(minimised, "objective", failing)
    monkeypatch.setattr(loop, "train_step", watching)


def test_numbers_that_go_wrong_name_step_layer_and_remedy(tmp_path, monkeypatch):
    job = begin(tmp_path)
    fail_at(monkeypatch, 3)
    with pytest.raises(
        TrainingDiverged,
        match=r"is inf .* at step 3, .*outputs are finite; the gradient of .* is not\..*optim\.lr=.*--on-nan rollback",
    ):
        list(job)
    assert newest(job.run).trainer["step"] == 2
    assert all(tensor.isfinite().all() for tensor in newest(job.run).tensors.values())


def test_a_rollback_lowers_the_rate_and_is_resumed_bit_for_bit(tmp_path, monkeypatch):
    whole, parted = (begin(tmp_path, "on_nan=rollback", "ema=0.9", name=name) for name in ("whole", "parted"))
    fail_at(monkeypatch, 3)
    row = until(whole, epoch=3)
    monkeypatch.undo()
    fail_at(monkeypatch, 3)
    event = until(parted, step=4)
    monkeypatch.undo()
    assert "Returned to step 2 and continued at 0.25 of the rate (rollback 1 of at most 3)" in parted.warnings[0]
    assert [event["rate"] for event in events(parted.run) if event["event"] == "rollback"] == [0.25]
    assert event.lr < 0.03
    assert until(reopen(parted.run), epoch=3).val_loss == row.val_loss
    a, b = newest(whole.run), newest(parted.run)
    assert a.trainer["rollbacks"] == b.trainer["rollbacks"] == 1
    assert all(torch.equal(a.tensors[name], b.tensors[name]) for name in a.tensors)


def test_three_rollbacks_are_the_most_and_the_first_may_go_to_the_very_beginning(tmp_path, monkeypatch):
    job = begin(tmp_path, "on_nan=rollback")
    fail_at(monkeypatch, 1, times=4)
    with pytest.raises(TrainingDiverged, match="step 1"):
        list(job)
    assert len(job.warnings) == 3
    assert newest(job.run).trainer["step"] == 0


def test_sigterm_while_validating_is_obeyed_at_once_and_nothing_is_lost(tmp_path, monkeypatch):
    whole, job = begin(tmp_path, name="whole"), begin(tmp_path)
    row = until(whole, epoch=2)
    logits = Classifier.logits

    def stopped(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        logits(*args, **kwargs)
        raise AssertionError("it went on")

    monkeypatch.setattr(Classifier, "logits", stopped)
    with pytest.raises(SystemExit, match="143"):
        list(job)
    monkeypatch.undo()
    assert newest(job.run).trainer["step"] == 2
    assert newest(job.run).trainer["history"] == []
    assert until(reopen(job.run), epoch=2).val_loss == row.val_loss


def test_one_run_is_written_by_one_process(tmp_path):
    job = begin(tmp_path)
    going = iter(job)
    next(going)
    with pytest.raises(ConfigError, match=rf"being trained by process {os.getpid()} on .*stop it first"):
        reopen(job.run)
    going.close()
    assert reopen(job.run).notes


def test_what_a_kill_left_is_repaired(tmp_path):
    job = begin(tmp_path)
    until(job, epoch=1)
    path = job.run.path
    aside = path / ".model.ab12_x9z.aside"
    aside.mkdir()
    (path / "model").rename(aside / "old")
    with (path / "events.jsonl").open("a") as file:
        file.write('{"time": "2026-')
    reopen(job.run)
    assert Run(path).classifier.classes
    assert not list(path.glob(".*.aside"))
    assert events(job.run)[-1]["event"] == "stopped"


def test_a_best_epoch_whose_model_a_kill_left_unwritten_is_written(tmp_path):
    job = begin(tmp_path)
    until(job, epoch=1)
    config = job.run.path / "model" / "config.json"
    config.unlink()
    next(going := iter(reopen(job.run)))
    going.close()
    assert config.is_file()


def test_a_run_goes_on_where_its_images_have_moved_and_changed_only_if_allowed(photo_folder, tmp_path):
    settings = ["epochs=1", "batch_size=8", "image_size=16", *FAST[1:3], NARROW[-1]]
    job = start("resnet20_cifar", photo_folder, settings=settings, out=tmp_path / "run")
    until(job, step=1)
    moved = photo_folder.rename(tmp_path / "elsewhere")
    assert f"{photo_folder}" not in reopen(job.run, data=moved).run.recipe.data.source
    next(moved.rglob("*.jpg")).unlink()
    with pytest.raises(ConfigError, match=r"batch_size was 8 and is 4; the number of train images was 30 and is 29"):
        reopen(job.run, settings=["batch_size=4"])
    *_, finished = (job := reopen(job.run, settings=["batch_size=4"], allow_change=True))
    assert isinstance(finished, Finished)
    assert any("starts again" in note for note in job.notes)
    assert newest(job.run).trainer["step"] == 7
    before = {path: path.stat().st_mtime_ns for path in job.run.path.rglob("*")}
    again = reopen(job.run)
    assert [type(event) for event in again] == [Finished]
    assert any("is already finished, after step 7" in note for note in again.notes)
    assert {path: path.stat().st_mtime_ns for path in job.run.path.rglob("*")} == before
    assert any("Resuming with changes" in n for n in reopen(job.run, settings=["epochs=2"], allow_change=True).notes)
    assert not job.run.finished


@pytest.mark.skipif(sys.platform == "win32", reason="limits of this kind exist on POSIX only")
def test_a_disk_that_fills_leaves_the_last_checkpoint_and_goes_on_later(tmp_path):
    """A limit on the size of files stands in for the disk: writing fails in the same way."""
    import resource

    whole, job = begin(tmp_path, name="whole"), begin(tmp_path)
    row = until(whole, epoch=2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def follow():
        for event in job:
            if event.step == 2:
                resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, limits[1]))

    try:
        with pytest.raises(StorageError, match=r"Cannot write .*Free some space"):
            follow()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert newest(job.run).trainer["step"] == 2
    assert until(reopen(job.run), epoch=2).val_loss == row.val_loss


def test_a_finished_run_trains_on_for_more_epochs_and_is_measured_again(tmp_path):
    list(job := begin(tmp_path))
    run = job.run
    with pytest.raises(ConfigError, match="cannot be divided"):
        reopen(run, settings=["epochs=4", "accumulate=1000"], allow_change=True)
    assert run.finished
    next(going := iter(reopen(run, settings=["epochs=4"], allow_change=True)))
    going.close()
    *rows, finished = reopen(run)
    assert [row.epoch for row in rows if isinstance(row, EpochDone)] == [4]
    assert isinstance(finished, Finished)
    assert [event["event"] for event in events(run)].count("finished") == 2


def test_a_changed_run_needs_to_be_allowed_once(tmp_path):
    """Killed at any time after that, it goes on by itself."""
    until(begin(tmp_path), epoch=1)
    going = iter(reopen(tmp_path / "run", settings=["optim.lr=0.01"], allow_change=True))
    next(going)
    assert newest(Run(tmp_path / "run")).trainer["identity"]["recipe"]["optim"]["lr"] == 0.01
    going.close()
    assert reopen(tmp_path / "run").recipe.optim.lr == 0.01


def test_recomputing_may_change_and_changes_no_bit(tmp_path):
    for name in ("kept", "recomputed"):
        until(begin(tmp_path, name=name), epoch=1)
    row = until(reopen(tmp_path / "kept"), epoch=2)
    assert until(reopen(tmp_path / "recomputed", settings=["recompute=true"]), epoch=2).val_loss == row.val_loss


@pytest.mark.parametrize("other", [{"history": [{"more": 1.0}]}, {"tally": {"more": 1}}])
def test_a_checkpoint_with_other_columns_names_the_other_version(tmp_path, other):
    until(job := begin(tmp_path), epoch=1)
    checkpoint = newest(job.run)
    checkpoint.trainer.update(other)
    save_checkpoint(job.run.path / "checkpoints", 1, checkpoint)
    with pytest.raises(WeightsError, match=r"another version of classicnets .*more.*--weights RUN"):
        reopen(job.run)


def test_a_torchrun_without_a_name_goes_on_with_its_own_run_only(tmp_path, monkeypatch):
    """The number of its process may have been an earlier torchrun's, whose run has the same recipe."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    recipe = Recipe()
    run = Run.create(tmp_path / "run", recipe, "fp32")
    assert Run.of_launch(tmp_path / "run", recipe) is None
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert Run.of_launch(tmp_path / "run", recipe) == run


@pytest.mark.parametrize("search", [lambda: find_lr("vgg11_cifar", "digits"), lambda: resume_tuning("folder")])
def test_what_one_process_does_is_refused_to_several(monkeypatch, search):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="Start it without torchrun"):
        search()


def test_measuring_a_stopped_run_does_not_finish_it(tmp_path, plain_reports):
    """Its events alone say that a run is finished; a report that somebody else wrote does not."""
    until(job := begin(tmp_path), epoch=1)
    run = job.run
    test = load_data("digits").test
    plain_reports(run.path, evaluate(run.classifier, test), test)
    assert run.page.is_file()
    assert not run.finished
    *events_now, finished = reopen(run)
    assert [event.epoch for event in events_now if isinstance(event, EpochDone)] == [2, 3]
    assert run.finished
    assert finished.report.num_images == run.report.num_images


def test_a_report_that_is_gone_is_made_again(tmp_path):
    *_, finished = (job := begin(tmp_path, "epochs=1"))
    shutil.rmtree(job.run.path / "evaluation")
    *_, again = reopen(job.run)
    assert again.report.top1 == finished.report.top1


def test_a_job_that_is_held_does_not_undo_what_another_trained(tmp_path):
    until(held := begin(tmp_path), epoch=1)
    held = reopen(held.run)
    until(reopen(held.run), epoch=2)
    kept = newest(held.run).trainer["step"]
    with pytest.raises(ConfigError, match="has been trained by another process since"):
        next(iter(held))
    assert newest(held.run).trainer["step"] == kept
    assert len(held.run.metrics("epoch")) == 2


def test_a_new_run_that_another_process_trained_is_not_begun_again(tmp_path):
    held = begin(tmp_path)
    until(reopen(held.run), epoch=1)
    with pytest.raises(ConfigError, match="--resume"):
        next(iter(held))
    assert len(held.run.metrics("epoch")) == 1


def test_a_part_of_one_image_is_refused_beforehand_with_batch_norm(tmp_path):
    with pytest.raises(ConfigError, match="batch norm needs at least 2 images in each part"):
        begin(tmp_path, "batch_size=4", "accumulate=4")
    assert list(tmp_path.iterdir()) == []
    without = ["batch_size=4", "accumulate=4", *FAST[1:2], "epochs=1"]
    start("nin_cifar", "digits", settings=without, out=tmp_path / "nin")
