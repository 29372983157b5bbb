"""`data.refit`: after the best epoch is known, a second training uses the validation images too."""

import json

import pytest
import torch
from killing import same_values

from classicnets.data import load_data
from classicnets.errors import ConfigError
from classicnets.evaluation.choose import given_images, own_images
from classicnets.training import Finished, reopen, start
from classicnets.training.progress import follow
from classicnets.training.recipe.files import with_settings
from classicnets.training.run.checkpoint import newest_checkpoint
from classicnets.training.run.refit import Refitting, with_validation
from classicnets.training.step.state import EpochDone, StepDone
from small import FAST

REFIT = (*FAST, "epochs=3", "model.switches.widths=[4,4,4]", "data.refit=true")

pytestmark = pytest.mark.usefixtures("plain_reports")  # `whole` alone draws its report


def weights(run):
    return run.classifier.model.state_dict()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    job = start("resnet20_cifar", "digits", settings=REFIT, out=tmp_path_factory.mktemp("runs") / "whole")
    return job, list(job)


def test_the_second_training_has_the_best_epochs_on_all_images_and_measures_the_test_images_alone(whole):
    job, events = whole
    place = next(i for i, event in enumerate(events) if isinstance(event, Refitting))
    first = [event for event in events[:place] if isinstance(event, EpochDone)]
    second = [event for event in events[place:] if isinstance(event, EpochDone)]
    best = max(first, key=lambda row: (row.val_accuracy, row.epoch))
    data = load_data("digits", val_fraction=0.3, test_fraction=0.3)
    assert events[place].num_images == len(data.train) + len(data.val)
    assert [row.epoch for row in second] == list(range(1, best.epoch + 1))
    assert all(row.val_accuracy != row.val_accuracy for row in second)
    assert second[-1].step == events[place].num_steps == best.epoch * (events[place].num_images // 256)
    assert isinstance(events[-1], Finished)
    assert events[-1].report.num_images == len(data.test)
    assert len(job.run.metrics("val_accuracy")) == 3


def test_the_classifier_is_that_of_a_training_on_all_images(whole, tmp_path):
    job, events = whole
    epochs = next(event.epochs for event in events if isinstance(event, Refitting))
    data = with_validation(load_data("digits", val_fraction=0.3, test_fraction=0.3))
    recipe = with_settings(job.recipe, [f"epochs={epochs}", "data.refit=false", "model.name=", "data.source="])
    plain = start("resnet20_cifar", data, recipe=recipe, out=tmp_path / "plain")
    plain.measure = False
    list(plain)
    same_values(plain._state.validated_model.state_dict(), weights(job.run), "weights")


def test_the_card_the_page_and_the_events_say_where_the_numbers_come_from(whole):
    run = whole[0].run
    training = run.classifier.provenance["training"]
    assert "first training" in training["refit"]
    best = max(row["val_accuracy"] for row in run.metrics("val_accuracy"))
    assert training["val_accuracy"] == pytest.approx(best, abs=1e-6)
    assert "of the first training" in (run.path / "model" / "README.md").read_text()
    assert "first training" in run.page.read_text()
    assert [event["event"] for event in run.events].count("refit") == 1


@pytest.mark.parametrize("stop_at", [0, 1, 4, 5])  # an epoch has 4 steps, and then EpochDone
def test_a_run_stopped_in_the_second_training_goes_on_bit_for_bit(whole, tmp_path, stop_at):
    job = start("resnet20_cifar", "digits", settings=REFIT, out=tmp_path / "run")
    events = iter(job)
    for event in events:
        if isinstance(event, Refitting):
            break
    for _ in range(stop_at):
        assert isinstance(next(events), StepDone | EpochDone)
    events.close()
    before = json.loads((job.run.path / "model" / "config.json").read_text())
    assert "refit" not in before["classicnets"]["provenance"]["training"]
    again = reopen(job.run)
    resumed = list(again)
    begun = next(event for event in resumed if isinstance(event, Refitting))
    assert (begun.step, begun.num_steps) == (min(stop_at, 4), 4 * begun.epochs)
    same_values(weights(whole[0].run), weights(job.run), "weights")
    assert again.run.finished


def test_a_finished_run_is_not_trained_again(whole):
    assert len(list(reopen(whole[0].run))) == 1


def test_other_epochs_begin_the_second_training_again(whole, tmp_path):
    job = start("resnet20_cifar", "digits", settings=[*REFIT, "epochs=1"], out=tmp_path / "run")
    list(job)
    events = list(reopen(job.run, settings=["epochs=3"], allow_change=True))
    begun = next(event for event in events if isinstance(event, Refitting))
    trained = [event.epoch for event in events[events.index(begun) :] if isinstance(event, EpochDone)]
    assert trained == (list(range(1, begun.epochs + 1)) if begun.epochs > 1 else [])
    assert job.run.finished


def test_progress_shows_both_trainings_in_a_line_each_epoch(tmp_path, capsys):
    follow(start("resnet20_cifar", "digits", settings=[*REFIT, "epochs=1"], out=tmp_path / "run"), command_line=True)
    said = capsys.readouterr().err
    assert "refit: training again on all" in said
    assert "nan" not in said


def test_what_does_not_go_together_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigError, match="only test images can measure the result"):
        start("resnet20_cifar", "digits", settings=[*REFIT, "data.test_fraction=0"], out=tmp_path / "a")
    settings = [setting for setting in REFIT if not setting.startswith("epochs")]
    with pytest.raises(ConfigError, match="--minutes does not count the second training"):
        start("resnet20_cifar", "digits", settings=settings, minutes=1, out=tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_refit_is_not_changed_under_way(whole):
    with pytest.raises(ConfigError, match=r"data\.refit was True and is False"):
        reopen(whole[0].run, settings=["data.refit=false"], allow_change=True)


def test_weights_are_those_of_the_second_training_not_of_the_best_epoch(whole):
    run = whole[0].run
    second, _ = newest_checkpoint(run.path / "refit" / "checkpoints")
    first, _ = newest_checkpoint(run.path / "checkpoints")
    mine = weights(run)
    name = next(name for name in mine if name.endswith("weight"))
    part = "average" if f"average.{name}" in second.tensors else "model"
    assert torch.equal(mine[name], second.tensors[f"{part}.{name}"])
    assert not torch.equal(mine[name], first.tensors[f"{part}.{name}"])


def test_measuring_the_validation_images_says_that_they_were_trained_on(whole):
    run = whole[0].run
    for chosen in (own_images(run.classifier, "val", run=run.path), given_images("digits", "val", run=run.path)):
        assert any("also used to train this classifier (data.refit)" in note for note in chosen.notes)
    assert own_images(run.classifier, run=run.path).notes == ()
