"""Runs side by side: the state of each, what differs, and damaged folders that are reported, not raised."""

import os
import platform
from dataclasses import replace

import pytest

from classicnets.errors import ConfigError
from classicnets.reports.canvas import png, save_figure
from classicnets.runs.compare import compare_curves, find_runs, recipe_differences, summarize
from classicnets.training import EpochDone, Run
from classicnets.training.recipe.files import with_settings
from classicnets.training.recipe.schema import Recipe

MINE = {"pid": os.getpid(), "host": platform.node()}
GONE = {"pid": 2**22 + 1, "host": platform.node()}  # above the largest process id of Linux


def row(epoch, val_accuracy):
    return EpochDone(
        epoch=epoch, step=10 * epoch, image_size=28, lr=0.1, train_loss=1 / epoch, train_accuracy=0.6,
        val_loss=1.2 / epoch, val_accuracy=val_accuracy, val_balanced_accuracy=val_accuracy, images_per_second=900.0,
        seconds=30.0 * epoch,
    )  # fmt: skip


def make_run(path, *events, accuracies=(0.5, 0.8, 0.7), settings=()):
    recipe = with_settings(
        Recipe(), ["epochs=3", "image_size=28", "model.name=nin_cifar", "data.source=digits", *settings]
    )
    run = Run.create(path, recipe, "fp32")
    run.write_metrics([row(i, accuracy) for i, accuracy in enumerate(accuracies, start=1)])
    for event, values in events:
        run.log(event, **values)
    return run


@pytest.mark.parametrize(
    ("events", "accuracies", "state"),
    [
        ([("started", GONE), ("finished", {"top1": 0.75, "data": "digits test"})], (0.5, 0.8, 0.7), "finished"),
        ([("started", GONE), ("stopped", {})], (0.5,), "stopped"),
        ([("started", GONE), ("stopped", {})], (0.5, 0.8, 0.7), "unmeasured"),
        ([("started", GONE), ("epoch", {})], (0.5,), "stopped"),
        ([("started", GONE), ("epoch", {}), ("stopped_early", {}), ("stopped", {})], (0.5,), "unmeasured"),
        ([("started", GONE), ("stopped_early", {}), ("started", GONE), ("stopped", {})], (0.5,), "stopped"),
        ([("started", MINE), ("epoch", {})], (0.5,), "running"),
        ([("started", GONE), ("stopped", {}), ("started", MINE)], (0.5,), "running"),
        ([("started", {"pid": 1, "host": "elsewhere"})], (), "running"),
        ([("started", {"pid": 1, "host": "elsewhere", "time": "2020-01-01T00:00:00+0000"})], (), "stopped"),
        ([], (), "stopped"),
    ],
)
def test_the_state_of_a_run(tmp_path, events, accuracies, state):
    found = summarize(make_run(tmp_path / "run", *events, accuracies=accuracies).path)
    assert (found.state, found.epochs, found.epochs_planned) == (state, len(accuracies), 3)
    assert found.val_accuracy == max(accuracies, default=None)
    assert found.test_accuracy == (0.75 if state == "finished" else None)


def test_an_accuracy_on_validation_images_is_no_test_accuracy(tmp_path):
    run = make_run(tmp_path / "run", ("started", GONE), ("finished", {"top1": 0.9, "data": "photos validation"}))
    assert summarize(run.path).test_accuracy is None


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("recipe.toml", "x = = 1", "not valid TOML"),
        ("recipe.toml", "epochs = 3", "names no model"),
        ("recipe.toml", None, "no recipe.toml"),
        ("metrics.csv", "epoch,val_accuracy,seconds\n1,0.5,3\n2,0.", "line 3"),
        ("metrics.csv", "epoch\n1\n", "line 2"),
        ("metrics.csv", b"\xff\xfe", "decode"),
    ],
)
def test_a_damaged_run_is_found_and_its_reason_reported(tmp_path, name, text, said):
    run = make_run(tmp_path / "run", ("started", GONE))
    if text is None:
        (run.path / name).unlink()
    else:
        (run.path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert find_runs(tmp_path) == [run.path]
    found = summarize(run.path)
    assert found.state == "damaged"
    assert said in found.reason


def test_a_log_that_was_cut_short_is_read_up_to_there(tmp_path):
    run = make_run(tmp_path / "run", ("started", GONE), ("finished", {"top1": 0.7, "data": "digits test"}))
    with (run.path / "events.jsonl").open("a") as file:
        file.write('{"time": "2026-')
    assert summarize(run.path).state == "finished"


def test_runs_are_found_in_folders_and_by_name_once_each(tmp_path):
    a, b = (make_run(tmp_path / name).path for name in "ab")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes.txt").touch()
    assert find_runs(tmp_path) == [a, b]
    assert find_runs(b, tmp_path) == [b, a]
    for wrong in ("none", "notes.txt"):
        with pytest.raises(ConfigError, match=wrong):
            find_runs(tmp_path / wrong)


def test_differences_of_recipes_are_dotted_keys_and_every_value():
    base = Recipe()
    other = with_settings(base, ["optim.lr=0.3", "optim.clip_norm=1", "model.switches.dropout=0.2"])
    assert recipe_differences([base, other, base]) == {
        "optim.lr": [0.1, 0.3, 0.1],
        "optim.clip_norm": [None, 1.0, None],
        "model.switches.dropout": [None, 0.2, None],
    }
    assert recipe_differences([base, base]) == {}


def test_curves_of_all_runs_in_one_figure(tmp_path):
    names = ["plain", "one epoch", "图片", "$x_2$", *(f"many-{i}" for i in range(9))]
    runs = {name: make_run(tmp_path / str(i), accuracies=(0.5, 0.6 + i / 100)).path for i, name in enumerate(names)}
    make_run(tmp_path / "empty", accuracies=())
    figure = compare_curves({**runs, "empty": tmp_path / "empty"})
    assert all(len(axes.lines) == 2 * len(names) for axes in figure.axes)
    assert "many-8" in figure.texts[0].get_text()
    assert png(figure).startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match="no curves"):
        compare_curves({"empty": tmp_path / "empty"})


def test_a_figure_is_a_new_png_or_svg(tmp_path):
    figure = compare_curves({"a": make_run(tmp_path / "a").path})
    save_figure(figure, tmp_path / "c.svg")
    assert "<svg" in (tmp_path / "c.svg").read_text()
    with pytest.raises(ConfigError, match="exists"):
        save_figure(figure, tmp_path / "c.svg")
    with pytest.raises(ConfigError, match=r"\.png or \.svg"):
        save_figure(figure, tmp_path / "c.pdf")


@pytest.mark.parametrize(
    ("best", "accuracies", "value", "accuracy"),
    [
        ("accuracy", (0.5, 0.8, 0.7), 0.8, 0.8),
        ("balanced_accuracy", (0.5, 0.8, 0.7), 0.8, 0.8),
        ("loss", (0.5, 0.8, 0.7), 0.4, 0.7),
        ("last", (0.8, 0.5, 0.6), 0.4, 0.6),
        ("loss", (), None, None),
    ],
)
def test_a_run_is_summed_up_by_the_epoch_that_its_recipe_calls_best(tmp_path, best, accuracies, value, accuracy):
    found = summarize(make_run(tmp_path / "run", accuracies=accuracies, settings=[f"best={best}"]).path)
    assert (found.best, found.best_value, found.val_accuracy) == (best, value, accuracy)


def test_of_epochs_with_equal_values_the_last_is_the_best(tmp_path):
    run = make_run(tmp_path / "run", settings=["best=loss"])
    rows = [replace(row(epoch, accuracy), val_loss=0.5) for epoch, accuracy in ((1, 0.9), (2, 0.6), (3, 0.7))]
    run.write_metrics(rows)
    assert (summarize(run.path).best_value, summarize(run.path).val_accuracy) == (0.5, 0.7)
