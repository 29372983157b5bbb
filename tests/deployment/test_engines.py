"""Engines answer as PyTorch does, whatever their settings, and say what they compute in."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bundles import write_bundle
from classicnets.classifier import Classifier
from classicnets.deployment.engines import Settings, open_session
from classicnets.deployment.graph import deployable
from classicnets.deployment.onnx_file import write_onnx
from classicnets.deployment.openvino_ir import write_ir
from classicnets.errors import ConfigError, WeightsError
from classicnets.models.catalog import create
from classicnets.preprocess import Preprocess
from classicnets.system import threads

pytest.importorskip("openvino")
ort = pytest.importorskip("onnxruntime")

ENGINES = ("openvino", "onnxruntime", "torch")


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    model = create("resnet20_cifar", num_classes=3, generator=torch.Generator().manual_seed(0)).eval()
    preprocess = Preprocess(input_size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
    return Classifier(model=model, model_name="resnet20_cifar", classes=("a", "b", "c"), preprocess=preprocess)


@pytest.fixture(scope="module")
def folder(classifier: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of every engine."""
    made = tmp_path_factory.mktemp("engines")
    write_onnx(deployable(classifier), made / "model.onnx")
    write_ir(made / "model.onnx", made / "model.xml")
    classifier.save(made / "network")
    return made


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (7, 3, 16, 16), dtype=np.uint8)


@pytest.fixture(scope="module")
def expected(classifier: Classifier, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    probabilities: NDArray[np.float32] = classifier.card.probabilities(classifier.logits(images)).numpy()
    return probabilities


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 2)
    monkeypatch.setattr("classicnets.deployment.engines.usable_cores", lambda: 2)


SETTINGS = {
    "default": Settings(),
    "throughput": Settings(goal="throughput"),
    "one thread": Settings(threads=1),
    "chunks": Settings(streams=2, chunk=3),
    "single images": Settings(streams=2, chunk=1),
    "winograd": Settings(convolution="winograd", chunk=2),
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("engine", ENGINES)
def test_all_settings_answer_alike(engine, settings, folder, images, expected, monkeypatch) -> None:
    if settings.convolution == "winograd":
        monkeypatch.setattr("classicnets.deployment.engines.winograd._GAIN", 0)
    session = open_session(engine, folder, settings)
    assert session.executed == "fp32"
    for count in (7, 1, 2):
        answered = session.run(images[:count])
        assert answered.novelty is None
        assert answered.probabilities == pytest.approx(expected[:count], abs=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_threads_may_share_a_session(engine, folder, images, expected) -> None:
    session = open_session(engine, folder, Settings(streams=2, chunk=1))
    with ThreadPoolExecutor(6) as pool:
        for answered in pool.map(session.run, [images] * 12):
            assert answered.probabilities == pytest.approx(expected, abs=1e-5)


def test_openvino_keeps_two_sizes_at_most(folder, images) -> None:
    session = open_session("openvino", folder, Settings(chunk=4))
    for count in range(1, 8):
        session.run(images[:count])
    assert set(session._compiled) == {1, 4}


def test_a_failure_gives_the_requests_back(folder, images, expected) -> None:
    session = open_session("openvino", folder, Settings(streams=1))
    with pytest.raises(Exception, match=r"(?i)shape"):
        session.run(images[:1, :, :8])
    assert session.run(images).probabilities == pytest.approx(expected, abs=1e-5)


def test_no_more_threads_than_the_quota_allows() -> None:
    assert Settings(threads=64).used_threads == 2
    assert Settings().used_threads == 2
    assert Settings(threads=1, streams=2).used_streams == 1
    assert (Settings().used_streams, Settings(goal="throughput").used_streams) == (1, 2)


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_start_as_many_threads_as_the_quota(engine, folder, images, monkeypatch) -> None:
    started = {}
    if engine == "openvino":
        session = open_session(engine, folder, Settings(threads=8))
        session.run(images)
        started["threads"] = session._compiled[1]._model.get_property("INFERENCE_NUM_THREADS")
    elif engine == "onnxruntime":
        session = open_session(engine, folder, Settings(threads=8))
        started["threads"] = session._session.get_session_options().intra_op_num_threads
    else:
        monkeypatch.setattr(torch, "set_num_threads", lambda number: started.update(threads=number))
        monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
        open_session(engine, folder, Settings(threads=8)).run(images)
    assert started["threads"] == 2


def test_the_executed_precision_is_read_back(folder) -> None:
    from classicnets.deployment.engines.openvino import _executed

    layers = [("Convolution", "jit_avx2_I8"), ("Convolution", "brgconv_avx2_1x1_I8"), ("MatMul", "gemm_mlas_f32")]
    assert _executed([*layers, ("Reorder", "jit_uni_f32")]) == "int8"
    assert _executed([("Convolution", "brgconv_avx512_core_amx_bf16"), ("FullyConnected", "x_bf16")]) == "bf16"
    assert _executed([("Reorder", "jit_uni_f32")]) == "fp32"
    asked = Settings(precision="int8")  # of files that hold no integers
    assert open_session("openvino", folder, asked).executed == "fp32"
    assert open_session("onnxruntime", folder, asked).executed == "fp32"


@pytest.mark.parametrize(("engine", "file"), [("openvino", "model.xml"), ("onnxruntime", "model.onnx")])
def test_a_damaged_file_is_refused(engine, file, tmp_path) -> None:
    (tmp_path / file).write_text("no network")
    with pytest.raises(WeightsError, match=rf"{file}: .* cannot load it"):
        open_session(engine, tmp_path)


def test_unusable_settings() -> None:
    with pytest.raises(ConfigError, match="chunk must be a whole number from 1, got 0"):
        Settings(chunk=0)
    with pytest.raises(ConfigError, match="convolution must be one of direct, winograd, got 'fft'"):
        replace(Settings(), convolution="fft")


def test_integers_of_a_quantised_file_are_computed_as_integers(folder, images, expected, tmp_path) -> None:
    pytest.importorskip("nncf")
    from classicnets.deployment.quantize.openvino import quantize_openvino

    quantize_openvino(folder / "model.xml", tmp_path / "model.xml", images)
    session = open_session("openvino", tmp_path, Settings(precision="int8"))
    assert session.executed == "int8"
    assert session.run(images).probabilities == pytest.approx(expected, abs=0.1)


def test_a_signal_after_sessions_have_come_and_gone_is_handled(tmp_path: Path) -> None:
    """Several OpenVINO cores left the thread with a stack for signals that was gone."""
    folder = write_bundle(tmp_path / "tiny", "openvino")
    program = f"""
import gc, os, signal
from pathlib import Path
from classicnets.deployment.engines import open_session
sessions = [open_session("openvino", Path({str(folder)!r})) for _ in range(3)]
while sessions:
    sessions.pop(0)
    gc.collect()
signal.signal(signal.SIGTERM, lambda number, frame: print("handled"))
os.kill(os.getpid(), signal.SIGTERM)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stdout) == (0, "handled\n"), ran.stderr
