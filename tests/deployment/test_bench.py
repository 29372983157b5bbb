"""bench: contenders in processes of their own, what a report says, and where the time goes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bundles import write_bundle
from classicnets.deployment.bench import target as target_module
from classicnets.deployment.bench.contender import Contender, Loaded, Running
from classicnets.deployment.bench.layers import layer_name, layer_times, together
from classicnets.deployment.bench.measure import BenchReport, bench, fastest, measured
from classicnets.deployment.bench.peaks import Peaks, measure_peaks
from classicnets.deployment.bench.target import Target, Work, open_target
from classicnets.deployment.engines import Operation, Settings
from classicnets.errors import ConfigError, UnknownName
from classifiers import tiny_classifier

PEAKS = Peaks({"fp32": 100.0}, 10.0, 2)
WORK = Work(macs=500_000_000, weights=1_000_000, activations=2_000_000)


class Fake:
    """A contender's process that takes as long as its threads say."""

    def __init__(self, contender: Contender, shape: tuple[int, ...]) -> None:
        if contender.label == "broken":
            raise ConfigError("PyTorch eager fp32 broken cannot run here: no.")
        self._ms = contender.settings.threads or 1
        self.loaded = Loaded(1.5, contender.settings.precision)
        self.closed = False

    def turn(self, batch: int) -> list[float]:
        return [batch * self._ms / 1000] * 2

    def peak_bytes(self) -> int:
        return 3 << 20

    def close(self) -> None:
        self.closed = True


def report_of(*contenders: Contender) -> BenchReport:
    target = Target("net at 3x8x8", (3, 8, 8), contenders, WORK, ("a note",))
    return bench(target, batches=(1, 4), seconds=0, start=Fake, peaks=PEAKS)  # type: ignore[arg-type]


SLOW = Contender("eager", Path(), Settings(threads=20))
FAST = Contender("openvino", Path(), Settings(threads=10))
INT8 = Contender("openvino", Path(), Settings(threads=5, precision="int8"))


def test_a_report_has_ratios_rates_and_shares_of_the_roof() -> None:
    report = report_of(SLOW, FAST, INT8)
    assert [(row.contender, row.batch, round(row.speed, 6)) for row in report.rows] == [
        ("PyTorch eager fp32", 1, 1.0), ("OpenVINO fp32", 1, 2.0), ("OpenVINO int8", 1, 4.0),
        ("PyTorch eager fp32", 4, 1.0), ("OpenVINO fp32", 4, 2.0), ("OpenVINO int8", 4, 4.0),
    ]  # fmt: skip
    fast = report.rows[1]
    assert (fast.p50_ms, fast.images_per_second, fast.peak_mib, fast.load_seconds) == pytest.approx((10, 100, 3, 1.5))
    assert fast.gflops == pytest.approx(100)  # 1 GFLOP in 10 ms
    assert fast.gbps == pytest.approx(4 * (1 + 2 * 2) / 10)  # 20 MB in 10 ms
    assert fast.intensity == pytest.approx(1000 / 20)
    assert fast.of_roof == pytest.approx(1.0)
    assert report.rows[2].of_roof is None  # no int8 peak is known
    assert report.rows[2].intensity == pytest.approx(4 * fast.intensity)


def test_it_goes_out_as_json_and_csv() -> None:
    report = report_of(SLOW, FAST)
    assert json.loads(json.dumps(report.to_dict()))["rows"][1]["speed"] == pytest.approx(2)
    rows = list(csv.DictReader(io.StringIO(report.to_csv())))
    assert [row["contender"] for row in rows[:2]] == ["PyTorch eager fp32", "OpenVINO fp32"]


def test_what_cannot_run_is_named_and_the_others_go_on() -> None:
    broken = Contender("eager", Path(), Settings(), "broken")
    report = report_of(broken, FAST)
    assert report.notes == ("a note", "PyTorch eager fp32 broken cannot run here: no.")
    assert {row.contender for row in report.rows} == {"OpenVINO fp32"}
    with pytest.raises(ConfigError, match="Nothing can run here"):
        report_of(broken)


def test_rounds_go_on_until_the_time_is_used() -> None:
    now, order = 0.0, []

    def turn(name: str) -> Callable[[int], list[float]]:
        def run(batch: int) -> list[float]:
            nonlocal now
            now += 0.5
            order.append(name)
            return [0.5]

        return run

    times = measured({SLOW: turn("a"), FAST: turn("b")}, 1, 2.0, lambda *_: None, clock=lambda: now)
    assert len(times[SLOW].rounds) == 4
    assert order[:4] == ["a", "b", "b", "a"]


def test_the_roof_is_memory_below_and_arithmetic_above() -> None:
    assert (PEAKS.roof("fp32", 2), PEAKS.roof("fp32", 50), PEAKS.roof("int8", 2)) == (20.0, 100.0, None)


def test_peaks_are_measured(monkeypatch) -> None:
    monkeypatch.setattr("classicnets.deployment.bench.peaks._SIDES", (16,))
    monkeypatch.setattr("classicnets.deployment.bench.peaks._BYTES", 1 << 16)
    monkeypatch.setattr("classicnets.deployment.bench.peaks._SECONDS", 0)
    peaks = measure_peaks(1)
    assert peaks.gflops["fp32"] > 0
    assert peaks.gbps > 0


class TestTarget:
    def test_a_classifier_has_every_engine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(target_module, "_has_bf16", lambda: False)
        with open_target(tiny_classifier(), threads=1, int8=False) as target:
            names = [contender.name for contender in target.contenders]
            assert names[:5] == [
                "PyTorch eager fp32", "torch.compile fp32", "torch engine fp32", "ONNX Runtime fp32", "OpenVINO fp32"
            ]  # fmt: skip
            assert (target.title, target.shape) == ("resnet20_cifar at 1x12x12", (1, 12, 12))
            assert target.work.macs > 0
            folder = target.contenders[0].folder
            contender, session = fastest(target, np.zeros((2, 1, 12, 12), np.uint8))
            assert contender.way in ("torch", "onnxruntime", "openvino")
            rows = layer_times(session, np.zeros((2, 1, 12, 12), np.uint8), passes=1)
            assert sum(row.share for row in rows) == pytest.approx(1)
            assert any("conv1" in row.name for row in rows)
        assert not folder.exists()

    def test_a_bundle_runs_as_it_was_exported(self, tmp_path: Path) -> None:
        bundle = write_bundle(tmp_path / "bundle")
        with open_target(bundle, ways=("onnx", "openvino")) as target:
            assert [contender.name for contender in target.contenders] == ["ONNX Runtime fp32 as exported"]
            assert target.contenders[0].folder == bundle

    def test_unknown_words(self) -> None:
        with pytest.raises(UnknownName, match="No engine named 'tensorrt'"), open_target("nin", ways=("tensorrt",)):
            pass
        with pytest.raises(UnknownName, match="Did you mean resnet18"), open_target("resnet81"):
            pass


def test_a_process_measures_itself() -> None:
    with open_target(tiny_classifier(), ways=("onnx",), threads=1, int8=False) as target:
        running = Running(target.contenders[0], target.shape)
        try:
            assert running.loaded.executed == "fp32"
            assert all(second > 0 for second in running.turn(3))
            assert running.peak_bytes() > 1 << 20
        finally:
            running.close()
        missing = Contender("onnxruntime", target.contenders[0].folder / "nothing")
        with pytest.raises(ConfigError, match=r"ONNX Runtime fp32 cannot run here: .*model\.onnx"):
            Running(missing, target.shape)


def test_an_operation_belongs_to_its_layer() -> None:
    assert layer_name("trunk.conv3/winograd 1 products") == layer_name("trunk.conv3/WithoutBiases") == "trunk.conv3"
    found = together(
        [Operation("a/winograd 0 gather", "Gather", "ref", 0.1), Operation("b", "Pool", "jit", 0.3),
         Operation("a/winograd 0 products", "MatMul", "brgemm", 0.5)]
    )  # fmt: skip
    assert list(found) == ["a", "b"]
    assert found["a"][1:] == ("MatMul", "brgemm", pytest.approx(0.6))


@pytest.mark.parametrize("way", ["torch", "onnx", "openvino"])
def test_every_engine_tells_its_layers(way: str) -> None:
    with open_target(tiny_classifier(), ways=(way,), threads=1, int8=False) as target:
        _, session = fastest(target, np.zeros((1, 1, 12, 12), np.uint8))
        kinds = {row.kind for row in layer_times(session, np.zeros((1, 1, 12, 12), np.uint8), passes=1)}
    assert kinds & {"Conv2d", "Conv", "Convolution"}
