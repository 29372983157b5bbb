"""Resize and crop inside the graph, beside `Preprocess.geometry`, which is Pillow's."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
from onnx import TensorProto, helper

from classicnets.classifier import Classifier
from classicnets.deployment.graph import deployable
from classicnets.deployment.onnx_file import to_onnx
from classicnets.deployment.onnx_ops import Writer
from classicnets.deployment.whole_image import write_geometry
from classicnets.preprocess import Interpolation, Preprocess, Resize
from classifiers import tiny_classifier

SIZES = ((33, 40), (34, 40), (100, 77), (20, 15), (480, 641), (41, 1000), (900, 31), (7, 5))


def preprocess_of(resize: Resize, interpolation: Interpolation = "bilinear", crop_fraction: float = 1.0) -> Preprocess:
    return Preprocess(
        input_size=(33, 40), resize=resize, interpolation=interpolation, crop_fraction=crop_fraction,
        mean=(0.5,) * 3, std=(0.2,) * 3,
    )  # fmt: skip


def geometry_alone(preprocess: Preprocess) -> bytes:
    writer = Writer()
    out = write_geometry(writer, "images", preprocess)
    shape = [preprocess.channels, *preprocess.input_size]
    graph = helper.make_graph(
        writer.nodes,
        "geometry",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 3, "H", "W"])],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, ["N", *shape])],
        list(writer.constants.values()),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def pictures() -> list[np.ndarray]:
    """Noise in squares of 4 pixels: edges everywhere, as hard as they can be."""
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 256, (3, h // 4 + 1, w // 4 + 1), dtype=np.uint8) for h, w in SIZES]
    return [
        image.repeat(4, axis=1).repeat(4, axis=2)[:, :h, :w].copy() for image, (h, w) in zip(coarse, SIZES, strict=True)
    ]


@pytest.mark.parametrize("crop_fraction", [1.0, 0.875])
@pytest.mark.parametrize("resize", get_args(Resize))
def test_the_graph_resizes_as_pillow_does(resize: Resize, crop_fraction: float) -> None:
    preprocess = preprocess_of(resize, crop_fraction=crop_fraction)
    model = geometry_alone(preprocess)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for image in pictures():
        wanted = preprocess.geometry(image)
        for found in (session.run(None, {"images": image[None]})[0], compiled(image[None])[0]):
            assert np.abs(found[0] - wanted.astype(int)).max() <= 1, image.shape
            assert (found[0] != wanted).mean() < 0.1, image.shape


@pytest.mark.parametrize("interpolation", ["bicubic", "nearest"])
def test_other_interpolations(interpolation: Interpolation) -> None:
    preprocess = preprocess_of("crop", interpolation, crop_fraction=0.875)
    session = onnxruntime.InferenceSession(geometry_alone(preprocess), providers=["CPUExecutionProvider"])
    for image in pictures():
        (found,) = session.run(None, {"images": image[None]})
        assert np.abs(found[0] - preprocess.geometry(image).astype(int)).max() <= 1, image.shape


def test_the_whole_graph_takes_an_image_of_any_size() -> None:
    classifier = tiny_classifier(channels=3, tta="flip")
    card = replace(classifier.card, preprocess=replace(classifier.preprocess, crop_fraction=0.8))
    classifier = Classifier.of(card, classifier.model)
    model = to_onnx(deployable(classifier), whole_image=card.preprocess)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(1)
    for height, width in ((12, 12), (50, 40), (31, 200)):
        image = rng.integers(0, 256, (3, height, width), dtype=np.uint8)
        (found,) = session.run(None, {"images": image[None]})
        wanted = classifier.predict(image.transpose(1, 2, 0), top_k=3)
        for guess in wanted.predictions:
            assert abs(found[0, guess.index] - guess.score) < 0.02
