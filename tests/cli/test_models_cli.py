"""`classicnets models` and `classicnets inspect`, as typed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from classicnets.cli.main import app, main
from classicnets.models.facts import FACTS

run = CliRunner().invoke


def typed(*arguments: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the whole command, errors and all."""
    monkeypatch.setattr(sys, "argv", ["classicnets", *arguments])
    with pytest.raises(SystemExit) as exit_info:
        main()
    out, err = capsys.readouterr()
    return int(exit_info.value.code or 0), out, err


def test_models_lists_every_model_with_its_costs() -> None:
    lines = run(app, ["models"]).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["MODEL", *FACTS]
    (resnet18,) = (line for line in lines if line.startswith("resnet18 "))
    assert resnet18.split()[1:8] == ["2015", "11.7", "M", "1.81", "G", "224", "1"]
    assert resnet18.endswith(FACTS["resnet18"]["note"])


def test_models_takes_a_part_of_a_name_or_a_pattern() -> None:
    assert {line.split()[0] for line in run(app, ["models", "tutorial"]).stdout.splitlines()[1:]} == {
        name for name in FACTS if "tutorial" in name
    }
    assert [line.split()[0] for line in run(app, ["models", "vgg1[36]"]).stdout.splitlines()[1:]] == ["vgg13", "vgg16"]


def test_models_as_json() -> None:
    answer = json.loads(run(app, ["models", "densenet161", "--json"]).stdout)
    assert answer == {"densenet161": FACTS["densenet161"]}
    assert answer["densenet161"]["params"] == 28_681_000


@pytest.mark.parametrize("arguments", [("models", "resnet81"), ("inspect", "resnet81")])
def test_an_unknown_model_is_answered_with_the_near_ones(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = typed(*arguments, capsys=capsys, monkeypatch=monkeypatch)
    assert (code, out) == (2, "")
    assert err.startswith("error: No model named 'resnet81'. Did you mean resnet18")


def test_inspect_prints_a_table_and_the_same_as_json() -> None:
    text = run(
        app, ["inspect", "resnet20_cifar", "--image-size", "40x64", "--in-channels", "1", "--classes", "7"]
    ).stdout
    assert "resnet20_cifar at 1x40x64" in text
    assert "conv4  64x10x16" in text
    arguments = ["inspect", "resnet20_cifar", "--image-size", "48", "--json"]
    answer = json.loads(run(app, arguments).stdout)
    assert answer["input"] == [3, 48, 48]
    assert [stage["name"] for stage in answer["stages"]] == ["conv1", "conv2", "conv3", "conv4", "head"]
    assert "layers" not in answer
    assert len(json.loads(run(app, [*arguments, "--layers"]).stdout)["layers"]) > 60


def test_inspect_by_layers() -> None:
    text = run(app, ["inspect", "googlenet", "--layers"]).stdout
    assert "inception_3a.conv5x5.conv" in text
    assert "* training only" not in text.splitlines()[5:-1]


@pytest.mark.parametrize(
    ("size", "said"),
    [("0", "at least 1x1, got 0x0"), ("8", "must be at least 29x29"), ("224x", "HxW"), ("large", "HxW"), ("-5", "HxW")],
)
def test_inspect_refuses_a_size_that_cannot_be(
    size: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = typed("inspect", "densenet121", f"--image-size={size}", capsys=capsys, monkeypatch=monkeypatch)
    assert (code, out) == (2, "")
    assert said in err


def test_a_terminal_gets_a_line_a_model() -> None:
    program = "import pty, sys; sys.exit(pty.spawn([sys.executable, '-m', 'classicnets', 'models', 'alexnet']) >> 8)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL,
        env={"COLUMNS": "80", "LINES": "24"},
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    assert all(len(line) <= 80 for line in lines)
    assert any(line.endswith("…") for line in lines)
