"""A forward pass without data that records what every operation costs and sees.

`trace` runs a network on the meta device and answers each of PyTorch's operations with an empty tensor of the right
shape. Nothing is computed, so the largest network takes a fraction of a second. Whatever a block does (branches,
shortcuts, concatenations) is followed without a formula for that block. A block that was followed before, on an input
of the same shape, is not run again: its operations are copied.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial, reduce
from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from classicnets.analysis.receptive_field import Field, Window
from classicnets.analysis.structure import structures
from classicnets.models.blocks import LocalResponseNorm

Fields = tuple[Field, Field]
Windows = tuple[Window, Window]
"""Along rows and columns: what a tensor's positions see, and how an operation looks at its input."""

_FP32_BYTES = 4
_INPUT = -1  # in what is kept of a module: its own input
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

    `images` are floats (N, C, H, W). `run` is called instead of `net`, for another of its methods. The network is left
    as it is, but no other thread may use it meanwhile.

    >>> trace(nn.Conv2d(3, 8, 3), torch.empty(1, 3, 9, 9, device="meta"))[0].macs
    10584
    """
    recorder = _Recorder(images)
    structure_of = structures(net)
    times = Counter(structure_of.values())
    own = {module: module.__dict__.get("forward") for module in structure_of}
    try:
        for path, module in net.named_modules():
            structure = structure_of[module] if times[structure_of[module]] > 1 else None
            called = _Called(path, structure, module.forward, isinstance(module, LocalResponseNorm))
            module.__dict__["forward"] = partial(recorder.call, called)
        with torch.inference_mode(), recorder:
            (run or net)(images)
    finally:
        for module, forward in own.items():
            module.__dict__["forward"] = forward
            if forward is None:
                del module.__dict__["forward"]
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


class _Called(NamedTuple):
    """A module of the network.

    Attributes:
        path: where it is.
        structure: the number of its structure; None if no other module has the same.
        forward: what it does.
        is_one_operation: whether all that it does counts as one operation.
    """

    path: str
    structure: int | None
    forward: Callable[..., Any]
    is_one_operation: bool


class _Known(NamedTuple):
    """What a module did to its input, for the next module of the same structure.

    Attributes:
        ops: its operations. Their modules are written from this one on; their inputs are places in `ops`, or `_INPUT`.
        mixing: the places of those whose output sees the whole image while their input does not.
        output: the size, stride and type of its output.
        made_by: the place of the operation that made its output, or `_INPUT` if the output is the input.
    """

    ops: tuple[Op, ...]
    mixing: frozenset[int]
    output: tuple[torch.Size, tuple[int, ...], torch.dtype]
    made_by: int


class _Recorder(TorchDispatchMode):
    """Answer every operation by its rule, and record those that work on something made from the images."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # PyTorch's modes have no types
        self.ops: list[Op] = []
        self._inside: list[str] = []
        self._seen = {id(images): _Seen(images, (Field(), Field()), made_by=-1)}
        self._known: dict[tuple[object, ...], _Known] = {}

    def call(self, called: _Called, *args: Any, **kwargs: Any) -> Any:
        """Run a module's forward, or copy what a module of the same structure did to an input of the same shape."""
        x = args[0] if len(args) == 1 and not kwargs else None
        before = self._seen.get(id(x))
        if before is None or called.structure is None:
            return self._run(called, args, kwargs)
        shape = (before.tensor.shape, before.tensor.stride(), before.tensor.dtype)
        key = (called.structure, *shape, before.fields is None)
        if key in self._known:
            return self._copy(called, self._known[key], before)
        start = len(self.ops)
        output = self._run(called, args, kwargs)
        known = self._what_happened(called, before, output, start)
        if known is not None:
            self._known[key] = known
        return output

    def _run(self, called: _Called, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        start = len(self.ops)
        self._inside.append(called.path)
        output = called.forward(*args, **kwargs)
        self._inside.pop()
        if called.is_one_operation:
            self._join(called.path, args[0], output, start)
        return output

    def _join(self, path: str, x: Tensor, output: Tensor, start: int) -> None:
        """Make one operation of all since `start`. LocalResponseNorm permutes axes and back: positions stay."""
        before = self._seen[id(x)]
        written = sum(op.bytes_written for op in self.ops[start:])
        del self.ops[start:]
        self._seen[id(output)] = _Seen(output, before.fields, made_by=start)
        shape = tuple(output.shape[1:])
        self.ops.append(Op(path, "local_response_norm", (before.made_by,), shape, None, before.fields, 0, written))

    def _what_happened(self, called: _Called, before: _Seen, output: object, start: int) -> _Known | None:
        """What the module did since `start`; None if it did more than turn its input into its output."""
        made = self._seen.get(id(output))
        if made is None or self._seen[id(before.tensor)] is not before:
            return None
        if made is not before and made.made_by < start:
            return None
        ops: list[Op] = []
        mixing: set[int] = set()
        for place, op in enumerate(self.ops[start:]):
            inside = op.module.removeprefix(called.path)
            if called.path and inside[:1] not in ("", "."):
                return None
            if any(source < start and source != before.made_by for source in op.inputs):
                return None
            inputs = tuple([_INPUT if source == before.made_by else source - start for source in op.inputs])
            if op.fields is None and all(self._fields(before, start, source) is not None for source in inputs):
                mixing.add(place)
            ops.append(op._replace(module=inside, inputs=inputs))
        shape = (made.tensor.shape, made.tensor.stride(), made.tensor.dtype)
        return _Known(tuple(ops), frozenset(mixing), shape, _INPUT if made is before else made.made_by - start)

    def _copy(self, called: _Called, known: _Known, before: _Seen) -> Tensor:
        """Record the operations of `known` as those of this module, and return its output."""
        start = len(self.ops)
        for place, op in enumerate(known.ops):
            sources = [self._fields(before, start, source) for source in op.inputs]
            self.ops.append(
                op._replace(
                    module=called.path + op.module,
                    inputs=tuple(before.made_by if source == _INPUT else start + source for source in op.inputs),
                    fields=None if place in known.mixing else _through(op.windows, sources),
                )
            )
        if known.made_by == _INPUT:
            return before.tensor
        size, stride, dtype = known.output
        output = torch.empty_strided(size, stride, dtype=dtype, device="meta")
        made_by = start + known.made_by
        self._seen[id(output)] = _Seen(output, self.ops[made_by].fields, made_by)
        return output

    def _fields(self, before: _Seen, start: int, source: int) -> Fields | None:
        """What an input of a module's operation sees: the module's own input, or the output of one since `start`."""
        return before.fields if source == _INPUT else self.ops[start + source].fields

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
                module=self._inside[-1],
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
