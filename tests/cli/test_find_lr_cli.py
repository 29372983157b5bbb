"""`classicnets find-lr`: the command it hands over, its figure, and its JSON."""

import json
import shlex

FAST = ("--steps", "25", "--set", "batch_size=64", "--set", "precision=fp32", "--set", "model.switches.depths=[1,1,1]")


def test_the_suggestion_is_a_command_to_run(run_cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = run_cli("find-lr", "resnet20_cifar", "digits", *FAST, "--figure", "rate.svg")
    assert answer.code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["rate.svg"]
    assert "suggested learning rate" in answer.out
    line = next(line for line in answer.out.splitlines() if line.startswith("next: "))
    assert shlex.split(line)[1:-1] == ["classicnets", "train", "resnet20_cifar", "digits", *FAST[2:], "--set"]
    assert line.rpartition(" ")[2].startswith("optim.lr=")


def test_json_and_mistakes(run_cli, tmp_path):
    found = json.loads(run_cli("find-lr", "resnet20_cifar", "digits", *FAST, "--json").out)
    assert found["recipe_lr"] == 0.1
    assert len(found["rates"]) == len(found["smoothed"]) > 10
    (tmp_path / "rate.png").touch()
    for options, said in (
        (("--figure", tmp_path / "rate.png"), "exists"),
        (("--figure", tmp_path / "rate.pdf"), ".svg"),
        (("--set", "optim.lrate=1"), "optim.lr"),
        (("--steps", 5), "steps"),
    ):
        answer = run_cli("find-lr", "resnet20_cifar", "digits", *options)
        assert (answer.code, answer.out) == (2, "")
        assert said in answer.err
