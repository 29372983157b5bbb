"""int8 files: which layers they hold in int8, that the engines compute what the files say, and how they answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from numpy.typing import NDArray

from classicnets.deployment.quantize.layers import Layers, block_of, blocks
from classicnets.deployment.quantize.onnxruntime import quantize_onnxruntime
from classicnets.deployment.quantize.openvino import openvino_layers, quantize_openvino, read_folded
from onnx_answers import by_onnxruntime

Images = NDArray[np.uint8]
CONV1 = "trunk.conv1.conv"


def by_openvino(path: Path, images: Images, *, simulated: bool = False) -> list[NDArray[np.float32]]:
    """The outputs. Simulated: in float32, rounding as the file says."""
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    if simulated:
        config["LP_TRANSFORMS_MODE"] = "NO"
    results = openvino.Core().compile_model(path, "CPU", config)({0: images})
    return [results[i].copy() for i in range(len(results))]


class Engine:
    """How one engine's files are made and asked."""

    def __init__(self, name: str, suffix: str, quantize: Callable[..., Layers], ask: Callable[..., Any]) -> None:
        self.name, self.suffix, self.quantize, self.ask = name, suffix, quantize, ask


ENGINES = [
    Engine("openvino", ".xml", quantize_openvino, by_openvino),
    Engine("onnxruntime", ".onnx", quantize_onnxruntime, by_onnxruntime),
]


@pytest.fixture(scope="module", params=ENGINES, ids=lambda engine: engine.name)
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param


@pytest.fixture(scope="module")
def made(engine: Engine, digits: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Layers]:
    """The fp32 file, the int8 file and its layers."""
    source = digits.xml if engine.name == "openvino" else digits.onnx
    out = tmp_path_factory.mktemp("int8") / f"int8{engine.suffix}"
    return source, out, engine.quantize(source, out, digits.calibration)


def test_every_layer_is_in_int8_and_answers_stay_close(
    engine: Engine, made: tuple[Path, Path, Layers], digits: Any
) -> None:
    source, out, layers = made
    assert len(layers.int8) == 8
    assert layers.int8[0] == CONV1
    assert layers.int8[-1] == "classifier.classifier"
    assert layers.higher == ()
    (before,), (after,) = engine.ask(source, digits.images), engine.ask(out, digits.images)
    assert 0 < np.abs(before - after).max() < 0.2
    assert np.abs(before - after).mean() < 0.02
    assert np.abs(after.sum(1) - 1).max() < 1e-5  # the softmax is not quantised


def test_the_engine_computes_what_the_file_says(engine: Engine, made: tuple[Path, Path, Layers], digits: Any) -> None:
    """Sums of products that overflow, as without VNNI, would give other answers than the simulation in float32."""
    _, out, _ = made
    (int8,), (simulated,) = engine.ask(out, digits.images), engine.ask(out, digits.images, simulated=True)
    assert np.abs(int8 - simulated).mean() < 0.005
    assert (int8.argmax(1) == simulated.argmax(1)).mean() > 0.97


def test_any_number_of_images_at_a_time(engine: Engine, made: tuple[Path, Path, Layers], digits: Any) -> None:
    _, out, _ = made
    (together,) = engine.ask(out, digits.images[:7])
    alone = np.concatenate([engine.ask(out, digits.images[i : i + 1])[0] for i in range(7)])
    assert np.abs(together - alone).max() < 1e-5


def test_layers_stay_in_higher_precision_if_asked(engine: Engine, digits: Any, tmp_path: Path) -> None:
    source = digits.xml if engine.name == "openvino" else digits.onnx
    layers = engine.quantize(source, tmp_path / f"int8{engine.suffix}", digits.calibration[:1], higher=[CONV1])
    assert layers.higher == (CONV1,)
    assert len(layers.int8) == 7


def test_nothing_is_printed(engine: Engine, digits: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The standard output belongs to the command."""
    source = digits.xml if engine.name == "openvino" else digits.onnx
    engine.quantize(source, tmp_path / f"int8{engine.suffix}", digits.calibration[:2])
    assert capfd.readouterr() == ("", "")


def test_biases_are_constants_before_nncf_sees_them(digits: Any) -> None:
    """Reshaped at run time, they are not recognised: their addition is quantised and ResNet-20 loses 3.4 points."""
    kinds = {op.get_type_name() for op in read_folded(digits.onnx).get_ops()}
    assert "ShapeOf" in {op.get_type_name() for op in openvino.Core().read_model(digits.onnx).get_ops()}
    assert "ShapeOf" not in kinds
    assert openvino_layers(read_folded(digits.onnx)) == openvino_layers(read_folded(digits.xml))


def test_narrow_weights_use_seven_bits(digits: Any, tmp_path: Path) -> None:
    def largest(narrow: bool) -> int:
        quantize_openvino(digits.xml, tmp_path / f"{narrow}.xml", digits.calibration[:2], narrow=narrow)
        constants = [op for op in openvino.Core().read_model(tmp_path / f"{narrow}.xml").get_ops() if is_int8(op)]
        assert len(constants) == 8
        return max(int(np.abs(op.data.astype(int)).max()) for op in constants)

    def is_int8(op: Any) -> bool:
        return op.get_type_name() == "Constant" and op.get_element_type().get_type_name() == "i8"

    assert largest(True) <= 64
    assert 120 <= largest(False) <= 128


def test_blocks_are_stages_and_parts_of_the_head() -> None:
    layers = ["trunk.conv1.conv", "trunk.dense1.layer1.conv1", "trunk.dense1.layer2.conv1", "neck.fc6.linear"]
    assert blocks(layers) == ["trunk.conv1", "trunk.dense1", "neck.fc6"]
    assert block_of("classifier.classifier") == "classifier.classifier"
