"""int8 for ONNX Runtime, by its static quantisation: QDQ nodes, uint8 activations, int8 weights per output channel."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classicnets.deployment.quantize.layers import Layers, is_layer
from classicnets.errors import MissingExtra
from classicnets.system.machine import may_overflow

_LAYERS = ("Conv", "Gemm")
_BETWEEN = ("MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Add")
"""What is also computed on 8 bits, so that values need not change back and forth between two layers."""
_BATCH = 32


def quantize_onnxruntime(
    source: Path, out: Path, images: NDArray[np.uint8], *, higher: Collection[str] = (), narrow: bool | None = None
) -> Layers:
    """Write an int8 copy of an ONNX file, and return which of its layers are in int8.

    Args:
        source: the fp32 .onnx file.
        out: the new .onnx file.
        images: uint8 (N, C, H, W), N at least 1, of the training images; they set the ranges of the activations.
        higher: the names of layers and other nodes to keep in higher precision.
        narrow: use 7 of the weights' 8 bits, so that no instruction overflows; None does so if this machine needs it.

    Raises MissingExtra if ONNX Runtime's tools are not installed.

    >>> quantize_onnxruntime(Path("model.onnx"), Path("int8.onnx"), images).higher  # doctest: +SKIP
    ()
    """
    import onnx

    try:
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError:
        raise MissingExtra(
            'ONNX Runtime is not installed. Install it with: pip install "classicnets[deploy]"'
        ) from None
    with tempfile.TemporaryDirectory() as folder, _silent():
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        model = onnx.load(prepared)
        quantize_static(
            model,
            out,
            _Images(images, model.graph.input[0].name),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[*_LAYERS, *_BETWEEN],
            nodes_to_exclude=_not_in_int8(model.graph, higher),
            per_channel=True,
            reduce_range=may_overflow() if narrow is None else narrow,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    return onnx_layers(out)


def onnx_layers(path: Path) -> Layers:
    """Return which convolutions and linear layers of an ONNX file have int8 weights."""
    import onnx

    graph = onnx.load(path).graph
    restored = {output for node in graph.node if node.op_type == "DequantizeLinear" for output in node.output}
    layers = [node for node in graph.node if _is_layer(node)]
    return Layers(
        tuple(node.name for node in layers if node.input[1] in restored),
        tuple(node.name for node in layers if node.input[1] not in restored),
    )


def _not_in_int8(graph: Any, higher: Collection[str]) -> list[str]:
    """The nodes that stay as they are: what is asked for, what scales and shifts, and what no layer comes after."""
    constants = {constant.name for constant in graph.initializer}
    before: set[str] = set()
    kept = []
    for node in reversed(graph.node):
        if _is_layer(node) or before.intersection(node.output):
            before |= set(node.input)
        is_last = not before.intersection(node.output) and not _is_layer(node)
        is_affine = node.op_type == "Add" and not constants.isdisjoint(node.input)
        if node.name in higher or is_last or is_affine or node.op_type == "MatMul":
            kept.append(node.name)
    return kept


def _is_layer(node: Any) -> bool:
    return node.op_type in _LAYERS and is_layer(node.name)


class _Images:
    """ONNX Runtime's calibration reader: batches of the images, then None."""

    def __init__(self, images: NDArray[np.uint8], name: str) -> None:
        self._batches = iter([{name: images[i : i + _BATCH]} for i in range(0, len(images), _BATCH)])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return next(self._batches, None)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep ONNX Runtime's notes, by the root logger, off the standard error."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
