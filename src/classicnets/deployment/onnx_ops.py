"""What each layer, function and method of a deployable network is in ONNX: a table with one row for each.

A layer that a new family brings needs a row here; `tests/deployment` goes through the catalog and finds it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, fx, nn

from classicnets.deployment.graph import ScaleShift
from classicnets.models.blocks import LocalResponseNorm

Array = NDArray[Any]

_DIMENSIONS = 4  # N, C, H, W


class Writer:
    """Collects the nodes and constants of a graph. Values are known by their names."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}

    def op(self, kind: str, *inputs: str, name: str, **attributes: Any) -> str:
        """Add a node called `name` whose output is called so too, and return that name."""
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, value: Array | Tensor | float | Sequence[int], name: str) -> str:
        """Add a constant, float32 unless it is a list of whole numbers, and return its name."""
        if isinstance(value, Tensor):
            array = value.detach().numpy()
        elif isinstance(value, float):
            array = np.array(value, np.float32)
        else:
            array = np.asarray(value, np.int64 if isinstance(value, list | tuple) else None)
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        return name


def size(node: fx.Node) -> tuple[int, ...]:
    """The shape of what a node computes for one image, after `ShapeProp`."""
    return tuple(node.meta["tensor_meta"].shape)


# ---- layers: (writer, name, layer, its input's name, the input's shape, the output's shape) -> the output's name


def _conv(w: Writer, name: str, layer: nn.Conv2d, x: str, *_: Any) -> str:
    weights = [w.constant(tensor, f"{name}.{kind}") for kind, tensor in layer.named_parameters()]
    assert not isinstance(layer.padding, str)
    return w.op(
        "Conv", x, *weights, name=name, kernel_shape=layer.kernel_size, strides=layer.stride,
        pads=[*layer.padding, *layer.padding], dilations=layer.dilation, group=layer.groups,
    )  # fmt: skip


def _linear(w: Writer, name: str, layer: nn.Linear, x: str, *_: Any) -> str:
    weights = [w.constant(tensor, f"{name}.{kind}") for kind, tensor in layer.named_parameters()]
    return w.op("Gemm", x, *weights, name=name, transB=1)


def _scale_shift(w: Writer, name: str, layer: ScaleShift, x: str, *_: Any) -> str:
    scaled = w.op("Mul", x, w.constant(layer.scale, f"{name}.scale"), name=f"{name}.scaled")
    return w.op("Add", scaled, w.constant(layer.shift, f"{name}.shift"), name=name)


def _max_pool(w: Writer, name: str, layer: nn.MaxPool2d, x: str, before: Sequence[int], after: Sequence[int]) -> str:
    kernel, stride, padding = map(_pair, (layer.kernel_size, layer.stride, layer.padding))
    pads = _pads(kernel, stride, padding, before, after)
    return w.op("MaxPool", x, name=name, kernel_shape=kernel, strides=stride, pads=pads)


def _average_pool(
    w: Writer, name: str, layer: nn.AvgPool2d, x: str, before: Sequence[int], after: Sequence[int]
) -> str:
    kernel, stride, padding = map(_pair, (layer.kernel_size, layer.stride, layer.padding))
    assert not any(padding), "engines count padding differently"
    assert not layer.ceil_mode
    return w.op("AveragePool", x, name=name, kernel_shape=kernel, strides=stride)


def _adaptive_pool(
    w: Writer, name: str, layer: nn.AdaptiveAvgPool2d, x: str, before: Sequence[int], after: Sequence[int]
) -> str:
    (height, width), (rows, columns) = before[2:], after[2:]
    if (rows, columns) == (1, 1):
        return w.op("GlobalAveragePool", x, name=name)
    if (height, width) == (rows, columns):
        return x
    if height % rows == width % columns == 0:
        window = [height // rows, width // columns]
        return w.op("AveragePool", x, name=name, kernel_shape=window, strides=window)
    # Windows of different sizes: the average is linear in the rows, and in the columns.
    left = w.constant(_averages(height, rows), f"{name}.rows")
    right = w.constant(_averages(width, columns).T, f"{name}.columns")
    return w.op("MatMul", w.op("MatMul", left, x, name=f"{name}.by_rows"), right, name=name)


def _lrn(w: Writer, name: str, layer: LocalResponseNorm, x: str, *_: Any) -> str:
    # ONNX divides alpha by the number of channels, as Caffe does.
    return w.op("LRN", x, name=name, size=layer.size, alpha=layer.alpha * layer.size, beta=layer.beta, bias=layer.k)


def _flatten(w: Writer, name: str, layer: nn.Flatten, x: str, *_: Any) -> str:
    return w.op("Flatten", x, name=name, axis=1)


def _identity(w: Writer, name: str, layer: nn.Module, x: str, *_: Any) -> str:
    return x


def _pointwise(kind: str) -> Callable[..., str]:
    def write(w: Writer, name: str, layer: nn.Module, x: str, *_: Any) -> str:
        return w.op(kind, x, name=name)

    return write


LAYERS: dict[type[nn.Module], Callable[..., str]] = {
    nn.Conv2d: _conv,
    nn.Linear: _linear,
    ScaleShift: _scale_shift,
    nn.ReLU: _pointwise("Relu"),
    nn.Tanh: _pointwise("Tanh"),
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
    nn.AdaptiveAvgPool2d: _adaptive_pool,
    LocalResponseNorm: _lrn,
    nn.Flatten: _flatten,
    nn.Identity: _identity,
}
"""Layers, and what writes them."""


def _pair(value: int | tuple[int, int]) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


def _pads(
    kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], before: Sequence[int], after: Sequence[int]
) -> list[int]:
    """Padding before and after each side that gives the output's size: what rounding up adds is in numbers."""
    ends = [
        max(0, (out - 1) * step + window - side - start)
        for window, step, start, side, out in zip(kernel, stride, padding, before[2:], after[2:], strict=True)
    ]
    return [*padding, *ends]


def _averages(side: int, positions: int) -> Array:
    """The matrix (positions, side) of adaptive average pooling along one side."""
    matrix = np.zeros((positions, side), np.float32)
    for i in range(positions):
        start, end = i * side // positions, -((-(i + 1) * side) // positions)
        matrix[i, start:end] = 1 / (end - start)
    return matrix


# ---- functions and methods: (writer, name, names or numbers of the arguments, keyword arguments) -> the output's name


def _binary(kind: str) -> Callable[..., str]:
    def write(w: Writer, name: str, a: str | float, b: str | float) -> str:
        first, second = (
            value if isinstance(value, str) else w.constant(float(value), f"{name}.number") for value in (a, b)
        )
        return w.op(kind, first, second, name=name)

    return write


def _unary(kind: str) -> Callable[..., str]:
    def write(w: Writer, name: str, x: str) -> str:
        return w.op(kind, x, name=name)

    return write


def _reduced(kind: str) -> Callable[..., str]:
    def write(w: Writer, name: str, x: str, dim: int | tuple[int, ...], keepdim: bool = False) -> str:
        axes = w.constant([dim] if isinstance(dim, int) else list(dim), f"{name}.axes")
        return w.op(kind, x, axes, name=name, keepdims=int(keepdim))

    return write


def _norm(w: Writer, name: str, x: str, dim: int, keepdim: bool) -> str:
    return _reduced("ReduceL2")(w, name, x, dim, keepdim)


def _amin(w: Writer, name: str, x: str, dim: int) -> str:
    return _reduced("ReduceMin")(w, name, x, dim)


def _cat(w: Writer, name: str, parts: Sequence[str], dim: int) -> str:
    return w.op("Concat", *parts, name=name, axis=dim)


def _flip(w: Writer, name: str, x: str, dim: int) -> str:
    last = np.iinfo(np.int64).min
    inputs = {"starts": [-1], "ends": [last], "axes": [dim], "steps": [-1]}
    return w.op("Slice", x, *(w.constant(value, f"{name}.{key}") for key, value in inputs.items()), name=name)


def _item(w: Writer, name: str, x: str, slices: tuple[slice, ...]) -> str:
    steps = [one.step or 1 for one in slices]
    assert all(one.start is None and one.stop is None for one in slices), "only steps are used"
    axes = [axis for axis, step in enumerate(steps) if step > 1]
    inputs = {
        "starts": [0] * len(axes),
        "ends": [np.iinfo(np.int64).max] * len(axes),
        "axes": axes,
        "steps": [steps[axis] for axis in axes],
    }
    return w.op("Slice", x, *(w.constant(value, f"{name}.{key}") for key, value in inputs.items()), name=name)


def _pad(w: Writer, name: str, x: str, pad: Sequence[int], mode: str, value: None) -> str:
    assert mode == "constant"
    sides = [*pad, *[0] * (2 * _DIMENSIONS - len(pad))]
    starts, ends = sides[0::2][::-1], sides[1::2][::-1]  # PyTorch begins with the last dimension
    return w.op("Pad", x, w.constant([*starts, *ends], f"{name}.pads"), name=name)


def _view(w: Writer, name: str, x: str, *sizes: int) -> str:
    return w.op("Reshape", x, w.constant(sizes, f"{name}.shape"), name=name)


def _log_softmax(w: Writer, name: str, x: str, dim: int) -> str:
    return w.op("LogSoftmax", x, name=name, axis=dim)


def _softmax(w: Writer, name: str, x: str, dim: int) -> str:
    return w.op("Softmax", x, name=name, axis=dim)


def _logsumexp(w: Writer, name: str, x: str, dim: int) -> str:
    # Engines may compute ReduceLogSumExp as it is written, which overflows.
    largest = _reduced("ReduceMax")(w, f"{name}.largest", x, dim, keepdim=True)
    shares = w.op("Exp", w.op("Sub", x, largest, name=f"{name}.below"), name=f"{name}.exp")
    total = w.op("Log", _reduced("ReduceSum")(w, f"{name}.sum", shares, dim, keepdim=True), name=f"{name}.log")
    axes = w.constant([dim], f"{name}.axis")
    return w.op("Squeeze", w.op("Add", total, largest, name=f"{name}.kept"), axes, name=name)


def _clamp(w: Writer, name: str, x: str, min: float) -> str:
    return w.op("Max", x, w.constant(float(min), f"{name}.min"), name=name)


def _square(w: Writer, name: str, x: str) -> str:
    return w.op("Mul", x, x, name=name)


def _float(w: Writer, name: str, x: str) -> str:
    return w.op("Cast", x, name=name, to=TensorProto.FLOAT)


FUNCTIONS: dict[Callable[..., Any] | str, Callable[..., str]] = {
    operator.add: _binary("Add"),
    operator.sub: _binary("Sub"),
    operator.mul: _binary("Mul"),
    operator.truediv: _binary("Div"),
    operator.matmul: _binary("MatMul"),
    operator.getitem: _item,
    torch.cat: _cat,
    F.pad: _pad,
    "abs": _unary("Abs"),
    "amin": _amin,
    "clamp": _clamp,
    "flip": _flip,
    "float": _float,
    "log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
    "mean": _reduced("ReduceMean"),
    "norm": _norm,
    "sign": _unary("Sign"),
    "softmax": _softmax,
    "sqrt": _unary("Sqrt"),
    "square": _square,
    "sub": _binary("Sub"),
    "sum": _reduced("ReduceSum"),
    "view": _view,
}
"""Functions, and methods of tensors by their names, and what writes them."""
