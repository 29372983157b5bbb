"""A job from data to report: what it writes, how it stops, how it goes on."""

import csv
import json
import math
import os
import shutil
import signal

import pytest
import torch

from classicnets.classifier import Classifier
from classicnets.data import load_data
from classicnets.errors import (
    ConfigError,
    DataError,
    StorageError,
    TrainingDiverged,
    UnknownName,
    WeightsError,
)
from classicnets.training import EpochDone, Finished, StepDone, reopen, start, train
from classicnets.training.step import optimizer
from classicnets.weights.files import load_safetensors
from photos import write_photos
from small import FAST

without_figures = pytest.mark.usefixtures("plain_reports")


@pytest.fixture
def drawn_job(tmp_path):
    return start("resnet20_cifar", "digits", settings=["epochs=2", *FAST], out=tmp_path / "run", checkpoint_every=2)


@pytest.fixture
def job(drawn_job, plain_reports):
    return drawn_job


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run of `job`, which nothing stopped."""
    job = start("resnet20_cifar", "digits", settings=["epochs=2", *FAST], out=tmp_path_factory.mktemp("runs") / "whole")
    job.measure = False
    list(job)
    return job.run


def weights(run):
    return load_safetensors(run.path / "model" / "model.safetensors")


def rows(run):
    with (run.path / "metrics.csv").open() as file:
        return [
            {k: v for k, v in row.items() if k not in ("images_per_second", "seconds")} for row in csv.DictReader(file)
        ]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_holds_everything_that_is_needed_later(drawn_job):
    job = drawn_job
    *_, finished = job
    run = finished.run
    assert isinstance(finished, Finished)
    names = {p.name for p in run.path.iterdir()}
    assert names == {
        ".lock", "recipe.toml", "environment.json", "images.csv", "metrics.csv", "events.jsonl", "checkpoints",
        "model", "evaluation", "figures", "report.html",
    }  # fmt: skip
    assert [row["epoch"] for row in rows(run)] == ["1", "2"]
    assert json.loads((run.path / "environment.json").read_text())["precision"] == "fp32"
    events = [json.loads(line)["event"] for line in (run.path / "events.jsonl").read_text().splitlines()]
    assert events == ["started", "epoch", "epoch", "finished"]
    assert run.recipe == job.recipe
    assert run.recipe.image_size == 8
    assert run.report.num_images == finished.report.num_images == 539
    assert run.classifier.classes == tuple("0123456789")
    assert run.classifier.provenance["metrics"] == finished.report.headline()


def test_a_run_is_never_overwritten(tmp_path):
    runs = [start("resnet20_cifar", "digits", settings=["epochs=1", *FAST], out=tmp_path / "run").run for _ in range(3)]
    assert [run.path.name for run in runs] == ["run", "run-2", "run-3"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step_and_the_run_goes_on_bit_for_bit(job, whole, number):
    def follow():
        for event in job:
            if isinstance(event, StepDone) and event.step == 1:
                os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit) as stopped:
        follow()
    if number == signal.SIGTERM:
        assert stopped.value.code == 143
    assert [p.name for p in (job.run.path / "checkpoints").iterdir()] == ["step-000001"]
    assert Classifier.load(job.run.path).predict(torch.zeros(3, 8, 8, dtype=torch.uint8)).label in "0123456789"
    for _ in (again := reopen(job.run)):
        pass
    assert any("after step 1" in note for note in again.notes)
    assert same(weights(again.run), weights(whole))
    assert rows(again.run) == rows(whole)


def test_closing_keeps_what_was_reached(job):
    iterator = iter(job)
    while not isinstance(next(iterator), EpochDone):
        pass
    iterator.close()
    assert len(rows(job.run)) == 1
    assert (job.run.path / "model" / "config.json").is_file()


def test_closing_after_an_epoch_keeps_the_epoch(job):
    events = iter(job)
    first = next(event for event in events if isinstance(event, EpochDone))
    events.close()
    *_, finished = resumed = list(reopen(job.run))
    assert [event.epoch for event in resumed if isinstance(event, EpochDone)] == [first.epoch + 1]
    assert isinstance(finished, Finished)


def test_a_second_interrupt_stops_at_once_and_keeps_the_last_whole_checkpoint(job, whole, monkeypatch):
    update = optimizer.SGD.step

    def interrupted(self, *args):
        update(self, *args)
        if job._state.step == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(optimizer.SGD, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(job)
    monkeypatch.undo()
    assert [p.name for p in (job.run.path / "checkpoints").iterdir()] == ["step-000002"]
    for _ in (again := reopen(job.run)):
        pass
    assert same(weights(again.run), weights(whole))


def test_weights_that_are_not_finite_reach_no_checkpoint(job):

    def follow():
        for event in job:
            if isinstance(event, StepDone) and event.step == 2:
                with torch.no_grad():
                    job._state.model.head.classifier.bias.fill_(-math.inf)
                    job._state.model.head.classifier.bias[0] = 0

    with pytest.raises(TrainingDiverged, match=r"optim\.lr"):
        follow()
    assert [p.name for p in (job.run.path / "checkpoints").iterdir()] == ["step-000002"]


@without_figures
def test_a_loss_that_stays_at_chance_is_named(tmp_path):
    job = start(
        "resnet20_cifar", "digits", settings=["epochs=1", *FAST, "batch_size=8", "optim.lr=1e-9"], out=tmp_path / "run"
    )
    for _ in job:
        pass
    assert "has learned nothing" in job.warnings[0]
    assert "warning" in (job.run.path / "events.jsonl").read_text()


def test_a_run_without_whole_checkpoints_keeps_its_model(job):
    for _ in job:
        pass
    before = weights(job.run)
    for manifest in job.run.path.glob("checkpoints/*/manifest.json"):
        manifest.write_text("{}")
    with pytest.raises(WeightsError, match="no complete checkpoint"):
        reopen(job.run)
    assert same(weights(job.run), before)


@without_figures
def test_data_that_was_divided_otherwise_is_found_again(tmp_path):
    data = load_data("digits", seed=7, val_fraction=0.3, test_fraction=0.2)
    run = train("resnet20_cifar", data, epochs=1, settings=FAST, out=tmp_path / "run")
    assert (run.recipe.data.split_seed, run.recipe.data.val_fraction, run.recipe.data.test_fraction) == (7, 0.3, 0.2)
    *_, finished = reopen(run)
    assert finished.report.num_images == len(data.test)


@without_figures
def test_weights_to_start_from_are_not_needed_to_go_on(tmp_path):
    first = train("resnet20_cifar", "digits", epochs=1, settings=FAST, out=tmp_path / "first")
    settings = ["epochs=2", *FAST, f'model.weights="{first.path}"']
    job = start("resnet20_cifar", "digits", settings=settings, out=tmp_path / "second")
    assert any("starting from" in note for note in job.notes)
    events = iter(job)
    while not isinstance(next(events), EpochDone):
        pass
    events.close()
    shutil.rmtree(first.path)
    *_, finished = reopen(job.run)
    assert len(rows(finished.run)) == 2


@without_figures
def test_without_test_images_the_validation_images_are_named(photo_folder, tmp_path):
    for part in ("train", "val"):
        (tmp_path / "data" / part).mkdir(parents=True)
        for folder in photo_folder.iterdir():
            shutil.copytree(folder, tmp_path / "data" / part / folder.name)
    job = start(
        "resnet20_cifar",
        tmp_path / "data",
        settings=["epochs=1", "batch_size=8", "image_size=16", "best=accuracy"],
        out=tmp_path / "run",
    )
    *_, finished = job
    assert finished.report.data.endswith("validation")
    assert any("chose the best epoch" in warning for warning in job.warnings)
    job = start(
        "resnet20_cifar",
        tmp_path / "data",
        settings=["epochs=1", "batch_size=8", "image_size=16", "best=last"],
        out=tmp_path / "last",
    )
    *_, finished = job
    assert job.warnings == ["The data has no test images, so the accuracy is measured on the validation images."]
    assert "neither to train it nor to choose it" in (finished.run.path / "model" / "README.md").read_text("utf-8")


def test_resuming_a_finished_run_changes_nothing(job):
    *_, finished = job
    before = weights(job.run)
    *_, again = reopen(job.run)
    assert same(weights(job.run), before)
    assert again.report.top1 == finished.report.top1


def test_resuming_before_any_checkpoint_starts_from_the_beginning(job):
    *events, _ = reopen(job.run)
    assert sum(isinstance(event, EpochDone) for event in events) == 2


@without_figures
def test_resume_refuses_other_images(photo_folder, tmp_path):
    job = start(
        "resnet20_cifar", photo_folder, settings=["epochs=1", "batch_size=8", "image_size=16"], out=tmp_path / "run"
    )
    for _ in job:
        pass
    next(photo_folder.rglob("*.jpg")).unlink()
    with pytest.raises(DataError, match="the number of train images was 30 and is 29"):
        reopen(job.run)


def test_mistakes_are_reported_before_anything_is_created(tmp_path):
    out = tmp_path / "run"
    with pytest.raises(UnknownName, match="resnet20_cifar"):
        start("resnet20_cifr", "digits", out=out)
    with pytest.raises(UnknownName, match=r"optim\.lr"):
        start("resnet20_cifar", "digits", settings=["optim.lrate=1"], out=out)
    with pytest.raises(ConfigError, match="epochs"):
        train("resnet20_cifar", "digits", epochs=0, out=out)
    with pytest.raises(ConfigError, match="no_such_switch"):
        start("resnet20_cifar", "digits", settings=["model.switches.no_such_switch=1"], out=out)
    with pytest.raises(DataError):
        start("resnet20_cifar", tmp_path / "nowhere", out=out)
    with pytest.raises(ConfigError, match="follows from the data"):
        start("resnet20_cifar", "digits", settings=["model.switches.in_channels=3"], out=out)
    with pytest.raises(ConfigError, match="cannot be built"):
        start("resnet20_cifar", "digits", settings=["model.switches.widths=[-1,16,16]"], out=out)
    with pytest.raises(ConfigError, match="at least 32 pixels"):
        start("vgg11", "digits", settings=["image_size=16"], out=out)
    with pytest.raises(ConfigError, match="give the model and the data as arguments"):
        start("resnet20_cifar", "digits", settings=["model.name=vgg11"], out=out)
    with pytest.raises(ConfigError, match="--out must name a new folder"):
        start("resnet20_cifar", "digits", out="/")
    with pytest.raises(ConfigError, match="device"):
        start("resnet20_cifar", "digits", out=out, device="quantum")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="--out"):
        start("resnet20_cifar", "digits", settings=FAST, out=tmp_path / "file" / "run")
    assert not out.exists()


def test_resume_needs_a_run(tmp_path):
    with pytest.raises(ConfigError, match="not a run folder"):
        reopen(tmp_path)


@without_figures
def test_photos_are_trained_at_a_sensible_size_with_skipped_files_listed(photo_folder, tmp_path):
    victim = sorted(photo_folder.rglob("*.jpg"))[0]
    victim.write_bytes(victim.read_bytes()[:200])
    with pytest.raises(DataError, match=victim.name):
        start("resnet20_cifar", photo_folder, out=tmp_path / "run")
    settings = ["epochs=1", "batch_size=8", "data.on_error=skip"]
    run = train("resnet20_cifar", photo_folder, settings=settings, out=tmp_path / "run")
    assert victim.name in (run.path / "skipped.csv").read_text()
    assert run.recipe.image_size == 40


@without_figures
def test_five_photos_of_each_class_are_enough_to_train_on_and_a_note_says_that_they_are_few(tmp_path):
    write_photos(tmp_path / "photos", 5)
    job = start("resnet20_cifar", tmp_path / "photos", settings=["epochs=1", "image_size=32"], out=tmp_path / "run")
    *_, finished = job
    assert any("fewer than 20 training images of 'disc', 'square', 'stripes'" in note for note in job.notes)
    assert finished.report.num_images == 3
    assert job.run.finished
