"""What int8 and bf16 cost and gain: a network of each family on Fashion-MNIST, two on sign-digits, by both engines.

Each network is trained (or taken from RUNS), exported in fp32, and quantised with 300 of its own training images.
Accuracy is measured on its test images. bf16 is OpenVINO's, on a CPU that has it.

    python benchmarks/int8.py [--runs FOLDER] [--only NAME ...] [--images N] [--blocks]

--blocks also quantises again with each block of layers in higher precision, and prints how much closer to fp32 that is.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from report import SIGN_DIGITS, write_results

import classicnets as cn
from classicnets.data import Data
from classicnets.data.pipeline.pack import pack
from classicnets.deployment.graph import deployable
from classicnets.deployment.onnx_file import write_onnx
from classicnets.deployment.openvino_ir import write_ir
from classicnets.deployment.quantize import calibration_images
from classicnets.deployment.quantize.families import kept_by_rule
from classicnets.deployment.quantize.layers import Layers, block_of, blocks
from classicnets.deployment.quantize.onnxruntime import onnx_layers, quantize_onnxruntime
from classicnets.deployment.quantize.openvino import quantize_openvino
from classicnets.evaluation.paired import count, difference_interval
from classicnets.models.catalog import CATALOG
from classicnets.system.devices import has_bf16
from classicnets.training import Run

COLUMNS = (
    "network", "data", "engine", "kept", "fp32", "reduced", "drop, points", "95 % interval", "same class as fp32",
    "same class as simulated", "times as fast, one thread",
)  # fmt: skip
BATCH, SIMULATED = 50, 500


class Task(NamedTuple):
    """A network to train."""

    model: str
    data: str
    settings: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.model}-{self.data}"


TASKS = (
    Task("alexnet_cifar", "fashion", ("epochs=4", "model.switches.lrn=true")),
    Task("vgg13_half_cifar", "fashion", ("epochs=4",)),
    Task("nin_half_cifar_bn", "fashion", ("epochs=4",)),
    Task("googlenet_cifar", "fashion", ("epochs=4", "model.switches.lrn=true")),
    Task("resnet20_cifar", "fashion", ("epochs=4",)),
    Task("densenet_bc40_k12_cifar", "fashion", ("epochs=4",)),
    Task("resnet20_cifar", "signs", ("epochs=20", "image_size=32")),
    Task("googlenet_cifar", "signs", ("epochs=12", "image_size=32")),
)


@dataclass(frozen=True)
class Files:
    """A classifier's fp32 files, the images to calibrate with, and the test images with their classes."""

    folder: Path
    family: str
    calibration: NDArray[np.uint8]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    @property
    def layers(self) -> tuple[str, ...]:
        return onnx_layers(self.folder / "fp32.onnx").higher


class OpenVino:
    """How OpenVINO's files are made and asked."""

    name, suffix = "OpenVINO, NNCF", ".xml"
    quantize = staticmethod(quantize_openvino)

    def __init__(self, path: Path, simulated: bool = False, hint: str = "f32") -> None:
        import openvino

        config = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": 1}
        if simulated:  # in float32, rounding as the file says
            config["LP_TRANSFORMS_MODE"] = "NO"
        self._request = openvino.Core().compile_model(path, "CPU", config).create_infer_request()

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._request.infer({0: images})[0].copy()


class OnnxRuntime:
    """How ONNX Runtime's files are made and asked."""

    name, suffix = "ONNX Runtime", ".onnx"
    quantize = staticmethod(quantize_onnxruntime)

    def __init__(self, path: Path, simulated: bool = False) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        if simulated:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._session.run(["probabilities"], {"images": images})[0]


ENGINES: tuple[type[OpenVino] | type[OnnxRuntime], ...] = (OpenVino, OnnxRuntime)


def data_of(name: str) -> Data:
    """Sign-digits, split by person, or 4,000 images of Fashion-MNIST to train on, and all of its test images."""
    if name == "signs":
        return cn.load_data(f"csv:{SIGN_DIGITS / 'index.csv'}")
    data = cn.load_data("fashion-mnist")
    return replace(data, train=data.train.sample(4_000), val=data.val.sample(1_000))


def trained(task: Task, data: Data, runs: Path) -> cn.Classifier:
    """The classifier of the task's run, which is trained if it is not there."""
    folder = runs / task.name
    if not (folder / "model").is_dir():
        cn.train(task.model, data, settings=task.settings, out=folder)
    return Run.open(folder).classifier


def exported(classifier: cn.Classifier, data: Data, folder: Path, most: int) -> Files:
    """Write the fp32 files."""
    assert data.test is not None
    write_onnx(deployable(classifier), folder / "fp32.onnx")
    write_ir(folder / "fp32.onnx", folder / "fp32.xml")
    test = pack(data.test.sample(most), classifier.preprocess)
    return Files(
        folder,
        CATALOG[classifier.model_name].family.name,
        calibration_images(data.train, classifier.preprocess),
        test.images.numpy(),
        test.labels.numpy(),
    )


def answers(ask: OpenVino | OnnxRuntime, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.concatenate([ask(images[i : i + BATCH]) for i in range(0, len(images), BATCH)])


def speed(before: OpenVino | OnnxRuntime, after: OpenVino | OnnxRuntime, images: NDArray[np.uint8]) -> float:
    """How many times as fast `after` is on a batch: the median ratio of turns, in processor time of one thread."""
    batch = images[:BATCH]
    ratios = []
    for _ in range(7):
        seconds = []
        for ask in (before, after):
            begun = time.process_time()
            ask(batch)
            seconds.append(time.process_time() - begun)
        ratios.append(seconds[0] / seconds[1])
    return float(np.median(ratios[1:]))


def measured(task: Task, files: Files, engine: type[OpenVino] | type[OnnxRuntime]) -> Iterator[tuple[object, ...]]:
    """The rows of one engine: all layers in int8, then what the family's rule keeps, if it keeps anything."""
    fp32 = engine(files.folder / f"fp32{engine.suffix}")
    before = answers(fp32, files.images)
    rule = kept_by_rule(files.family, files.layers)
    for kept in [[], rule] if rule else [[]]:
        path = files.folder / f"int8{engine.suffix}"
        layers: Layers = engine.quantize(files.folder / f"fp32{engine.suffix}", path, files.calibration, higher=kept)
        int8 = engine(path)
        after = answers(int8, files.images)
        simulated = answers(engine(path, simulated=True), files.images[:SIMULATED])
        as_simulated = (simulated.argmax(1) == after[:SIMULATED].argmax(1)).mean()
        yield (
            task.model,
            task.data,
            engine.name,
            f"{len(layers.higher)} of {len(files.layers)}" if kept else "none",
            *compared(before, after, files.labels),
            f"{as_simulated:.3f}",
            f"{speed(fp32, int8, files.images):.2f}",
        )


def measured_bf16(task: Task, files: Files) -> tuple[object, ...]:
    """The row of OpenVINO in bf16."""
    path = files.folder / "fp32.xml"
    fp32, bf16 = OpenVino(path), OpenVino(path, hint="bf16")
    outcome = compared(answers(fp32, files.images), answers(bf16, files.images), files.labels)
    return task.model, task.data, "OpenVINO, bf16", "-", *outcome, "-", f"{speed(fp32, bf16, files.images):.2f}"


def compared(
    before: NDArray[np.float32], after: NDArray[np.float32], labels: NDArray[np.int64]
) -> tuple[str, str, str, str, str]:
    """Both accuracies, the drop in points, its interval, and the share of images that get the same class."""
    counts = count((before.argmax(1) == labels).tolist(), (after.argmax(1) == labels).tolist())
    low, high = difference_interval(counts)
    return (
        f"{counts.accuracy_first:.4f}",
        f"{counts.accuracy_second:.4f}",
        f"{0.0 - 100 * counts.difference:+.2f}",
        f"{-100 * high:+.2f} to {-100 * low:+.2f}",
        f"{(after.argmax(1) == before.argmax(1)).mean():.4f}",
    )


def print_blocks(task: Task, files: Files, engine: type[OpenVino] | type[OnnxRuntime]) -> None:
    """What each block in higher precision brings: the mean absolute difference of the probabilities from fp32."""
    source, path = files.folder / f"fp32{engine.suffix}", files.folder / f"int8{engine.suffix}"
    before = answers(engine(source), files.images)

    def distance(kept: list[str]) -> float:
        engine.quantize(source, path, files.calibration, higher=kept)
        return float(np.abs(answers(engine(path), files.images) - before).mean())

    print(f"{task.name}, {engine.name}: {1e4 * distance([]):.2f} of 10,000 with all layers in int8")
    for block in blocks(files.layers):
        kept = [layer for layer in files.layers if block_of(layer) == block]
        print(f"    {1e4 * distance(kept):.2f} with {block} in higher precision", flush=True)


def shown(rows: Iterable[tuple[object, ...]]) -> Iterator[tuple[object, ...]]:
    """The rows, printed as they come."""
    for row in rows:
        print(*row, sep=" | ", flush=True)
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, help="a folder of runs, MODEL-DATA; those that it lacks are trained there")
    parser.add_argument("--only", nargs="+", default=[task.name for task in TASKS], metavar="NAME")
    parser.add_argument("--images", type=int, default=10_000, help="at most so many test images")
    parser.add_argument("--blocks", action="store_true")
    options = parser.parse_args()
    rows: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for task in TASKS:
            if task.name not in options.only:
                continue
            data = data_of(task.data)
            classifier = trained(task, data, options.runs or Path(temporary) / "runs")
            folder = Path(temporary) / task.name
            folder.mkdir()
            files = exported(classifier, data, folder, options.images)
            for engine in ENGINES:
                if options.blocks:
                    print_blocks(task, files, engine)
                    continue
                rows += shown(measured(task, files, engine))
            if not options.blocks and has_bf16(torch.device("cpu")):
                rows += shown([measured_bf16(task, files)])
    if not options.blocks:
        write_results("int8", "int8 and bf16: accuracy lost and time gained", COLUMNS, rows, NOTES)


NOTES = (
    "Networks are trained shortly, on 4,000 images of Fashion-MNIST or on sign-digits, and measured on test images.",
    "Kept: layers in higher precision, by the rule for the family (`deployment/quantize/families.py`). The interval",
    "is Tango's, of the same images answered by both. Simulated: the same file computed in float32, rounding where",
    "it says so, on 500 images; other classes would show that sums overflow. Times as fast: processor time of one",
    "thread, batches of 50, the two in turns.",
)

if __name__ == "__main__":
    main()
