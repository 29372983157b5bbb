"""Winograd's convolution equals the direct one, for every size, and is used where it should be faster."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("openvino")

import openvino as ov
from openvino import opset13 as op

from classicnets.deployment.engines import winograd
from classicnets.deployment.engines.winograd import Shape, use_winograd


def model_of(shape: tuple[int, ...], outputs: int, *, kernel: int = 3, stride: int = 1, padding: int = 1) -> ov.Model:
    """A convolution with random weights, and a ReLU after it."""
    weights = np.random.default_rng(0).normal(size=(outputs, shape[1], kernel, kernel)).astype(np.float32)
    images = op.parameter(list(shape), np.float32)
    pads = [padding, padding]
    layer = op.convolution(images, op.constant(weights), [stride] * 2, pads, pads, [1, 1], name="conv")
    return ov.Model([op.relu(layer)], [images])


def answer(model: ov.Model, images: np.ndarray) -> np.ndarray:
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    result: np.ndarray = ov.Core().compile_model(model, "CPU", config)([images])[0]
    return result


@pytest.mark.parametrize(("height", "width"), [(4, 4), (8, 12), (5, 7), (1, 9), (3, 2)])
@pytest.mark.parametrize("band", [1 << 30, 4096], ids=["one band", "bands"])
def test_it_equals_the_direct_convolution(height, width, band, monkeypatch) -> None:
    monkeypatch.setattr(winograd, "_GAIN", 0)
    monkeypatch.setattr(winograd, "_BAND", band)
    shape = (3, 5, height, width)
    images = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    expected = answer(model_of(shape, 6), images)
    model = model_of(shape, 6)
    assert use_winograd(model) == ["conv"]
    assert "Convolution" not in {node.get_type_name() for node in model.get_ops()}
    assert answer(model, images) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("other", [{"kernel": 5, "padding": 2}, {"stride": 2}, {"padding": 0}], ids=str)
def test_other_convolutions_stay(other, monkeypatch) -> None:
    monkeypatch.setattr(winograd, "_GAIN", 0)
    model = model_of((1, 4, 8, 8), 4, **other)
    assert use_winograd(model) == []


def test_it_is_used_where_channels_are_many_and_images_not_too_small() -> None:
    def gain(images: int, side: int, channels: int) -> float:
        return Shape(images, side, side, channels, channels).expected_gain

    assert gain(1, 28, 512) > gain(1, 28, 128) > 1.15 > gain(1, 224, 16)
    assert gain(1, 7, 512) < 1.15  # the transformed weights cost more than the products save
    assert gain(8, 7, 512) > gain(1, 7, 512)
    assert use_winograd(model_of((1, 4, 8, 8), 4)) == []
