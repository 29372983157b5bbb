"""A network as a reader draws it: units in a row, each a few layers with the branches between them, repeats counted.

`graph` reads it off the trace of a forward pass. What a block looks like (an Inception module's branches, a shortcut, a
dense layer's concatenation) follows from which output each operation reads, without knowledge of the family.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

from torch import nn

from classicnets.analysis.trace import Op

IMAGES = -1
"""As an input of a layer: what the unit gets from the unit before it."""

_AUXILIARY = "aux_"
_JOINS = {"add": "+", "cat": "concat"}
_FOLLOW = {"BatchNorm2d": "BN", "BatchNorm1d": "BN", "ReLU": "ReLU", "Tanh": "tanh"}
_INVISIBLE = {"view", "flatten", "reshape", "_unsafe_view"}


@dataclass(frozen=True)
class Layer:
    """A box of the drawing.

    label     what it does: "3x3, 64, /2" is a convolution to 64 channels with stride 2
    kind      "conv", "pool", "linear", "join", or "other"
    after     what follows in place, such as ("BN", "ReLU")
    inputs    layers of the unit by their place in it; `IMAGES` is the unit's input
    output    shape without the batch: (C, H, W) or (features,)
    """

    label: str
    kind: str
    after: tuple[str, ...]
    inputs: tuple[int, ...]
    output: tuple[int, ...]


@dataclass(frozen=True)
class Unit:
    """Layers between two places that the whole signal passes. `times` such units stand in a row."""

    stage: str
    layers: tuple[Layer, ...]
    times: int = 1


class Graph(NamedTuple):
    """The units of a network in order, and the layers of each auxiliary head by the stage that it looks at."""

    units: tuple[Unit, ...]
    auxiliary: dict[str, tuple[Layer, ...]]


def graph_of(modules: Mapping[str, nn.Module], ops: Sequence[Op]) -> Graph:
    """Return the graph of a network.

    Args:
        modules: the modules of the network that was traced, by their paths.
        ops: the trace of its `training_outputs`, which run its auxiliary heads too.
    """
    layers = list(_layers(modules, ops))
    straight = [layer for layer in layers if not layer.stage.startswith(_AUXILIARY)]
    heads = [layer for layer in layers if layer.stage.startswith(_AUXILIARY)]
    auxiliary = {}
    for _, group in groupby(heads, key=lambda layer: layer.stage):
        head = list(group)
        auxiliary[layers[head[0].inputs[0]].stage] = tuple(layer.layer((IMAGES,)) for layer in head)
    return Graph(tuple(_counted(_units(straight))), auxiliary)


class _Placed(NamedTuple):
    """A layer before it has a unit: its inputs are places in the whole network."""

    place: int
    stage: str
    label: str
    kind: str
    after: tuple[str, ...]
    inputs: tuple[int, ...]
    output: tuple[int, ...]

    def layer(self, inputs: tuple[int, ...]) -> Layer:
        return Layer(self.label, self.kind, self.after, inputs, self.output)


def _layers(modules: Mapping[str, nn.Module], ops: Sequence[Op]) -> Iterator[_Placed]:
    """The boxes, in order: a layer, with the batch norm and the activation that follow it; an addition; ..."""
    boxes: list[_Placed] = []
    box_of = {IMAGES: IMAGES}  # an operation's place in the trace -> its box
    readers = _readers(ops)
    for _, group in groupby(range(len(ops)), key=lambda i: _box_name(modules, ops, i)):
        places = list(group)
        first, last = ops[places[0]], ops[places[-1]]
        inputs = tuple(dict.fromkeys(box_of[i] for place in places for i in ops[place].inputs if i not in places))
        alone = len(inputs) == 1 and inputs[0] != IMAGES and readers[first.inputs[0]] == 1
        follows = _follows(modules[first.module], first, boxes[inputs[0]]) if alone else None
        if follows is not None:
            before = boxes[inputs[0]]
            boxes[inputs[0]] = before._replace(after=(*before.after, *follows), output=last.output)
            box_of |= dict.fromkeys(places, inputs[0])
            continue
        label, kind = _label(modules[first.module], last)
        box_of |= dict.fromkeys(places, len(boxes))
        boxes.append(_Placed(len(boxes), stage_of(first.module), label, kind, (), inputs, last.output))
    yield from boxes


def _follows(module: nn.Module, op: Op, before: _Placed) -> tuple[str, ...] | None:
    """What is written below the box before it, () for nothing to see; None if it is a box of its own."""
    if isinstance(module, nn.Dropout):
        return (f"dropout {module.p:g}",) if module.p else ()
    if op.kind in _INVISIBLE:
        return ()
    name = _FOLLOW.get(type(module).__name__)
    if name is None or (name == "BN" and before.kind == "join"):
        return None
    return (name,)


def _readers(ops: Sequence[Op]) -> dict[int, int]:
    """How many operations read the output of each."""
    count = dict.fromkeys(range(-1, len(ops)), 0)
    for op in ops:
        for place in op.inputs:
            count[place] += 1
    return count


def _box_name(modules: Mapping[str, nn.Module], ops: Sequence[Op], place: int) -> str:
    """A module without children is one box, however many operations it runs; elsewhere each operation is one."""
    path = ops[place].module
    return path if not any(modules[path].children()) else f"{path}#{place}"


def stage_of(path: str) -> str:
    """The stage that a module belongs to: trunk.conv2.block1.conv -> conv2; head.classifier -> head."""
    first, *rest = path.split(".")
    return rest[0] if first == "trunk" and rest else first


def _label(module: nn.Module, op: Op) -> tuple[str, str]:
    """What a box says, and its kind."""
    if op.kind in _JOINS:
        return _JOINS[op.kind], "join"
    if isinstance(module, nn.Conv2d):
        groups = f", {module.groups} groups" if module.groups > 1 else ""
        return f"{_size(module.kernel_size)}, {module.out_channels}{groups}{_stride(module.stride)}", "conv"
    if isinstance(module, nn.Linear):
        return f"linear {module.out_features}", "linear"
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        name = "max pool" if isinstance(module, nn.MaxPool2d) else "average pool"
        return f"{name} {_size(module.kernel_size)}{_stride(module.stride)}", "pool"
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return f"average to {_size(op.output[1:3] or 1)}", "pool"
    name = type(module).__name__
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[a-wyz])(?=[0-9])", " ", name).lower()  # "pad shortcut" for PadShortcut
    return {"LocalResponseNorm": "LRN", **_FOLLOW}.get(name, words), "other"


def _pair(size: object) -> tuple[int, int]:
    height, width = size if isinstance(size, tuple) else (size, size)
    return int(height), int(width)


def _size(size: object) -> str:
    return "×".join(map(str, _pair(size)))


def _stride(stride: object) -> str:
    height, width = _pair(stride)
    if (height, width) == (1, 1):
        return ""
    return f", /{height}" if height == width else f", /{height}×{width}"


def _units(layers: Sequence[_Placed]) -> Iterator[Unit]:
    """Cut the network after each layer whose output alone is read by what follows."""
    last_reader = {place: layer.place for layer in layers for place in layer.inputs}
    members: list[_Placed] = []
    open_until = last_reader.get(IMAGES, 0)  # where the outputs of all layers so far have been read
    for layer in layers:
        members.append(layer)
        if open_until <= layer.place:
            yield _unit(members)
            members = []
        open_until = max(open_until, last_reader.get(layer.place, 0))


def _unit(members: Sequence[_Placed]) -> Unit:
    places = {member.place: k for k, member in enumerate(members)}
    layers = [member.layer(tuple(places.get(place, IMAGES) for place in member.inputs)) for member in members]
    return Unit(members[-1].stage, tuple(layers))


def _counted(units: Iterator[Unit]) -> Iterator[Unit]:
    """Equal units of a stage in a row become one, with their number. What a concatenation adds up to may differ."""
    for _, group in groupby(units, key=_signature):
        members = list(group)
        yield replace(members[-1], times=len(members))


def _signature(unit: Unit) -> tuple[object, ...]:
    return unit.stage, [(layer.label, layer.after, layer.inputs) for layer in unit.layers]
