"""A search: the same whether it was stopped or not, blind to the test images, and with a recipe at its end."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from classicnets.data import load_data
from classicnets.errors import ConfigError, DataError, MissingExtra, UnknownName
from classicnets.search.report import draw
from classicnets.search.space import (
    Choice,
    Range,
    check_space,
    default_space,
    parse_space,
    read_space,
    value_in,
)
from classicnets.search.study import is_hopeless
from classicnets.search.trials import TrialDone, TrialStarted, Tuned
from classicnets.search.tune import resume_tuning, tune
from classicnets.training import EpochDone, Run, StepDone, load_recipe
from classicnets.training.recipe.files import with_settings
from classicnets.training.recipe.schema import Recipe

optuna = pytest.importorskip("optuna")
pytestmark = pytest.mark.usefixtures("plain_reports")

FAST = ("epochs=1", "batch_size=256", "precision=fp32", "model.switches.depths=[1,1,1]")
SPACE = ("optim.lr=log:0.01..1.0", "batch_size=128|256")


def results(events):
    return [(event.number, event.params, event.value) for event in events if isinstance(event, TrialDone)]


def test_a_search_that_was_stopped_ends_like_one_that_was_not(tmp_path):
    whole = list(tune("resnet20_cifar", "digits", trials=3, space=SPACE, settings=FAST, out=tmp_path / "whole"))
    tuned = whole[-1]
    assert isinstance(tuned, Tuned)
    assert tuned.trials[0].params == {"optim.lr": 0.1, "batch_size": 256}  # the recipe as it is comes first
    assert tuned.by == "last"  # few validation images compare trials by the loss of that epoch
    assert tuned.best.value == min(trial.value for trial in tuned.trials)

    folder = tuned.folder
    for trial in tuned.trials:
        is_best = trial == tuned.best
        run = folder / f"trial-{trial.number:03}"
        assert (run / "evaluation").exists() == is_best
        assert (run / "checkpoints").exists() == is_best
        assert (run / "model" / "config.json").is_file()
    best = load_recipe(tuned.recipe)
    assert {key: value_in(best, key) for key in tuned.best.params} == tuned.best.params
    text = (folder / "report.md").read_text()
    assert f"{tuned.finished.report.top1:.2%}" in text
    assert "best-recipe.toml" in text
    assert (folder / "search.png").is_file()

    stopped = iter(tune("resnet20_cifar", "digits", trials=3, space=SPACE, settings=FAST, out=tmp_path / "stopped"))
    before = []
    for event in stopped:
        before.append(event)
        if isinstance(event, StepDone) and len(results(before)) == 1:
            break
    stopped.close()
    after = list(resume_tuning(tmp_path / "stopped"))
    assert isinstance(after[0], TrialStarted)
    assert after[0].number == 2
    assert results([*before, *after]) == results(whole)


def test_a_data_made_in_python_is_searched_resumed_and_measured(tmp_path, corners):
    """`corners` is no source that can be loaded: every trial has to train on the object itself."""
    settings = ["batch_size=40", *FAST[2:], "epochs=2", "image_size=12"]
    tuning = tune(
        "resnet20_cifar", corners, trials=1, space=["optim.lr=0.01..0.5"], settings=settings, out=tmp_path / "t"
    )
    *_, tuned = tuning
    assert tuned.finished.report.num_images == len(corners.test)
    again = iter(resume_tuning(tuned.folder, trials=2, data=corners))
    while not isinstance(next(again), StepDone):
        pass
    again.close()
    *_, tuned = resume_tuning(tuned.folder, data=corners, trials=2)
    assert [trial.epochs for trial in tuned.trials] == [2, 2]
    assert tuned.finished.report.num_images == len(corners.test)


def test_a_search_is_not_resumed_on_other_images(tmp_path):
    few = load_data("digits", val_fraction=0.3, test_fraction=0.3)
    few = replace(few, train=few.train.subset(range(100)))
    folder = tune("resnet20_cifar", few, trials=1, settings=FAST, out=tmp_path / "tune").folder
    with pytest.raises(DataError, match=r"searched on other images than those of digits.*data=data"):
        resume_tuning(folder)
    assert resume_tuning(folder, data=few).trials == 1
    old = json.loads((folder / "tune.json").read_text())
    (folder / "tune.json").write_text(json.dumps({key: old[key] for key in ("trials", "space")}))
    assert resume_tuning(folder).trials == 1  # a search of 0.1.0 says nothing of its images


def test_images_that_have_moved_are_found_again(tmp_path, photo_folder):
    settings = ["epochs=1", "batch_size=8", "image_size=8", *FAST[2:]]
    folder = tune("resnet20_cifar", photo_folder, trials=1, settings=settings, out=tmp_path / "tune").folder
    moved = photo_folder.rename(tmp_path / "moved")
    with pytest.raises(DataError, match="no folder or file at"):
        resume_tuning(folder)
    tuning = resume_tuning(folder, data=moved)
    assert tuning.recipe.data.source == load_recipe(folder / "base-recipe.toml").data.source == str(moved)
    assert resume_tuning(folder).trials == 1


def test_a_trial_below_the_median_is_given_up_but_not_at_its_end():
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner(1, 0))
    once, twice = (with_settings(Recipe(), [f"epochs={epochs}"]) for epochs in (1, 2))
    for accuracy, hopeless in ((0.8, False), (0.9, False), (0.5, True)):
        trial = study.ask()
        row = EpochDone(1, 10, 8, 0.1, 1.0, 0.5, 1.0, accuracy, 0.5, 100.0, 1.0)
        assert is_hopeless(trial, row, twice) == hopeless
        assert not is_hopeless(trial, row, once)
        study.tell(trial, accuracy)


@pytest.mark.parametrize("best", ["loss", "balanced_accuracy"])
def test_a_search_goes_by_what_the_recipe_calls_best(tmp_path, best):
    tuning = tune(
        "resnet20_cifar", "digits", trials=2, space=SPACE, settings=[*FAST, f"best={best}"], out=tmp_path / "tune"
    )
    *_, tuned = tuning
    values = [Run(tuned.folder / f"trial-{n:03}").metrics(f"val_{best}")[0][f"val_{best}"] for n in (1, 2)]
    assert [trial.value for trial in tuned.trials] == values
    assert tuned.best.value == tuned.ranked[0].value == (min if best == "loss" else max)(values)
    shown = f"{tuned.best.value:.4f}" if best == "loss" else f"{tuned.best.value:.2%}"
    name = f"validation {best.replace('_', ' ')}"
    assert f"with a {name} of {shown}." in (tuned.folder / "report.md").read_text()
    figure = draw(tuned, tuning.space)
    assert figure.axes[0].get_ylabel() == name
    assert figure.axes[0].lines[0].get_ydata()[0] == tuned.trials[0].value
    assert ("%" in figure.axes[0].yaxis.get_major_formatter()(0.5)) == (best != "loss")


def test_a_trial_of_a_higher_loss_is_given_up_and_comes_later():
    recipe = with_settings(Recipe(), ["epochs=2", "best=loss"])
    study = optuna.create_study(direction="minimize", pruner=optuna.pruners.MedianPruner(1, 0))
    for loss, hopeless in ((0.8, False), (0.9, True)):
        trial = study.ask()
        assert is_hopeless(trial, EpochDone(1, 10, 8, 0.1, 1.0, 0.5, loss, loss, 0.5, 100.0, 1.0), recipe) == hopeless
        study.tell(trial, loss)
    trials = tuple(TrialDone(n, {}, "finished", loss, 1) for n, loss in enumerate((0.5, None, 0.2, 0.2), start=1))
    tuned = Tuned(Path(), "loss", trials, trials[2], Path(), None, {})
    assert [trial.number for trial in tuned.ranked] == [3, 4, 1, 2]


@pytest.mark.parametrize(
    ("line", "search"),
    [
        ("optim.lr=log:1e-3..1.0", Range(0.001, 1.0, log=True)),
        ("schedule.warmup=0..0.3", Range(0, 0.3)),
        ("epochs=5..20", Range(5, 20, whole=True)),
        ("batch_size=64|128|256", Choice((64, 128, 256))),
        ("optim.name=sgd|adamw", Choice(("sgd", "adamw"))),
        ("augment.flip=true|false", Choice((True, False))),
    ],
)
def test_what_a_line_of_the_space_says(line, search):
    assert parse_space([line]) == {line.partition("=")[0]: search}
    check_space(parse_space([line]), Recipe())


@pytest.mark.parametrize(
    ("line", "error", "said"),
    [
        ("optim.lr", ConfigError, "KEY=LOW..HIGH"),
        ("optim.lr=0.1", ConfigError, "two or more choices"),
        ("optim.lr=1..0.1", ConfigError, "below the second"),
        ("optim.lr=log:0..0.1", ConfigError, "above 0"),
        ("optim.lr=low..high", ConfigError, "numbers"),
        ("optim.lrate=0.1..1.0", UnknownName, "optim.lr"),
        ("optim.lr=-1.0..1.0", ConfigError, "optim.lr"),
        ("data.val_fraction=0.1..0.2", ConfigError, "data.val_fraction"),
        ("best=accuracy|loss", ConfigError, "--set best"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(line, error, said):
    with pytest.raises(error, match=said):
        check_space(parse_space([line]), Recipe())


def test_a_space_in_a_file(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text('batch_size = [64, 128]\n"optim.lr" = "log:0.01..1.0"\n[schedule]\nname = ["cosine", "step"]\n')
    assert parse_space(read_space(path)) == {
        "batch_size": Choice((64, 128)),
        "optim.lr": Range(0.01, 1.0, log=True),
        "schedule.name": Choice(("cosine", "step")),
    }
    path.write_text("batch_size = 64")
    with pytest.raises(ConfigError, match="batch_size"):
        read_space(path)
    with pytest.raises(ConfigError, match="cannot read"):
        read_space(tmp_path / "none.toml")


def test_the_default_space_lies_around_the_recipe():
    recipe = with_settings(Recipe(), ["optim.lr=0.4"])
    space = parse_space(default_space(recipe))
    assert 0.4 in space["optim.lr"]
    assert recipe.optim.weight_decay in space["optim.weight_decay"]
    assert list(parse_space(default_space(with_settings(recipe, ["optim.weight_decay=0"])))) == ["optim.lr"]


def test_mistakes_leave_no_folder(tmp_path, monkeypatch):
    with pytest.raises(UnknownName, match=r"optim\.lr"):
        tune("resnet20_cifar", "digits", trials=1, space=["optim.lrate=0.1..1.0"], out=tmp_path / "tune")
    with pytest.raises(ConfigError, match="at least 1 trial, got 0"):
        tune("resnet20_cifar", "digits", trials=0, out=tmp_path / "tune")
    with pytest.raises(ConfigError, match="not a folder that `classicnets tune` made"):
        resume_tuning(tmp_path / "tune")
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtra, match=r"classicnets\[tune\]"):
        tune("resnet20_cifar", "digits", trials=1, out=tmp_path / "tune")
    assert list(tmp_path.iterdir()) == []
