"""What a convolution or a pooling computes at one position: the numbers under its window, and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from classicnets.explanation.recording import Operation

_MAX, _AVERAGE = "max pool", "average pool"
_CONVOLUTION = (None, (1, 1), (0, 0), (1, 1), 1)  # bias, stride, padding, dilation, groups, if they are left out
POOLS = {"max_pool2d": _MAX, "avg_pool2d": _AVERAGE}


@dataclass(frozen=True)
class Window:
    """The positions of an input that an output looks at.

    Attributes:
        rows, columns: where they are, int64 (kh,) and (kw,). Those outside the input are in the padding.
        size: (height, width) of the input.
    """

    rows: Tensor
    columns: Tensor
    size: tuple[int, int]

    @classmethod
    def at(
        cls,
        row: int,
        column: int,
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        size: tuple[int, int],
    ) -> Window:
        """Return the window of the output at a row and a column; the geometry is PyTorch's, (height, width) each."""
        rows, columns = (
            start * step - before + apart * torch.arange(length)
            for start, length, step, before, apart in zip((row, column), kernel, stride, padding, dilation, strict=True)
        )
        return cls(rows, columns, size)

    @property
    def inside(self) -> Tensor:
        """Which of them are in the input: bool (kh, kw)."""
        height, width = self.size
        rows, columns = (self.rows >= 0) & (self.rows < height), (self.columns >= 0) & (self.columns < width)
        return rows[:, None] & columns

    def to_dict(self) -> dict[str, Any]:
        """Return where it lies, JSON-ready."""
        return {"rows": self.rows.tolist(), "columns": self.columns.tolist(), "size": list(self.size)}

    def listed(self, patch: Tensor) -> list[list[float | None]]:
        """Return a patch (kh, kw) as lists, None in the padding."""
        pairs = zip(patch.tolist(), self.inside.tolist(), strict=True)
        return [[value if is_inside else None for value, is_inside in zip(*row, strict=True)] for row in pairs]

    def patch(self, maps: Tensor, padding: float = 0.0) -> Tensor:
        """Cut the window out of maps (C, h, w): float64 (C, kh, kw), filled with `padding` outside the maps."""
        height, width = self.size
        found = maps[:, self.rows.clamp(0, height - 1)][:, :, self.columns.clamp(0, width - 1)]
        return torch.where(self.inside, found.double().cpu(), padding)


class Products(NamedTuple):
    """A channel of a convolution's input: its patch and its kernel, float64 (kh, kw), and the sum of their products."""

    channel: int
    patch: Tensor
    kernel: Tensor
    sum: float


@dataclass(frozen=True, kw_only=True)
class Convolved:
    """A convolution at one position: sums of products over the input's channels, and a bias.

    Attributes:
        layer: the convolution's path in the network, such as "trunk.conv1.conv".
        window: where it looks.
        stride, padding: in positions, (rows, columns).
        channels: how many channels of the input it adds up.
        largest: the channels whose sums are largest, positive or negative, the largest first.
        others: the sum over all other channels; 0 if there are none.
        bias: 0 if it has none.
        total: all of it together.
    """

    layer: str
    window: Window
    stride: tuple[int, int]
    padding: tuple[int, int]
    channels: int
    largest: tuple[Products, ...]
    others: float
    bias: float
    total: float

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, JSON-ready; a patch has None in the padding, where the network reads 0."""
        listed = [
            {
                "channel": one.channel,
                "patch": self.window.listed(one.patch),
                "kernel": one.kernel.tolist(),
                "sum": one.sum,
            }
            for one in self.largest
        ]
        return {
            "kind": "convolution",
            "layer": self.layer,
            **self.window.to_dict(),
            "stride": list(self.stride),
            "padding": list(self.padding),
            "channels": self.channels,
            "largest": listed,
            "others": self.others,
            "bias": self.bias,
            "total": self.total,
        }


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """A pooling at one position of one channel.

    Attributes:
        kind: "max pool" or "average pool".
        channel: the channel, the same in input and output.
        window: where it looks. Of a max pool, positions in the padding do not count.
        patch: what it sees: float64 (kh, kw); of a max pool, -inf in the padding.
        total: the largest of the values, or their mean.
    """

    kind: str
    channel: int
    window: Window
    patch: Tensor
    total: float

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, JSON-ready; the patch has None in the padding."""
        return {
            "kind": self.kind,
            "channel": self.channel,
            **self.window.to_dict(),
            "patch": self.window.listed(self.patch),
            "total": self.total,
        }


def convolved(operation: Operation, layer: str, channel: int, row: int, column: int, *, most: int) -> Convolved:
    """Return what a recorded "conv2d" computed for a channel at a position of the first image.

    Args:
        operation: what ran.
        layer: the convolution's path in the network.
        channel, row, column: of its output, from 0.
        most: how many channels of the input are listed.
    """
    x, weight, *given = operation.args
    bias, stride, padding, dilation, groups = _completed(given, _CONVOLUTION)
    count = weight.shape[1]
    first = channel // (weight.shape[0] // groups) * count  # of the input's channels, that of the group
    window = Window.at(row, column, weight.shape[2:], stride, padding, dilation, (x.shape[2], x.shape[3]))
    patch, kernel = window.patch(x[0, first : first + count]), weight[channel].double().cpu()
    sums = (patch * kernel).sum(dim=(1, 2))
    order = sums.abs().sort(descending=True, stable=True).indices.tolist()
    listed, rest = order[:most], order[most:]
    start = 0.0 if bias is None else float(bias[channel])
    return Convolved(
        layer=layer,
        window=window,
        stride=(stride[0], stride[1]),
        padding=(padding[0], padding[1]),
        channels=count,
        largest=tuple(Products(first + i, patch[i], kernel[i], float(sums[i])) for i in listed),
        others=float(sums[rest].sum()),
        bias=start,
        total=float(sums.sum()) + start,
    )


def pooled(operation: Operation, channel: int, row: int, column: int) -> Pooled:
    """Return what a recorded pooling computed for a channel at a position of the first image."""
    kind = POOLS[operation.name]
    x, kernel, *given = operation.args
    stride, padding, *rest = _completed(given, (kernel, (0, 0)))
    dilation = rest[0] if rest and kind == _MAX else (1, 1)
    window = Window.at(row, column, kernel, stride or kernel, padding, dilation, (x.shape[2], x.shape[3]))
    patch = window.patch(x[0, channel : channel + 1], -torch.inf if kind == _MAX else 0.0)[0]
    total = patch.max() if kind == _MAX else patch.mean()
    return Pooled(kind=kind, channel=channel, window=window, patch=patch, total=float(total))


def _completed(given: Sequence[Any], defaults: Sequence[Any]) -> list[Any]:
    """Arguments with the defaults of those that are left out at the end."""
    return [*given, *defaults[len(given) :]]
