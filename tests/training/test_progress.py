"""A training shows what it does: in a terminal, without one, in a notebook, and to a program that logs."""

from __future__ import annotations

import builtins
import logging
import os
import pty
import sys

import pytest

from classicnets.system.progress import clock, progress_bars, progress_console
from classicnets.training import start
from classicnets.training.progress import TrainingProgress, follow
from classicnets.training.step.state import EpochDone, StepDone

STEP = StepDone(epoch=1, step=3, loss=1.25, accuracy=0.5, lr=0.1, images_per_second=1234.0)
EPOCH = EpochDone(
    epoch=1, step=5, image_size=32, lr=0.1, train_loss=1.25, train_accuracy=0.5, val_loss=1.0, val_accuracy=0.625,
    val_balanced_accuracy=0.6, images_per_second=1234.0, seconds=75.0,
)  # fmt: skip
LINE = "epoch  1/10  loss 1.250  train 50.00%  val 62.50%  1,234 images/s  1:15\n"


@pytest.fixture
def unlogged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that has set up no logging (pytest has)."""
    monkeypatch.setattr(logging.Logger, "hasHandlers", lambda self: False)


def show_all(**options: bool) -> None:
    with TrainingProgress(10, 50, **options) as progress:
        progress.note("a note [with brackets]")
        progress.warning("a warning")
        progress.show(STEP)
        progress.show(EPOCH)


def test_without_a_terminal_there_are_plain_lines_on_stderr(capsys: pytest.CaptureFixture[str], unlogged: None) -> None:
    show_all()
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"a note [with brackets]\na warning\n{LINE}")


def test_a_program_that_logs_gets_notes_and_warnings_there(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="classicnets")
    show_all()
    assert caplog.record_tuples == [
        ("classicnets", logging.INFO, "a note [with brackets]"),
        ("classicnets", logging.WARNING, "a warning"),
    ]
    assert capsys.readouterr().err == LINE


def test_the_command_line_prints_them_in_any_case(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    show_all(log=False)
    assert capsys.readouterr().err == f"a note [with brackets]\na warning\n{LINE}"
    assert not caplog.records


def test_quiet_is_silent(capsys: pytest.CaptureFixture[str], unlogged: None) -> None:
    show_all(quiet=True)
    assert capsys.readouterr() == ("", "")


def test_a_notebook_gets_plain_lines_in_its_output(
    capsys: pytest.CaptureFixture[str], unlogged: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = type("ZMQInteractiveShell", (), {})
    monkeypatch.setattr(builtins, "get_ipython", shell, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    show_all()
    with progress_bars() as report:
        report("Reading", 1, 2)
    assert capsys.readouterr() == (f"a note [with brackets]\na warning\n{LINE}", "")


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, unlogged: None) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        assert progress_console().is_terminal
        with TrainingProgress(10, 50) as progress:
            progress.show(EPOCH)
            progress.show(STEP)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "epoch 1/10" in shown
    assert "1,234 images/s  " in shown
    assert LINE.rstrip() in shown


@pytest.mark.usefixtures("plain_reports")
@pytest.mark.parametrize("command_line", [False, True])
def test_follow_shows_a_training_from_its_notes_to_its_end(
    corners, recipe, tmp_path, capsys, unlogged, command_line: bool
) -> None:
    job = start(
        "resnet20_cifar",
        corners,
        recipe=recipe,
        settings=["epochs=2", "model.switches.depths=[1,1,1]"],
        out=tmp_path / "run",
    )
    capsys.readouterr()
    finished = follow(job, command_line=command_line)
    out, err = capsys.readouterr()
    assert finished.run == job.run
    assert out == ""
    for text in (*job.notes, f"writing to {job.run.path}", "epoch 1/2  loss", "epoch 2/2  loss", *job.warnings):
        assert text in err


@pytest.mark.parametrize(
    ("command_line", "how"), [(False, "classicnets.resume('{run}')"), (True, "classicnets train --resume {run}")]
)
def test_a_stopped_training_says_how_to_go_on(
    corners, recipe, tmp_path, capsys, unlogged, command_line: bool, how: str
) -> None:
    job = start("resnet20_cifar", corners, recipe=recipe, out=tmp_path / "run")

    def stopped():
        yield STEP
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow(job, stopped(), command_line=command_line)
    assert "Resume with: " + how.format(run=job.run.path) in capsys.readouterr().err


def test_durations() -> None:
    assert [clock(seconds) for seconds in (0, 59.6, 3600, 3725)] == ["0:00", "1:00", "1:00:00", "1:02:05"]
