"""Resize and crop as a part of the graph: what `Preprocess.geometry` does, for one image of any size.

    (N, C, H, W) -> the middle, of a very long image -> resized along the rows, rounded -> along the columns, rounded
                 -> padded and cut to the network's size

Like Pillow, it resizes one side after the other and rounds to whole values in between. The graph computes the sizes, in
whole numbers, from the image's own.

Resizing along one side is a product with a matrix of weights, which the graph computes too. ONNX's own `Resize` is not
used, because engines differ in it: OpenVINO reads it and leaves out the antialiasing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from onnx import TensorProto

from classicnets.deployment.onnx_ops import Writer
from classicnets.preprocess import MOST_COVER, Preprocess


class _Size(NamedTuple):
    """The names of two numbers, int64 (1,)."""

    height: str
    width: str


def write_geometry(writer: Writer, image: str, preprocess: Preprocess) -> str:
    """Write the geometry of a preprocessing, and return the name of its output.

    Args:
        writer: where to write.
        image: the name of the input, uint8 (N, C, H, W) with any H and W.
        preprocess: the settings. Channels are not converted.

    The output is float32 (N, C, *input_size) with whole values from 0 to 255.
    """
    return _Geometry(writer, preprocess).write(image)


class _Geometry:
    def __init__(self, writer: Writer, preprocess: Preprocess) -> None:
        self.writer, self.preprocess = writer, preprocess
        self.target = preprocess.target

    def write(self, image: str) -> str:
        if self.preprocess.resize == "crop":
            size = self._size(image)
            middle = self._middle(size)
            image = self._cut(image, _Size(*map(self._start, size, middle)), middle)
        x = self.op("Cast", image, to=TensorProto.FLOAT)
        size = self._size(image)
        resized = self._resized(size)
        x = self._resize(x, 3, size.width, resized.width)
        x = self._resize(x, 2, size.height, resized.height)
        wanted = _Size(*map(self.number, self.preprocess.input_size))
        if self.preprocess.resize == "pad":
            missing = _Size(*(self._above_zero(self.op("Sub", a, b)) for a, b in zip(wanted, resized, strict=True)))
            x = self._pad(x, missing)
            resized = _Size(*map(self._sum, resized, missing))
        x = self._cut(x, _Size(*map(self._start, resized, wanted)), wanted)
        shape = [-1, self.preprocess.channels, *self.preprocess.input_size]
        return self.op("Reshape", x, self.writer.constant(shape, "geometry.shape"))

    # ---- sizes

    def _size(self, image: str) -> _Size:
        return _Size(*(self.op("Shape", image, start=axis, end=axis + 1) for axis in (2, 3)))

    def _by_height(self, size: _Size, *, covers: bool) -> str:
        """Whether the height sets the scale: of the scales of both sides, the larger covers the target."""
        rows, columns = self.target
        by_rows = self.op("Mul", size.width, self.number(rows))
        by_columns = self.op("Mul", size.height, self.number(columns))
        return self.op("GreaterOrEqual" if covers else "LessOrEqual", by_rows, by_columns)

    def _middle(self, size: _Size) -> _Size:
        """The part of a very long image that is resized."""
        rows, columns = self.target
        reach = _Size(
            self._ratio_up(size.width, MOST_COVER * rows, columns),
            self._ratio_up(size.height, MOST_COVER * columns, rows),
        )
        return _Size(*(self.op("Min", side, most) for side, most in zip(size, reach, strict=True)))

    def _resized(self, size: _Size) -> _Size:
        target = _Size(*map(self.number, self.target))
        if self.preprocess.resize == "squash":
            return target
        by_height = self._by_height(size, covers=self.preprocess.resize == "crop")
        height = self.op("Div", self.op("Mul", size.height, target.width), size.width)
        width = self.op("Div", self.op("Mul", size.width, target.height), size.height)
        return _Size(
            self.op("Where", by_height, target.height, self._at_least(height, 1)),
            self.op("Where", by_height, self._at_least(width, 1), target.width),
        )

    def _start(self, side: str, seen: str) -> str:
        """Half of what is left over, rounded to even, as Python's `round` does."""
        left = self.op("Sub", side, seen)
        half, two = self.op("Div", left, self.number(2)), self.number(2)
        return self._sum(half, self.op("Mul", self.op("Mod", left, two), self.op("Mod", half, two)))

    def _ratio_up(self, side: str, times: int, by: int) -> str:
        """side * times / by, rounded up."""
        product = self._sum(self.op("Mul", side, self.number(times)), self.number(by - 1))
        return self.op("Div", product, self.number(by))

    def _at_least(self, value: str, least: int) -> str:
        return self.op("Max", value, self.number(least))

    def _above_zero(self, value: str) -> str:
        return self._at_least(value, 0)

    def _sum(self, a: str, b: str) -> str:
        return self.op("Add", a, b)

    # ---- images

    def _cut(self, x: str, start: _Size, size: _Size) -> str:
        starts = self.op("Concat", *start, axis=0)
        ends = self._sum(starts, self.op("Concat", *size, axis=0))
        return self.op("Slice", x, starts, ends, self.writer.constant([2, 3], "geometry.axes"))

    def _pad(self, x: str, missing: _Size) -> str:
        zero, two = self.number(0), self.number(2)
        before = [self.op("Div", side, two) for side in missing]
        after = [self.op("Sub", side, start) for side, start in zip(missing, before, strict=True)]
        return self.op("Pad", x, self.op("Concat", zero, zero, *before, zero, zero, *after, axis=0))

    def _resize(self, x: str, axis: int, old: str, new: str) -> str:
        """Resize along one axis, from `old` to `new` positions, and round."""
        weights = self._weights(old, new, across=axis == 3)
        x = self.op("MatMul", x, weights) if axis == 3 else self.op("MatMul", weights, x)
        limits = (self.writer.constant(value, f"geometry.float.{value:.0f}") for value in (0.0, 255.0))
        return self.op("Clip", self.op("Round", x), *limits)

    def _weights(self, old: str, new: str, *, across: bool) -> str:
        """How much each old position counts for each new one: (old, new) if `across`, else (new, old).

        The filter's argument is the distance of their middles, in pixels of whichever grid is the coarser.
        """
        old_axis, new_axis = (1, 0) if across else (0, 1)
        olds = self.op("Unsqueeze", self._middles(old, times=new), self.number(old_axis))
        news = self.op("Unsqueeze", self._middles(new, times=old), self.number(new_axis))
        if self.preprocess.interpolation == "nearest":
            # The old position whose pixel, from -1 to 1 around its middle, holds the new one's middle.
            apart = self.op("Sub", news, olds)
            holds = self.op("And", self.op("GreaterOrEqual", apart, self.op("Neg", new)), self.op("Less", apart, new))
            return self.op("Cast", holds, to=TensorProto.FLOAT)
        apart = self.op("Cast", self.op("Abs", self.op("Sub", olds, news)), to=TensorProto.FLOAT)
        unit = self.op("Mul", self.op("Max", old, new), self.number(2))
        filtered = self._filter(self.op("Div", apart, self.op("Cast", unit, to=TensorProto.FLOAT)))
        return self.op("Div", filtered, self.op("ReduceSum", filtered, self.number(new_axis), keepdims=1))

    def _middles(self, side: str, *, times: str) -> str:
        """(2 i + 1) * times, for each position i of a side: twice its middle on a grid that both sides share."""
        scalars = (self.op("Squeeze", self.op("Mul", side, self.number(2))), self.op("Squeeze", self.number(2)))
        one = self.op("Squeeze", self.number(1))
        return self.op("Mul", self.op("Range", one, self._sum(scalars[0], one), scalars[1]), times)

    def _filter(self, t: str) -> str:
        """Pillow's filters of distances t, 0 or more."""
        one = self.writer.constant(1.0, "geometry.float.1")
        zero = self.writer.constant(0.0, "geometry.float.0")
        if self.preprocess.interpolation == "bilinear":
            return self.op("Max", self.op("Sub", one, t), zero)
        near = self._polynomial(t, (1.5, -2.5, 0.0, 1.0))
        far = self._polynomial(t, (-0.5, 2.5, -4.0, 2.0))
        two = self.writer.constant(2.0, "geometry.float.2")
        return self.op("Where", self.op("Less", t, one), near, self.op("Where", self.op("Less", t, two), far, zero))

    def _polynomial(self, t: str, coefficients: tuple[float, ...]) -> str:
        """By Horner's rule, the highest power first."""
        first, *others = (self.writer.constant(c, f"geometry.float.{c}") for c in coefficients)
        value = first
        for other in others:
            value = self._sum(self.op("Mul", value, t), other)
        return value

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.writer.op(kind, *inputs, name=f"geometry.{len(self.writer.nodes)}", **attributes)

    def number(self, value: int) -> str:
        return self.writer.constant([value], f"geometry.int.{value}")
