"""Under load: SIGTERM loses no request, and models are replaced without a failed one."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest

from bundles import seal, write_bundle, write_graph
from classicnets.serving import app
from classicnets.serving.models import Served
from servers import png, running, served, until

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from http_load import Load, Outcome


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    (tmp_path / "photo.png").write_bytes(png(1))
    return tmp_path / "photo.png"


def replace(folder: Path, aside: Path, bias: float) -> None:
    """Replace a bundle's files by those of another network, one after the other, as `cp` does."""
    shutil.rmtree(aside, ignore_errors=True)
    write_bundle(aside)
    write_graph(aside / "model.onnx", bias=bias)
    seal(aside)
    for name in ("model.onnx", "bundle.json"):
        os.replace(aside / name, folder / name)


def test_a_model_is_replaced_without_a_failed_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "_LOOK_AGAIN", 0.02)
    folder, ended, statuses, labels = write_bundle(tmp_path / "tiny"), threading.Event(), set(), set()
    with running([Served("tiny", folder)]) as server:

        def ask() -> None:
            while not ended.is_set():
                reply = server.ask("POST", "/v1/predict", png(1))
                statuses.add(reply.status)
                labels.add(reply.json()["answers"][0]["predictions"][0]["label"])

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            for i, bias in enumerate((20.0, 0.0, 20.0)):
                replace(folder, tmp_path / "aside", bias)
                until(lambda: server.state.models["tiny"].version == i + 2)  # noqa: B023
        finally:
            ended.set()
            thread.join()
        assert server.ask("POST", "/v1/predict", png(1)).json()["answers"][0]["predictions"][0]["label"] == "red"
    assert statuses == {200}
    assert labels == {"green", "red"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sigterm_twenty_times(bundle: Path, photo: Path) -> None:
    for i in range(20):
        with served(bundle, delay=0.01) as server:
            sending = Load(server.port, "/v1/predict", [str(photo)], connections=16, seconds=3).start()
            until(lambda: server.ask("GET", "/metrics").body.count(b"/v1/predict") > 0)
            time.sleep(0.3 + 0.037 * i)
            assert server.stop() == 0
            outcome = Outcome.of(sending)
            print(f"{outcome.count()} answered, {outcome.lost} lost, {outcome.refused} refused")
            assert outcome.lost == 0
            assert outcome.count() > 20
            assert set(outcome.answered) == {"200"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_model_is_replaced_twenty_times_under_load(tmp_path: Path, photo: Path) -> None:
    folder = write_bundle(tmp_path / "tiny")
    with served(folder) as server:
        sending = Load(server.port, "/v1/predict", [str(photo)], connections=4, seconds=60).start()
        for i in range(20):
            replace(folder, tmp_path / "aside", bias=20.0 * (i % 2))
            until(lambda: server.ask("GET", "/v1/models").json()["models"][0]["version"] == i + 2)  # noqa: B023
        outcome = Outcome.of(sending)
    assert set(outcome.answered) == {"200"}
    assert outcome.lost == outcome.refused == 0
