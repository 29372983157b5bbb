"""int8 for OpenVINO, by NNCF: ranges of activations from calibration images, weights to int8 per output channel.

Nothing is sent over the network: `classicnets.deployment` silences NNCF and OpenVINO before they are imported.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classicnets.deployment.quantize.layers import Layers, is_layer
from classicnets.errors import MissingExtra
from classicnets.system.machine import may_overflow

_LAYERS = ("Convolution", "GroupConvolution", "MatMul")
_NEVER = ("Parameter", "Constant", "Result")  # quantised by NNCF


def quantize_openvino(
    source: Path, out: Path, images: NDArray[np.uint8], *, higher: Collection[str] = (), narrow: bool | None = None
) -> Layers:
    """Write an int8 copy of an OpenVINO IR, and return which of its layers are in int8.

    Args:
        source: the .xml file of the fp32 model; its .bin lies beside it.
        out: the new .xml file; its .bin is written beside it.
        images: uint8 (N, C, H, W), N at least 1, of the training images; they set the ranges of the activations.
        higher: the names of layers and other operations to keep in higher precision.
        narrow: use 7 of the weights' 8 bits, so that no instruction overflows; None does so if this machine needs it.

    Raises MissingExtra if NNCF is not installed.

    >>> quantize_openvino(Path("model.xml"), Path("int8.xml"), images).higher  # doctest: +SKIP
    ()
    """
    import openvino

    nncf = _nncf()
    model = read_folded(source)
    kept = _not_in_int8(model, higher)
    overflow = nncf.OverflowFix.ENABLE if (may_overflow() if narrow is None else narrow) else nncf.OverflowFix.DISABLE
    with _silent():
        quantised = nncf.quantize(
            model,
            nncf.Dataset(list(images[:, None])),  # one by one: statistics of batches are others
            preset=nncf.QuantizationPreset.MIXED,
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(images),
            fast_bias_correction=True,
            ignored_scope=nncf.IgnoredScope(names=kept),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=overflow,
                activations_range_estimator_params=nncf.quantization.range_estimator.RangeEstimatorParametersSet.MINMAX,
            ),
        )
    for file in (out, out.with_suffix(".bin")):  # an engine may have mapped an earlier file of this name into memory
        file.unlink(missing_ok=True)
    openvino.save_model(quantised, out, compress_to_fp16=False)
    return openvino_layers(quantised)


def read_folded(path: Path) -> Any:
    """Read an OpenVINO or ONNX model with all constants computed.

    Without it, the biases of a model that was read from ONNX are reshaped at run time. NNCF does not recognise them,
    quantises their addition, and loses points of accuracy.
    """
    from openvino.passes import ConstantFolding, Manager

    from classicnets.deployment.openvino_core import core

    model = core().read_model(path)
    manager = Manager()
    manager.register_pass(ConstantFolding())
    manager.run_passes(model)
    return model


def openvino_layers(model: Any) -> Layers:
    """Return which convolutions and linear layers of an `openvino.Model` have int8 weights."""
    int8: list[str] = []
    higher: list[str] = []
    for op in model.get_ordered_ops():
        if _is_layer(op):
            weight = _constant(op.input_value(1).get_node())
            is_int8 = weight.get_element_type().get_type_name() in ("i8", "u8")
            (int8 if is_int8 else higher).append(_layer_name(op.get_friendly_name()))
    return Layers(tuple(int8), tuple(higher))


def _not_in_int8(model: Any, higher: Collection[str]) -> list[str]:
    """The operations that stay as they are: what is asked for, normalisation, and what no layer comes after."""
    before: set[str] = set()
    kept = []
    for op in reversed(model.get_ordered_ops()):
        name = op.get_friendly_name()
        if _is_layer(op) or name in before:
            before |= {value.get_node().get_friendly_name() for value in op.input_values()}
        is_kept = _layer_name(name) in higher or name.startswith("normalise")
        is_last = name not in before and not _is_layer(op)
        if op.get_type_name() not in _NEVER and (is_kept or is_last):
            kept.append(name)
    return kept


def _is_layer(op: Any) -> bool:
    return op.get_type_name() in _LAYERS and is_layer(_layer_name(op.get_friendly_name()))


def _constant(node: Any) -> Any:
    """The constant that a weight is computed from."""
    while node.get_type_name() != "Constant":
        node = node.input_value(0).get_node()
    return node


def _layer_name(operation: str) -> str:
    """The layer that an operation belongs to: a convolution read from ONNX is called NAME/WithoutBiases."""
    return operation.removesuffix("/WithoutBiases")


def _nncf() -> Any:
    """Import NNCF, which loads a part of PyTorch that warns if there is no CUDA."""
    import torch  # noqa: F401  # sets the levels of its loggers when it is imported

    with _quiet("torch.utils.cpp_extension"):
        try:
            import nncf
            import nncf.quantization.range_estimator
        except ImportError:
            raise MissingExtra('NNCF is not installed. Install it with: pip install "classicnets[deploy]"') from None
    return nncf


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep NNCF's bars and notes off the standard output, which belongs to the command."""
    with _quiet("nncf"), contextlib.redirect_stdout(io.StringIO()):
        yield


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Inside the block, a logger tells of errors only."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
