"""`train --watch`: what the page is told, that it can stop the training, and that nothing else can."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from classicnets.errors import ConfigError, TrainingDiverged
from classicnets.training import Job, reopen, start
from classicnets.training import watch as watch_module
from classicnets.training.history import Curve, History
from classicnets.training.progress import follow
from classicnets.training.step.state import EpochDone, StepDone
from classicnets.training.watch import Watching, has_screen
from servers import until
from small import FAST

SMALL = ["epochs=2", "model.switches.depths=[1,1,1]"]


def ask(url: str, place: str, body: object = None, **headers: str) -> tuple[int, Any]:
    """Ask the page's server as the page does."""
    host, _, token = url.removeprefix("http://").rstrip("/").partition("/")
    connection = http.client.HTTPConnection(host, timeout=10)
    sent = {} if body is None else {"Content-Type": "application/json", "Origin": f"http://{host}"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    data = None if body is None else json.dumps(body).encode()
    try:
        connection.request("GET" if body is None else "POST", f"/{token}/{place}", data, sent)
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    return answer.status, json.loads(text) if answer.headers["Content-Type"] == "application/json" else text


def step(number: int, **changes: Any) -> StepDone:
    values = {"epoch": 1 + (number - 1) // 5, "step": number, "loss": 2.0 / number, "accuracy": 0.5, "lr": 0.1}
    return StepDone(**{**values, "images_per_second": 100.0, **changes})


def epoch(number: int) -> EpochDone:
    return EpochDone(
        epoch=number, step=5 * number, image_size=12, lr=0.1, train_loss=1.0 / number, train_accuracy=0.6,
        val_loss=1.5 / number, val_accuracy=0.5, val_balanced_accuracy=0.5, images_per_second=90.0, seconds=3.0,
    )  # fmt: skip


@pytest.fixture
def job(corners, recipe, tmp_path: Path) -> Job:
    return start("resnet20_cifar", corners, recipe=recipe, settings=SMALL, out=tmp_path / "run")


class TestCurve:
    def test_few_points_stand_for_many_steps(self) -> None:
        curve = Curve(most=8)
        for number in range(1, 1001):
            curve.add(number, float(number), 0.5)
        points = curve.points()
        assert len(points["step"]) <= 8
        assert points["step"][-1] == 1000
        widths = [b - a for a, b in zip([0, *points["step"]], points["step"], strict=False)]
        assert sum(loss * width for loss, width in zip(points["loss"], widths, strict=True)) == pytest.approx(500_500)

    def test_steps_that_run_again_replace_the_old_ones(self) -> None:
        curve = Curve()
        for number in (1, 2, 3, 4, 2, 3):
            curve.add(number, float(10 * number), 0.1)
        assert curve.points() == {"step": [1, 2, 3], "loss": [10, 20, 30], "rate": [0.1, 0.1, 0.1]}


class TestHistory:
    def test_what_a_page_is_told(self, job: Job) -> None:
        history = History(job)
        assert history.state()["phase"] == "preparing"
        per_epoch = job.num_steps // 2
        history.add(step(1))
        assert history.state()["phase"] == "training"
        history.add(step(per_epoch))
        state = history.state()
        assert (state["phase"], state["step"], state["num_steps"]) == ("validating", per_epoch, job.num_steps)
        assert state["seconds_left"] > 0
        history.add(epoch(1))
        history.add(epoch(2))
        state = history.state()
        assert [row["epoch"] for row in state["rows"]] == [1, 2]
        assert state["phase"] == "measuring"
        history.end("failed", "The disk is full.")
        assert (history.state()["phase"], history.state()["about"]) == ("failed", "The disk is full.")
        assert json.loads(json.dumps(state, allow_nan=False))["notes"] == job.notes

    def test_an_epoch_that_runs_again_replaces_the_old_one(self, job: Job) -> None:
        history = History(job)
        for event in (step(1), epoch(1), step(6), epoch(2), step(6, epoch=2)):
            history.add(event)
        assert [row["epoch"] for row in history.state()["rows"]] == [1]


@pytest.mark.usefixtures("plain_reports")
class TestWatching:
    def test_a_training_from_its_begin_to_its_end(self, job: Job, capsys: pytest.CaptureFixture[str]) -> None:
        last: dict[str, Any] = {}

        def look(url: str) -> None:
            """A page that asks until the training is over."""
            place = "now"
            while last.get("phase") not in ("finished", "stopped", "failed"):
                last.update(ask(url, place)[1])
                place = "next"

        with Watching(job) as watching:
            page = threading.Thread(target=look, args=(watching.url,))
            page.start()
            finished = follow(job, watching.events(job), quiet=True)
        page.join(10)
        assert last["phase"] == "finished"
        assert last["result"]["top1"] == finished.report.top1
        assert [row["epoch"] for row in last["rows"]] == [1, 2]
        assert last["curve"]["step"][-1] == last["num_steps"] == job.num_steps
        assert "Traceback" not in capsys.readouterr().err
        with pytest.raises(OSError, match="refused"):
            ask(watching.url, "now")

    def test_the_page_stops_it_as_ctrl_c_does_and_it_goes_on_later(self, job: Job) -> None:
        def train() -> None:
            with Watching(job) as watching:
                for event in watching.events(job):
                    if event.step == 3:
                        for _ in range(2):  # a second time is no second Ctrl-C
                            assert ask(watching.url, "stop", {}) == (200, {"stopping": True})

        with pytest.raises(KeyboardInterrupt):
            train()
        assert job.run.events[-1]["reason"] == "KeyboardInterrupt"
        assert list((job.run.path / "checkpoints").iterdir())
        again = reopen(job.run, data=job._prepared.data)
        with Watching(again) as watching:
            states = []
            for _ in watching.events(again):
                states.append(ask(watching.url, "now")[1])
        assert states[0]["step"] == 4, "it goes on where it stopped"
        assert again.run.finished

    def test_a_page_that_is_opened_late_gets_the_epochs_before_a_resume(self, job: Job) -> None:
        iterator = iter(job)
        for event in iterator:
            if isinstance(event, EpochDone):
                break
        iterator.close()
        again = reopen(job.run, data=job._prepared.data)
        with Watching(again) as watching:
            next(watching.events(again))
            rows = ask(watching.url, "now")[1]["rows"]
        assert [row["epoch"] for row in rows] == [1]

    @pytest.mark.parametrize(
        ("error", "phase", "about"),
        [
            (TrainingDiverged("The loss is nan."), "failed", "The loss is nan."),
            (RuntimeError("secret"), "failed", "The terminal says why."),
            (SystemExit(143), "stopped", ""),
        ],
    )
    def test_an_open_page_learns_how_it_ended(self, job: Job, error: BaseException, phase: str, about: str) -> None:
        answers: list[Any] = []

        def train() -> None:
            with Watching(job) as watching:
                assert ask(watching.url, "now")[0] == 200
                waiting = threading.Thread(target=lambda: answers.append(ask(watching.url, "next")[1]))
                waiting.start()
                time.sleep(0.1)
                raise error

        began = time.monotonic()
        with pytest.raises(type(error)):
            train()
        until(lambda: bool(answers))
        assert (answers[0]["phase"], answers[0]["about"]) == (phase, about)
        assert time.monotonic() - began < 2

    def test_without_a_page_the_end_does_not_wait(self, job: Job) -> None:
        with Watching(job):
            began = time.monotonic()
        assert time.monotonic() - began < 1

    def test_no_thread_is_left(self, job: Job) -> None:
        with Watching(job) as watching:
            ask(watching.url, "now")
            watching._page.over.set()  # a page that went away
            watching._page._told.set()
        time.sleep(0.05)
        assert not [thread for thread in threading.enumerate() if thread.name == "classicnets-watch"]


class TestRefused:
    def test_requests_from_elsewhere(self, job: Job) -> None:
        with Watching(job) as watching:
            url = watching.url
            wrong = url[:-2] + ("x/" if url[-2] != "x" else "y/")
            assert ask(wrong, "now")[0] == 404
            assert ask(wrong, "stop", {})[0] == 404
            assert ask(url, "now", Host="evil.example")[0] == 403
            assert ask(url, "stop", {}, Origin="http://evil.example")[0] == 403
            assert ask(url, "stop", {}, Content_Type="text/plain")[0] == 415
            assert ask(url, "other", {})[0] == 404
            assert ask(url, "other")[0] == 404
            status, page = ask(url, "")
            assert status == 200
            assert "Training resnet20_cifar" in page
            assert "style=" not in page, "the policy allows no inline style"
            assert ask(url, "now")[1]["stopping"] is False


def test_a_training_goes_on_without_a_page(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(*args: object) -> None:
        raise ConfigError("Port 0 cannot be used: no.")

    monkeypatch.setattr(watch_module, "WatchPage", taken)
    with Watching(job) as watching:
        assert watching.problem == "Port 0 cannot be used: no."
        assert not watching.open_browser()
        assert next(watching.events(job)).step == 1


def test_a_browser_is_opened_only_where_there_is_a_screen(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert not has_screen()
    monkeypatch.setenv("DISPLAY", ":0")
    assert has_screen()
    shown = threading.Event()

    def broken(url: str) -> None:
        shown.set()
        raise RuntimeError("no browser")

    monkeypatch.setattr("webbrowser.open", broken)
    with Watching(job) as watching:
        assert watching.open_browser()
        assert shown.wait(5)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, None], ids=["ctrl-c", "sigterm", "page"])
def test_the_command_ends_cleanly(tmp_path: Path, number: signal.Signals | None) -> None:
    settings = [part for setting in FAST for part in ("--set", setting)]
    command = [sys.executable, "-m", "classicnets", "train", "resnet20_cifar", "digits", "--watch", "--epochs", "200"]
    process = subprocess.Popen(
        [*command, *settings, "--out", str(tmp_path / "run")], stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "DISPLAY": "", "WAYLAND_DISPLAY": ""},
    )  # fmt: skip
    said = []
    try:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if line.startswith("epoch"):
                break
        url = next(line.split()[-1] for line in said if "watch at" in line)
        if number is None:
            ask(url, "stop", {})
        else:
            process.send_signal(number)
        said.append(process.stderr.read())
        assert process.wait(30) == (143 if number == signal.SIGTERM else 130)
    finally:
        process.kill()
        process.communicate()
    assert "Traceback" not in "".join(said)
    assert "train --resume" in said[-1]
