"""`classicnets models`, `inspect` and `doctor`, as typed, and what all commands share in printing."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from classicnets.cli.main import app, main
from classicnets.models.facts import FACTS
from classicnets.system import threads

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


def test_doctor_reports_cores_and_threads(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cpu_quota", lambda: 0.5)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    code, out, err = typed("doctor", "--json", capsys=capsys, monkeypatch=monkeypatch)
    facts = json.loads(out)
    assert code == 0
    assert facts["usable cores"] == 1
    assert facts["threads"] == 4
    assert facts["load"] >= 0
    assert "PyTorch uses 4 threads: OMP_NUM_THREADS=1 may be faster" in facts["advice"]
    code, out, err = typed("doctor", capsys=capsys, monkeypatch=monkeypatch)
    assert "usable cores" in out
    assert "advice" not in out
    assert "OMP_NUM_THREADS=1" in err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "There is not enough memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "not enough memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "not enough memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device. Free some space"),
    ],
)
def test_a_machine_that_lacks_something_ends_with_6(
    error: Exception, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("classicnets.models.facts.list_models", raiser(error))
    code, out, err = typed("models", capsys=capsys, monkeypatch=monkeypatch)
    assert (code, out) == (6, "")
    assert err.startswith("error: ")
    assert said in err


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("Expected channels_last memory format"),
        OSError(errno.EBADF, "Bad file descriptor"),
    ],
)
def test_an_error_of_ours_keeps_its_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("classicnets.models.facts.list_models", raiser(error))
    monkeypatch.setattr(sys, "argv", ["classicnets", "models"])
    with pytest.raises(type(error), match=str(error.args[-1])):
        main()


def raiser(error: Exception) -> Callable[..., None]:
    def fail(*args: object) -> None:
        raise error

    return fail


PRINT = """
import sys
from classicnets.cli.output import answer, note, print_any_text, print_json, print_table
print_any_text()
text = "\\u732b \\U0001f600 \\udcff"
{work}
"""


def printed(work: str, encoding: str) -> tuple[str, str]:
    """stdout and stderr of a program with a console of that encoding."""
    done = subprocess.run(
        [sys.executable, "-c", PRINT.format(work=work)], capture_output=True, check=True,
        env={**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "80"},
    )  # fmt: skip
    return done.stdout.decode(encoding), done.stderr.decode(encoding)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_any_text_in_any_console(encoding: str) -> None:
    kept = "猫 😀 \\udcff" if encoding == "utf-8" else "\\u732b \\U0001f600 \\udcff"
    out, err = printed("answer(text); note(text); print_table((text,), [(text,)]); print(text)", encoding)
    assert [line.rstrip() for line in out.splitlines()] == [kept] * 4
    assert err.splitlines() == [f"note: {kept}"]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
@pytest.mark.parametrize("indent", [None, 2])
def test_json_stays_json_in_any_console(encoding: str, indent: int | None) -> None:
    out, _ = printed(f"print_json({{text: [text]}}, indent={indent})", encoding)
    assert json.loads(out) == {"猫 😀 \udcff": ["猫 😀 \udcff"]}
    assert (len(out.splitlines()) == 1) is (indent is None)


def test_json_of_a_utf_8_console_is_readable() -> None:
    assert printed("print_json(text[:3])", "utf-8")[0] == '"猫 😀"\n'


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
@pytest.mark.parametrize("arguments", [("--help",), ("train", "--help"), ("models",), ("no-such-command",)])
def test_help_and_mistakes_in_a_code_page(arguments: tuple[str, ...], encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "classicnets", *arguments], capture_output=True, check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert done.returncode == (2 if arguments == ("no-such-command",) else 0)
    assert b"Traceback" not in done.stderr
    assert done.stdout + done.stderr


def test_a_model_and_a_unit_are_drawn_to_new_files(tmp_path: Path) -> None:
    svg, unit = tmp_path / "net.svg", tmp_path / "unit.svg"
    result = run(app, ["inspect", "resnet20_cifar", "--svg", str(svg)])
    assert result.exit_code == 0
    assert result.stdout.endswith(f"drawing: {svg}\n")
    assert svg.read_text("utf-8").startswith("<svg ")
    assert run(app, ["inspect", "resnet20_cifar", "--unit", "conv3,0,1,2", "--svg", str(unit)]).exit_code == 0
    assert "channel 0 of conv3 at row 1, column 2" in unit.read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--unit", "conv3"), "--unit must be STAGE,C,Y,X such as conv3,0,10,20; got 'conv3'."),
        (
            ("--unit", "conv9,0,0,0"),
            "No stage of resnet20_cifar named 'conv9'. Did you mean conv4, conv3, conv2? Stages: conv1",
        ),
        (("--image", "a.jpg"), "Give --unit STAGE,C,Y,X and --svg FILE too."),
        (("--svg", "net.png"), "--svg must name a file that ends with .svg, got net.png."),
        (("--svg", str(Path(__file__).parent)), "must name a file that ends with .svg"),
        (("--csv", "--json"), "--csv cannot be combined with --json or --unit."),
    ],
)
def test_mistakes_in_drawing(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = typed("inspect", "resnet20_cifar", *arguments, capsys=capsys, monkeypatch=monkeypatch)
    assert code == 2
    assert said in " ".join(err.split())


def test_a_drawing_never_overwrites(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    svg = tmp_path / "mine.svg"
    svg.write_text("mine")
    code, _, err = typed("inspect", "resnet20_cifar", "--svg", str(svg), capsys=capsys, monkeypatch=monkeypatch)
    assert code == 2
    assert "exists, and files are never overwritten" in " ".join(err.split())
    assert svg.read_text() == "mine"
