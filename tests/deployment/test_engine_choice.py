"""`choose` on engines of known speed and a clock that only they move."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from classicnets.deployment.choose import Candidate, Choice, choose
from classicnets.deployment.engines import Answered, Settings
from classicnets.errors import ConfigError, MissingExtra

IMAGES = np.zeros((32, 3, 8, 8), np.uint8)
FP32, ORT, INT8, BF16 = (
    Candidate("openvino", Path("fp32")),
    Candidate("onnxruntime", Path("fp32")),
    Candidate("openvino", Path("int8"), "int8", 0.3),
    Candidate("openvino", Path("fp32"), "bf16", 0.01),
)


class Machine:
    """Engines that take as long as `seconds` says for a batch, and drift: every call makes the machine slower."""

    def __init__(self, seconds, drift: float = 1.0, executed=lambda engine, settings: settings.precision) -> None:
        self.now, self.slow, self.calls = 0.0, 1.0, 0
        self.seconds, self.drift, self.executed = seconds, drift, executed

    def open(self, engine: str, folder: Path, settings: Settings):
        machine = self

        class Session:
            executed = machine.executed(engine, settings)

            def run(self, images) -> Answered:
                machine.now += machine.seconds(engine, settings, len(images)) * machine.slow
                machine.slow *= machine.drift
                machine.calls += 1
                return Answered(np.zeros((len(images), 2), np.float32))

        return Session()

    def choose(self, candidates, **options) -> Choice:
        return choose(candidates, images=IMAGES, opener=self.open, clock=lambda: self.now, **options)


@pytest.fixture(autouse=True)
def _cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("classicnets.deployment.engines.usable_cores", lambda: 4)


def by_precision(fp32: float, int8: float, bf16: float = 1.0):
    def seconds(engine: str, settings: Settings, n: int) -> float:
        base = {"fp32": fp32, "int8": int8, "bf16": bf16}[settings.precision]
        return base * (1.3 if engine == "onnxruntime" else 1.0) * (4 / settings.used_threads) ** 0.5

    return seconds


def test_the_fastest_engine_and_precision_is_kept() -> None:
    choice = Machine(by_precision(0.03, 0.01)).choose([ORT, FP32, INT8])
    assert (choice.best, choice.settings.precision, choice.settings.threads) == (INT8, "int8", 4)
    kept = [row for row in choice.rows if row.kept]
    assert [(row.engine, row.precision, row.speed, row.note) for row in kept] == [("openvino", "int8", 1.0, "")]
    speeds = {(row.engine, row.precision, row.threads, row.convolution): row.speed for row in choice.rows}
    assert speeds["onnxruntime", "fp32", 4, "direct"] == pytest.approx(1 / 3.9)
    assert speeds["openvino", "fp32", 4, "winograd"] == pytest.approx(1 / 3)
    assert speeds["openvino", "int8", 2, "direct"] == pytest.approx(0.5**0.5)
    assert json.loads(json.dumps([row.to_dict() for row in choice.rows]))[0]["milliseconds"] == pytest.approx(39)


def test_int8_that_is_hardly_faster_is_not_kept() -> None:
    choice = Machine(by_precision(0.030, 0.029)).choose([FP32, INT8])
    assert choice.best == FP32
    assert "openvino int8: not faster here (1.03x)" in choice.notes


def test_what_loses_too_much_is_not_even_opened() -> None:
    machine = Machine(by_precision(0.03, 0.01))
    choice = machine.choose([FP32, INT8], max_drop=0.1)
    assert choice.best == FP32
    assert "openvino int8: loses 0.30 points, and the limit is 0.1" in choice.notes


def test_a_precision_that_the_machine_lacks() -> None:
    machine = Machine(by_precision(0.03, 0.02, 0.01), executed=lambda engine, settings: "fp32")
    choice = machine.choose([BF16, FP32])
    assert choice.best == FP32
    assert "openvino bf16: computes in fp32 here" in choice.notes


def test_an_engine_that_is_not_installed() -> None:
    machine = Machine(by_precision(0.03, 0.01))

    def opener(engine, folder, settings):
        if engine == "openvino":
            raise MissingExtra("no openvino")
        return machine.open(engine, folder, settings)

    choice = choose([FP32, ORT], images=IMAGES, opener=opener, clock=lambda: machine.now)
    assert choice.best == ORT
    assert "openvino fp32: the engine is not installed" in choice.notes
    with pytest.raises(ConfigError, match=r"No engine can run .* \(openvino fp32: the engine is not installed"):
        choose([FP32], images=IMAGES, opener=opener, clock=lambda: machine.now)


def test_a_machine_that_becomes_slower_does_not_change_the_choice() -> None:
    steady = Machine(by_precision(0.03, 0.02)).choose([FP32, ORT, INT8])
    drifting = Machine(by_precision(0.03, 0.02), drift=1.01).choose([FP32, ORT, INT8])
    assert drifting.best == steady.best
    speeds = [[row.speed for row in choice.rows] for choice in (steady, drifting)]
    assert speeds[1] == pytest.approx(speeds[0], rel=0.03)


def test_latency_uses_one_image_and_throughput_the_batch() -> None:
    def seconds(engine, settings, n):  # streams of one image each are best
        return n * 0.01 / settings.used_streams * (1 if settings.chunk == 1 else 2)

    latency = Machine(seconds).choose([FP32])
    assert {row.batch for row in latency.rows} == {1}
    throughput = Machine(seconds).choose([FP32], goal="throughput")
    assert {row.batch for row in throughput.rows} == {32}
    assert (throughput.settings.streams, throughput.settings.chunk) == (4, 1)
    assert next(row for row in throughput.rows if row.kept).images_per_second == pytest.approx(400)


def test_large_weights_are_best_read_once_for_the_whole_batch() -> None:
    def seconds(engine, settings, n):  # as in AlexNet's linear layers: memory bounds a pass, whatever its images
        return 0.01 * -(-n // (settings.chunk or 8))

    settings = Machine(seconds).choose([FP32], goal="throughput").settings
    assert (settings.streams, settings.chunk) == (1, 32)


def test_winograd_is_tried_in_openvino_fp32_alone_and_can_be_refused() -> None:
    def seconds(engine, settings, n):
        return 0.01 if settings.convolution == "winograd" else 0.02

    assert Machine(seconds).choose([FP32, ORT, INT8]).settings.convolution == "winograd"
    without = Machine(seconds).choose([FP32, ORT, INT8], winograd=False)
    assert {row.convolution for row in without.rows} == {"direct"}
    tried = {(row.engine, row.precision) for row in Machine(seconds).choose([FP32, ORT, INT8]).rows if row.speed == 1}
    assert tried == {("openvino", "fp32")}


def test_a_clear_match_ends_early() -> None:
    def calls(slower: float) -> int:
        machine = Machine(lambda engine, settings, n: 0.06 * (slower if engine == "onnxruntime" else 1))
        machine.choose([FP32, ORT], winograd=False)
        return machine.calls

    assert calls(5.0) < calls(1.01)


def test_progress_ends_complete() -> None:
    seen: list[tuple[int, int]] = []
    Machine(by_precision(0.03, 0.01)).choose(
        [FP32, INT8], progress=lambda what, done, total: seen.append((done, total))
    )
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_the_settings_name_their_threads() -> None:
    choice = Machine(by_precision(0.03, 0.01)).choose([FP32])
    assert choice.settings == replace(Settings(threads=4, streams=1), convolution=choice.settings.convolution)


def test_threads_that_wait_actively_are_tried_with_onnx_runtime_and_kept_if_faster() -> None:
    def seconds(engine, settings, n):
        return (0.01 if engine == "onnxruntime" else 0.02) * (0.95 if settings.spinning else 1)

    choice = Machine(seconds).choose([FP32, ORT])
    assert (choice.best, choice.settings.spinning) == (ORT, True)
    assert not any(row.spinning for row in choice.rows if row.engine == "openvino")
    choice = Machine(lambda engine, settings, n: 0.01 if engine == "onnxruntime" else 0.02).choose([FP32, ORT])
    assert (choice.best, choice.settings.spinning) == (ORT, False)
