"""`classicnets tune`: a search, its table, its JSON, and mistakes."""

import json

import pytest

pytestmark = pytest.mark.usefixtures("plain_reports")

FAST = ("--epochs", 1, "--set", "batch_size=256", "--set", "precision=fp32", "--set", "model.switches.depths=[1,1,1]")


def test_a_search_and_going_on_with_it(run_cli, tmp_path):
    folder = tmp_path / "tune"
    answer = run_cli(
        "tune", "resnet20_cifar", "digits", "--trials", 1, *FAST, "--param", "optim.lr=0.1..1.0", "--out", folder
    )
    assert answer.code == 0
    assert "trial 1/1  val" in answer.err
    assert "top-1" in answer.out
    assert f"--recipe {folder / 'best-recipe.toml'}" in answer.out
    again = run_cli("tune", "--resume", folder, "--trials", 2, "--json")
    assert again.code == 0, again.err
    found = json.loads(again.out)
    assert [trial["number"] for trial in found["trials"]] == [1, 2]
    assert found["measured"]["data"] == "digits test"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "Give a model and the data"),
        (("resnet20_cifar", "digits", "--resume", "x"), "give only --trials, or DATA"),
        (("--resume", "nowhere"), "nowhere"),
        (("resnet20_cifar", "digits", "--param", "optim.lrate=0.1..1"), "optim.lr"),
        (("resnet20_cifar", "digits", "--space", "none.toml"), "none.toml"),
        (("resnet20_cifar", "digits", "--trials", 0), "trials"),
    ],
)
def test_a_mistake_is_one_message_and_leaves_nothing(run_cli, tmp_path, monkeypatch, args, said):
    monkeypatch.chdir(tmp_path)
    answer = run_cli("tune", *args)
    assert (answer.code, answer.out) == (2, "")
    assert said in " ".join(answer.err.split())
    assert list(tmp_path.iterdir()) == []
