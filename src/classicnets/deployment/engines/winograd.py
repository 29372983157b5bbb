"""Winograd's minimal filtering for OpenVINO: 3x3 convolutions with a quarter of the multiplications.

Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (2016), F(4x4, 3x3): a tile of 4x4 outputs comes from
6x6 inputs with 36 products for each pair of channels instead of 144. OpenVINO has no such kernel for fp32 on CPUs, so
the convolution is replaced by operations that it has. Rows are positions and columns are channels, as OpenVINO's own
kernels lay them out:

    positions (NHW, C) -> gather the 36 inputs of each tile -> matrix product with the input transform
                       -> 36 matrix products with the transformed weights -> matrix product with the output transform
                       -> gather the positions -> (NHW, K)

Rounding differs from that of a direct convolution by about 1e-5 of the largest output.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as op

_OUTPUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], float)
_INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    float,
)
_WEIGHT = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
PART = "/winograd "
"""What stands between the name of a convolution and that of an operation that it was replaced by."""

_TILE, _PATCH = 4, 6
_POINTS = _PATCH**2

_BAND = 8 << 20  # bytes of transformed inputs and products that stay in the cache
_FLOPS_PER_BYTE = 7  # operations that a core does while it moves a byte of them
_FLOPS_PER_WEIGHT_BYTE = 12  # weights come from memory: transformed ones are four times as many
_GAIN = 1.15  # expected, from which on a convolution is replaced


class Shape(NamedTuple):
    """A 3x3 convolution: images, height and width of input and output, input and output channels."""

    images: int
    height: int
    width: int
    inputs: int
    outputs: int

    @property
    def tiles(self) -> int:
        """How many tiles of 4x4 outputs there are."""
        return self.images * math.ceil(self.height / _TILE) * math.ceil(self.width / _TILE)

    @property
    def expected_gain(self) -> float:
        """How many times faster than a direct convolution it should be; below 1: slower."""
        direct = 9 * self.images * self.height * self.width * self.inputs * self.outputs
        products = _POINTS * self.tiles * (_POINTS * self.inputs + self.inputs * self.outputs + 16 * self.outputs)
        moved = 4 * _POINTS * self.tiles * (4 * self.inputs + 3 * self.outputs)
        weights = 4 * (_POINTS - 9) * self.inputs * self.outputs
        return 2 * direct / (2 * products + _FLOPS_PER_BYTE * moved + _FLOPS_PER_WEIGHT_BYTE * weights)


def use_winograd(model: ov.Model) -> list[str]:
    """Replace the convolutions of a model that become faster, and return their names. The model's shapes are static.

    Args:
        model: the model; it is changed.

    >>> use_winograd(model)  # doctest: +SKIP
    ['trunk.conv3.conv1', 'trunk.conv3.conv2']
    """
    replaced = []
    for node in model.get_ordered_ops():
        shape = _shape(node)
        if shape is not None and shape.expected_gain >= _GAIN:
            name = node.get_friendly_name()
            weights = node.input_value(1).get_node().get_data()
            output = _winograd(node.input_value(0), np.asarray(weights, np.float64), shape, name)
            output.set_friendly_name(name)
            node.output(0).replace(output.output(0))
            replaced.append(name)
    model.validate_nodes_and_infer_types()
    return replaced


def _shape(node: ov.Node) -> Shape | None:
    """The shape of a 3x3 convolution with stride 1 that keeps the size; None for any other node."""
    if node.get_type_name() != "Convolution" or node.input_value(1).get_node().get_type_name() != "Constant":
        return None
    settings, images, weights = node.get_attributes(), node.get_input_partial_shape(0), list(node.get_input_shape(1))
    usual = all(list(settings[name]) == [1, 1] for name in ("strides", "dilations", "pads_begin", "pads_end"))
    floats = node.get_element_type() == ov.Type.f32 and node.input_value(1).get_element_type() == ov.Type.f32
    if not (usual and floats and images.is_static and weights[2:] == [3, 3]):
        return None
    count, inputs, height, width = images.to_shape()
    return Shape(count, height, width, inputs, weights[0])


def _winograd(images: ov.Output, weights: NDArray[np.float64], shape: Shape, name: str) -> ov.Node:
    """The convolution of `images` (N, C, H, W), as nodes; their names begin with `name`."""
    gathered, placed = _places(shape)
    transformed = np.einsum("ai,bj,kcij->abck", _WEIGHT, _WEIGHT, weights).reshape(_POINTS, shape.inputs, shape.outputs)
    before = _constant(np.kron(_INPUT, _INPUT))
    kernel, after = _constant(transformed), _constant(np.kron(_OUTPUT, _OUTPUT))

    rows = op.reshape(op.transpose(images, _integers(0, 2, 3, 1)), _integers(-1, shape.inputs), False)
    outside = _constant(np.zeros((1, shape.inputs)))
    rows = op.concat([rows, outside], 0, name=f"{name}{PART}rows")
    bands = []
    for i, band in enumerate(gathered):
        tiles, part = band.shape[1], f"{name}{PART}{i}"
        x = op.reshape(_gather(rows, band, f"{part} gather"), _integers(_POINTS, tiles * shape.inputs), False)
        x = op.matmul(before, x, False, False, name=f"{part} input transform")
        x = op.reshape(x, _integers(_POINTS, tiles, shape.inputs), False)
        x = op.matmul(x, kernel, False, False, name=f"{part} products")
        x = op.reshape(x, _integers(_POINTS, tiles * shape.outputs), False)
        x = op.matmul(after, x, False, False, name=f"{part} output transform")
        bands.append(op.reshape(x, _integers(_TILE**2 * tiles, shape.outputs), False))
    together = bands[0] if len(bands) == 1 else op.concat(bands, 0, name=f"{name}{PART}together")
    size = _integers(shape.images, shape.height, shape.width, shape.outputs)
    outputs = op.reshape(_gather(together, placed, f"{name}{PART}scatter"), size, False)
    return op.transpose(outputs, _integers(0, 3, 1, 2))


def _places(shape: Shape) -> tuple[list[NDArray[np.int32]], NDArray[np.int32]]:
    """Where the inputs of the tiles are, (36, tiles) for each band of tiles, and where each output is then, (NHW,)."""
    down, across = math.ceil(shape.height / _TILE), math.ceil(shape.width / _TILE)
    i, j, n, t, u = np.ix_(*map(np.arange, (_PATCH, _PATCH, shape.images, down, across)))
    row, column = _TILE * t + i - 1, _TILE * u + j - 1
    inside = (row >= 0) & (row < shape.height) & (column >= 0) & (column < shape.width)
    position = (n * shape.height + row) * shape.width + column
    inputs = np.where(inside, position, shape.images * shape.height * shape.width).reshape(_POINTS, -1)
    number = max(1, round(4 * _POINTS * shape.tiles * (shape.inputs + shape.outputs) / _BAND))
    bands = np.array_split(inputs, min(number, shape.tiles), axis=1)

    sizes = [band.shape[1] for band in bands]
    starts = np.repeat(np.cumsum([0, *sizes[:-1]]), sizes)  # for each tile: its band's first tile
    widths = np.repeat(sizes, sizes)
    n, y, x = np.ix_(*map(np.arange, (shape.images, shape.height, shape.width)))
    tile = (n * down + y // _TILE) * across + x // _TILE
    point = y % _TILE * _TILE + x % _TILE
    placed = _TILE**2 * starts[tile] + point * widths[tile] + tile - starts[tile]
    return [band.astype(np.int32) for band in bands], placed.reshape(-1).astype(np.int32)


def _gather(rows: ov.Node, places: NDArray[np.int32], name: str) -> ov.Node:
    return op.gather(rows, op.constant(np.ascontiguousarray(places)), op.constant(np.int32(0)), name=name)


def _constant(values: NDArray[np.float64]) -> ov.Node:
    return op.constant(np.ascontiguousarray(values, np.float32))


def _integers(*values: int) -> ov.Node:
    return op.constant(np.array(values, np.int64))
