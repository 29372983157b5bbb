"""A tiny bundle for tests, made by hand: the mean of each channel, a linear layer, softmax."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from classicnets.card import Card
from classicnets.deployment.engines import Engine, Settings
from classicnets.deployment.manifest import FORMAT, Golden, Input, Manifest
from classicnets.preprocess import Preprocess
from classicnets.system.machine import machine
from classicnets.system.storage import sha256_of

CLASSES = ("red", "green", "blue")
SIDE = 8
_PLAIN = Settings()
_TWENTIETH = np.eye(3, dtype=np.float32) / 20


def colour(k: int) -> np.ndarray:
    """An image, uint8 (3, 12, 8), mostly of class k."""
    image = np.full((3, 12, SIDE), 40, np.uint8)
    image[k] = 200
    return image


def write_graph(path: Path, *, bias: float = 0.0, weight: np.ndarray = _TWENTIETH) -> None:
    """uint8 (N, 3, 8, 8) -> the softmax of `weight` times the channels' means; `bias` is added to the first class."""
    nodes = [
        helper.make_node("Cast", ["images"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["values", "axes"], ["means"], keepdims=0),
        helper.make_node("Gemm", ["means", "weight", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    classes = weight.shape[1]
    constants = {
        "axes": np.array([2, 3]),
        "weight": weight,
        "bias": np.array([bias, *[0] * (classes - 1)], np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", classes])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def tiny_card() -> Card:
    """Three classes, images of 8 x 8 pixels."""
    preprocess = Preprocess(input_size=(SIDE, SIDE), mean=(0.5,) * 3, std=(0.25,) * 3)
    return Card(model_name="resnet20_cifar", classes=CLASSES, preprocess=preprocess, temperature=1.5)


def write_bundle(folder: Path, engine: Engine = "onnxruntime", *, settings: Settings = _PLAIN) -> Path:
    """Write a bundle with a golden image for each class. One for OpenVINO also has model.onnx."""
    folder.mkdir(parents=True)
    write_graph(folder / "model.onnx")
    if engine == "openvino":
        write_ir(folder)
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in CLASSES), "utf-8")
    (folder / "golden").mkdir()
    golden = []
    for k in range(3):
        pixels = colour(k)[:, :SIDE]
        Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / f"golden/{k}.png")
        powers = np.exp(pixels.mean((1, 2)) / 20)
        golden.append(Golden(file=f"golden/{k}.png", probabilities=tuple((powers / powers.sum()).tolist())))
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    Manifest(
        format=FORMAT,
        classicnets="0.1.0",
        created="2026-01-01T00:00:00Z",
        engine=engine,
        settings=settings,
        files={name: sha256_of(folder / name) for name in files},
        input=Input(shape=("N", 3, SIDE, SIDE)),
        outputs=("probabilities",),
        card=tiny_card().to_dict(),
        golden=tuple(golden),
        measured={"machine": machine(engine)},
    ).write(folder)
    return folder


def write_ir(folder: Path) -> None:
    """Write model.xml and model.bin from the folder's model.onnx."""
    import openvino as ov

    ov.save_model(ov.Core().read_model(folder / "model.onnx"), folder / "model.xml", compress_to_fp16=False)


def rewrite(folder: Path, **changes: object) -> None:
    """Change values of a bundle's bundle.json."""
    msgspec.structs.replace(Manifest.read(folder), **changes).write(folder)


def seal(folder: Path) -> None:
    """Have bundle.json name the hashes that the files have now, as someone would who changes a network on purpose."""
    rewrite(folder, files={name: sha256_of(folder / name) for name in Manifest.read(folder).files})
