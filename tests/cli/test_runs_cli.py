"""`classicnets runs`: the table, the differences, the figure, and answers without any run."""

import json

import pytest

from classicnets.training import EpochDone, Run
from classicnets.training.recipe.files import with_settings
from classicnets.training.recipe.schema import Recipe


@pytest.fixture
def two_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, lr in (("slow", 0.01), ("fast", 0.4)):
        settings = ["epochs=2", "image_size=8", "model.name=resnet20_cifar", "data.source=digits", f"optim.lr={lr}"]
        run = Run.create(tmp_path / "runs" / name, with_settings(Recipe(), settings), "fp32")
        run.write_metrics([EpochDone(1, 10, 8, lr, 1.0, 0.6, 1.1, 0.5 + lr, 0.5, 900.0, 75.0)])
        run.log("stopped", step=10, reason="KeyboardInterrupt")
    return tmp_path / "runs"


def test_the_runs_of_the_folder_are_a_table(run_cli, two_runs):
    answer = run_cli("runs")
    assert answer.code == 0
    header, *lines = (line.split() for line in answer.out.splitlines())
    assert header == ["run", "model", "data", "state", "epochs", "val", "test", "time", "started"]
    assert sorted(line[:8] for line in lines) == [
        ["fast", "resnet20_cifar", "digits", "stopped", "1/2", "90.00%", "-", "1:15"],
        ["slow", "resnet20_cifar", "digits", "stopped", "1/2", "51.00%", "-", "1:15"],
    ]


def test_the_value_is_of_what_the_recipe_calls_best(run_cli, two_runs):
    for name, best in (("slow", "loss"), ("fast", "balanced_accuracy")):
        run = Run(two_runs / name)
        run.write_recipe(with_settings(run.recipe, [f"best={best}"]))
    out = run_cli("runs").out
    assert "1/2     loss 1.1000 " in out
    assert "1/2     balanced accuracy 50.00% " in out
    found = {run["best"]: run["best_value"] for run in json.loads(run_cli("runs", "--json").out)["runs"]}
    assert found == {"loss": 1.1, "balanced_accuracy": 0.5}


def test_runs_by_name_show_what_differs_and_their_curves(run_cli, two_runs):
    both = (two_runs / "slow", two_runs / "fast")
    answer = run_cli("runs", *both, "--figure", "curves.svg")
    assert answer.code == 0
    assert ["optim.lr", "0.01", "0.4"] in [line.split() for line in answer.out.splitlines()]
    assert "</svg>" in (two_runs.parent / "curves.svg").read_text()
    again = run_cli("runs", *both, "--figure", "curves.svg")
    assert again.code == 2
    assert "exists" in again.err
    found = json.loads(run_cli("runs", *both, "--json").out)
    assert found["differences"] == {"optim.lr": {str(both[0]): 0.01, str(both[1]): 0.4}}
    assert [run["val_accuracy"] for run in found["runs"]] == [0.51, 0.9]


def test_a_damaged_run_is_listed_beside_the_others(run_cli, two_runs):
    (two_runs / "fast" / "recipe.toml").write_text("= broken")
    answer = run_cli("runs")
    assert answer.code == 0
    assert "slow" in answer.out
    assert "damaged: fast: " in answer.out
    assert [run["state"] for run in json.loads(run_cli("runs", "--json").out)["runs"]].count("damaged") == 1


def test_no_runs_yet(run_cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = run_cli("runs")
    assert (answer.code, answer.out) == (0, "")
    assert "classicnets train" in answer.err
    assert json.loads(run_cli("runs", "--json").out) == {"runs": []}
    wrong = run_cli("runs", "nowhere")
    assert wrong.code == 2
    assert "nowhere" in wrong.err
