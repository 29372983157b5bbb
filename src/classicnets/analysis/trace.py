"""A forward pass without data that records what every operation costs and sees.

`trace` runs a network on the meta device and answers each of PyTorch's operations with an empty tensor of the right
shape. Nothing is computed, so the largest network takes a fraction of a second. Whatever a block does (branches,
shortcuts, concatenations) is followed without a formula for that block.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from classicnets.analysis.receptive_field import Field, Window
from classicnets.models.blocks import LocalResponseNorm

Fields = tuple[Field, Field]
Windows = tuple[Window, Window]
"""Along rows and columns: what a tensor's positions see, and how an operation looks at its input."""

_FP32_BYTES = 4
_aten = torch.ops.aten


class Op(NamedTuple):
    """An operation that ran: in which module, its output, its geometry along rows and columns, and its cost.

    `inputs` are the places in the trace of the operations whose outputs it works on; -1 stands for the images.
    `windows` is None if every position stays in its place; `fields` is None if each output sees the whole image.
    """

    module: str
    kind: str
    inputs: tuple[int, ...]
    output: tuple[int, ...]
    windows: Windows | None
    fields: Fields | None
    macs: int
    bytes_written: int


def trace(net: nn.Module, images: Tensor, *, run: Callable[[Tensor], object] | None = None) -> list[Op]:
    """Return the operations of `net(images)`, in order. Both are on the meta device.

    `images` are floats (N, C, H, W). `run` is called instead of `net`, for another of its methods. The network keeps
    the hooks of the trace, so use it for nothing else.

    >>> trace(nn.Conv2d(3, 8, 3), torch.empty(1, 3, 9, 9, device="meta"))[0].macs
    10584
    """
    recorder = _Recorder(images)
    for name, module in net.named_modules():
        module.register_forward_pre_hook(lambda _module, _args, name=name: recorder.inside.append(name))
        module.register_forward_hook(recorder.leave)
    with torch.inference_mode(), recorder:
        (run or net)(images)
    return recorder.ops


def depths(ops: Sequence[Op]) -> list[int]:
    """Return for each operation how many convolutions and linear layers lie on the longest path to its output.

    `ops` is a whole trace, in order. The path starts at the images and includes the operation itself.
    """
    found: list[int] = []
    for op in ops:
        before = [found[place] for place in op.inputs if place >= 0]
        found.append(max(before, default=0) + (1 if op.macs else 0))
    return found


class _Effect(NamedTuple):
    """What an operation does: its output, its windows (None: every position stays), its cost, whether it mixes all."""

    output: Tensor
    windows: Windows | None = None
    macs: int = 0
    mixes: bool = False


class _Seen(NamedTuple):
    """A tensor that depends on the images. It is kept, or Python could give its identity to another one."""

    tensor: Tensor
    fields: Fields | None
    made_by: int


class _Recorder(TorchDispatchMode):
    """Answer every operation by its rule, and record those that work on something made from the images."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # PyTorch's modes have no types
        self.ops: list[Op] = []
        self.inside: list[str] = []
        self._seen = {id(images): _Seen(images, (Field(), Field()), made_by=-1)}

    def leave(self, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        """Leave the innermost module. LocalResponseNorm is one operation: it permutes axes and back, in place."""
        path = self.inside.pop()
        if isinstance(module, LocalResponseNorm):
            before = self._seen[id(args[0])]
            steps = [op for op in self.ops if op.module == path]
            del self.ops[-len(steps) :]
            self._seen[id(output)] = _Seen(output, before.fields, made_by=len(self.ops))
            written = sum(op.bytes_written for op in steps)
            shape = tuple(output.shape[1:])
            self.ops.append(Op(path, "local_response_norm", (before.made_by,), shape, None, before.fields, 0, written))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Nothing here is ever compiled; the default loads the compiler on the first call, which takes a second.
        return False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        inputs = [t for t in tree_leaves(args) if isinstance(t, Tensor) and id(t) in self._seen]
        if not inputs:
            return func(*args, **(kwargs or {}))
        effect = _rule(func)(*args, **(kwargs or {}))
        output = effect.output
        before = [self._seen[id(t)] for t in inputs]
        fields = None if effect.mixes else _through(effect.windows, [seen.fields for seen in before])
        self._seen[id(output)] = _Seen(output, fields, made_by=len(self.ops))
        storages = {t.untyped_storage()._cdata for t in inputs}
        self.ops.append(
            Op(
                module=self.inside[-1],
                kind=func.overloadpacket.__name__.rstrip("_"),
                inputs=tuple(dict.fromkeys(seen.made_by for seen in before)),
                output=tuple(output.shape[1:]),
                windows=effect.windows,
                fields=fields,
                macs=effect.macs,
                bytes_written=0 if output.untyped_storage()._cdata in storages else output.numel() * _FP32_BYTES,
            )
        )
        return output


def _through(windows: Windows | None, branches: list[Fields | None]) -> Fields | None:
    """What the outputs see, given what the inputs see."""
    meeting = [fields for fields in branches if fields is not None]
    if len(meeting) < len(branches):
        return None
    rows, columns = (reduce(Field.join, axis) for axis in zip(*meeting, strict=True))
    return (rows.through(windows[0]), columns.through(windows[1])) if windows else (rows, columns)


# The rules: each has the signature of its operation.


def _rule(func: Any) -> Callable[..., _Effect]:
    if func in _RULES:
        return _RULES[func]
    if torch.Tag.pointwise in func.tags:
        return _in_place if torch.Tag.inplace in func.tags else _pointwise
    return lambda *args, **kwargs: _other(func, *args, **kwargs)


def _empty(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")


def _conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> _Effect:
    rows, columns = map(Window, weight.shape[2:], stride, padding, dilation)
    output = _empty(x.shape[0], weight.shape[0], rows.positions(x.shape[2]), columns.positions(x.shape[3]))
    return _Effect(output, (rows, columns), macs=output.numel() * math.prod(weight.shape[1:]))


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> _Effect:
    output = _empty(*x.shape[:-1], weight.shape[0])
    return _Effect(output, macs=output.numel() * weight.shape[1], mixes=True)


def _max_pool(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0, 0),
    dilation: Sequence[int] = (1, 1, 1),
    ceil: bool = False,
) -> _Effect:
    windows = [Window(*sizes, ceil=ceil) for sizes in zip(kernel, stride or kernel, padding, dilation, strict=False)]
    kept = x.ndim - len(windows)
    sizes = [window.positions(size) for window, size in zip(windows, x.shape[kept:], strict=True)]
    return _Effect(_empty(*x.shape[:kept], *sizes), (windows[-2], windows[-1]))


def _average_pool(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0, 0),
    ceil: bool = False,
    *_divisor: object,
) -> _Effect:
    return _max_pool(x, kernel, stride, padding, ceil=ceil)


def _adaptive_pool(x: Tensor, size: Sequence[int]) -> _Effect:
    output = _empty(*x.shape[:2], *size)
    (rows, more_rows), (columns, more_columns) = map(divmod, x.shape[2:], size)
    if more_rows or more_columns:
        return _Effect(output, mixes=True)  # windows of several sizes have no one field
    return _Effect(output, (Window(rows, rows), Window(columns, columns)))


def _batch_norm(x: Tensor, *_statistics: object) -> _Effect:
    return _Effect(_empty(*x.shape))


def _cat(tensors: Sequence[Tensor], dim: int = 0) -> _Effect:
    shape = list(tensors[0].shape)
    shape[dim] = sum(t.shape[dim] for t in tensors)
    return _Effect(_empty(*shape), mixes=dim != 1)


def _pad(x: Tensor, pad: Sequence[int], *mode: object) -> _Effect:
    left, top = (*pad[0::2], 0, 0)[:2]
    return _Effect(_aten.pad.default(x, pad, *mode), (Window(padding=top), Window(padding=left)))


def _slice(x: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> _Effect:
    window = Window(stride=step, padding=-((start or 0) % x.shape[dim]))
    windows = {2: (window, Window()), 3: (Window(), window)}.get(dim)
    return _Effect(_aten.slice.Tensor(x, dim, start, end, step), windows)


def _pointwise(*args: Any, **_settings: object) -> _Effect:
    shapes = [tuple(reversed(a.shape)) for a in args if isinstance(a, Tensor)]
    return _Effect(_empty(*reversed([max(sizes) for sizes in zip_longest(*shapes, fillvalue=1)])))


def _in_place(x: Tensor, *_args: object, **_settings: object) -> _Effect:
    return _Effect(x)


def _other(func: Any, *args: Any, **kwargs: Any) -> _Effect:
    """Reshapes, and what has no rule: positions stay if the map keeps its size, or else all count as mixed."""
    output = func(*args, **kwargs)
    before = args[0].shape
    stay = len(before) >= 4 and output.ndim >= 4 and output.shape[-2:] == before[-2:]
    return _Effect(output, mixes=not stay)


_RULES: dict[Any, Callable[..., _Effect]] = {
    _aten.conv2d.default: _conv2d,
    _aten.linear.default: _linear,
    _aten.max_pool2d.default: _max_pool,
    _aten.avg_pool2d.default: _average_pool,
    _aten.avg_pool3d.default: _average_pool,
    _aten.adaptive_avg_pool2d.default: _adaptive_pool,
    _aten.batch_norm.default: _batch_norm,
    _aten.cat.default: _cat,
    _aten.pad.default: _pad,
    _aten.slice.Tensor: _slice,
}
