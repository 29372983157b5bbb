"""What a network is made of, by stage and layer: shapes, kernels, parameters, multiply-adds, memory, receptive field.

Everything is derived from the module itself, in one pass without data (see `trace`). No number is typed by hand.
"""

from __future__ import annotations

import copy
import json
import math
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from classicnets.analysis.drawing import Facts, draw
from classicnets.analysis.graph import Graph, graph_of, stage_of
from classicnets.analysis.table import WIDTH, aligned, mebibytes, sides
from classicnets.analysis.trace import Op, depths, trace
from classicnets.errors import ConfigError
from classicnets.models.catalog import create, find
from classicnets.models.contract import ConvNet
from classicnets.models.facts import human
from classicnets.system.csv_text import csv_text
from classicnets.system.memory import cycles_kept

Pair = tuple[int, int]
"""A size along rows and columns."""


_TRAINING_ONLY = "training only"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A stage or a layer.

    name              a stage's name, or a layer's path in the trunk or head
    kind              the layer's class, or the operations of a block's own; "" for a stage, or "training only"
    output            shape without the batch: (C, H, W) or (features,)
    kernels           the distinct kernel sizes of its convolutions and poolings
    stride            how much coarser its output is than its input; None if positions are mixed
    parameters        its own
    macs              multiply-adds of its convolutions and linear layers, for one image
    activation_bytes  what it writes for one image, in fp32; training keeps about that
    receptive_field   image pixels that one output position sees; None: all of them
    jump              image pixels between two neighbouring output positions; None with `receptive_field`
    """

    name: str
    kind: str
    output: tuple[int, ...]
    kernels: tuple[Pair, ...]
    stride: Pair | None
    parameters: int
    macs: int
    activation_bytes: int
    receptive_field: Pair | None
    jump: Pair | None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A network's stages and layers at one input size. Print it, draw it with `to_svg()`, or use `to_dict()`.

    Attributes:
        model: the catalog name, or the class of a network that was given.
        paper: title, authors and year; empty for a network that was given.
        note: what this variant is.
        input: channels, height and width of the image.
        stages: a row for each stage of the trunk, then the head, then auxiliary heads. Auxiliary heads take part in
            training only: their parameters count, their multiply-adds and activations do not.
        layers: a row for each layer that computes.
        parameters: how many numbers are learned.
        macs: multiply-adds of one image.
        weight_bytes: the size of parameters and buffers.
        activation_bytes: the size of the activations of one image in fp32.
        graph: what `to_svg` draws.
        depth: how many convolutions and linear layers the longest path from the images to the logits has, as in papers.
    """

    model: str
    paper: str
    note: str
    input: tuple[int, int, int]
    stages: tuple[Row, ...]
    layers: tuple[Row, ...]
    parameters: int
    macs: int
    weight_bytes: int
    activation_bytes: int
    depth: int
    graph: Graph = field(repr=False, compare=False)

    def to_dict(self, *, layers: bool = False) -> dict[str, Any]:
        """Return the numbers as JSON-ready values, in bytes, pixels and units. `layers` adds the layers."""
        answer = asdict(replace(self, graph=Graph((), {}), layers=self.layers if layers else ()))
        del answer["graph"]
        if not layers:
            del answer["layers"]
        return answer

    def to_json(self, *, layers: bool = False) -> str:
        """Return `to_dict` as a JSON document. `layers` adds the layers."""
        return json.dumps(self.to_dict(layers=layers), indent=2)

    def to_text(self, *, layers: bool = False) -> str:
        """Return a table for a terminal of 80 columns or more: a line per stage, or with `layers` per layer."""
        lines = [f"{self.model} at {'x'.join(map(str, self.input))}"]
        lines += [line for text in (self.paper, self.note) for line in textwrap.wrap(text, WIDTH)]
        lines += ["", *_table(self.layers if layers else self.stages, layers), ""]
        lines += [
            f"{self.parameters:,} parameters ({mebibytes(self.weight_bytes)} MiB), "
            f"{human(self.macs)} multiply-adds, {mebibytes(self.activation_bytes)} MiB of activations",
            "MACs: multiply-adds. MiB: activations, all those of one image in fp32.",
            "field: pixels a side that an output sees. jump: pixels from it to the next one.",
        ]
        if any(row.kind == _TRAINING_ONLY for row in self.stages):
            lines += [f"* {_TRAINING_ONLY}: the parameters count, multiply-adds and activations do not."]
        return "\n".join(lines)

    def to_csv(self, *, layers: bool = False) -> str:
        """Return the numbers as a CSV table: a row per stage, or with `layers` per layer. Pairs are written HxW."""
        rows = self.layers if layers else self.stages
        return csv_text(Row.__dataclass_fields__, ([_cell(value) for value in vars(row).values()] for row in rows))

    def to_svg(self) -> str:
        """Return the network's drawing as an SVG document: stages, branches and shortcuts, repeats drawn once."""
        facts = {row.name: Facts(row.output, row.parameters, row.macs) for row in self.stages}
        return draw(self.graph, title=self.model, image=self.input, facts=facts)

    def _repr_html_(self) -> str:
        """Show the drawing in a notebook."""
        return self.to_svg()

    def __str__(self) -> str:
        return self.to_text()


def inspect(
    model: str | ConvNet,
    *,
    image_size: int | Pair | None = None,
    in_channels: int | None = None,
    num_classes: int | None = None,
) -> Summary:
    """Return what a network is made of at one image size: a `Summary` of its stages and layers.

    model         a name of the catalog, or a network, which is left as it is
    image_size    a side in pixels, or (height, width); None: that of the paper
    in_channels   channels of the images; None: the variant's. Not for a network, which has its own
    num_classes   columns of the logits; None: the variant's. Not for a network, which has its own

    Raises UnknownName for an unknown model, and ConfigError for an image size that the network does not take, or if
    channels or classes are given for a network.

    >>> inspect("resnet18").macs
    1814073344
    """
    with cycles_kept():
        name, net, images = meta_net(model, image_size=image_size, in_channels=in_channels, num_classes=num_classes)
        return _summary(name, net, images, paper=find(model).family.paper if isinstance(model, str) else "")


def _summary(name: str, net: ConvNet, images: Tensor, *, paper: str) -> Summary:
    everything = trace(net, images, run=net.training_outputs)
    ops = [op for op in everything if op.module.split(".")[0] in ("trunk", "head")]
    modules, parameters = dict(net.named_modules()), dict(net.named_parameters())
    own = _own_parameters(parameters)
    tensors = [*parameters.values(), *net.buffers()]
    return Summary(
        model=name,
        paper=paper,
        note=net.config.note,
        input=(images.shape[1], images.shape[2], images.shape[3]),
        stages=tuple(_stages(net, ops, own)),
        layers=tuple(_layers(modules, ops, own)),
        parameters=own.total(),
        macs=sum(op.macs for op in ops),
        weight_bytes=sum(t.numel() * t.element_size() for t in tensors),
        activation_bytes=sum(op.bytes_written for op in ops),
        depth=_depth(everything),
        graph=graph_of(modules, everything),
    )


def meta_net(
    model: str | ConvNet, *, image_size: int | Pair | None, in_channels: int | None, num_classes: int | None
) -> tuple[str, ConvNet, Tensor]:
    """Return a model's name, its network in eval mode, and an image (1, C, H, W), both on the meta device.

    The arguments and errors are those of `inspect`.
    """
    if isinstance(model, str):
        name, net = model, create(model, num_classes=num_classes, in_channels=in_channels, device="meta")
    elif in_channels is None and num_classes is None:
        name, net = type(model).__name__, _meta_twin(model)
    else:
        raise ConfigError(
            "in_channels and num_classes cannot change in a network that is already built. Give its name instead."
        )
    height, width = _size(net.config.image_size if image_size is None else image_size)
    return name, net.eval(), torch.empty(1, net.config.in_channels, height, width, device="meta")


def _depth(everything: Sequence[Op]) -> int:
    """How deep the logits are: the last output of the head. Auxiliary heads may run after it."""
    return [depth for op, depth in zip(everything, depths(everything), strict=True) if op.module.startswith("head")][-1]


def _size(size: int | Pair) -> Pair:
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ConfigError(f"Image size must be at least 1x1, got {height}x{width}.")
    return height, width


def _meta_twin(net: ConvNet) -> ConvNet:
    """A copy with the same modules and shapes, and no data."""
    memo: dict[int, Any] = {
        id(p): nn.Parameter(torch.empty(p.shape, dtype=p.dtype, device="meta")) for p in net.parameters()
    }
    memo |= {id(b): torch.empty(b.shape, dtype=b.dtype, device="meta") for b in net.buffers()}
    return copy.deepcopy(net, memo)


def _own_parameters(parameters: Mapping[str, nn.Parameter]) -> Counter[str]:
    """How many parameters each module holds itself, by its path. A shared one counts for the first module."""
    own: Counter[str] = Counter()
    for name, parameter in parameters.items():
        own[name.rpartition(".")[0]] += parameter.numel()
    return own


def _stages(net: ConvNet, ops: Sequence[Op], own: Counter[str]) -> Iterator[Row]:
    """The trunk's stages, the head, and whatever else holds parameters: auxiliary heads, which did not run."""
    ran = {name: list(group) for name, group in groupby(ops, key=lambda op: stage_of(op.module))}
    parameters: Counter[str] = Counter()
    for path, count in own.items():
        parameters[stage_of(path)] += count
    jump: Pair | None = (1, 1)
    for name in [*net.stage_names, "head"]:
        row = _row(name, "", ran[name], parameters.pop(name, 0))
        yield replace(row, stride=(row.jump[0] // jump[0], row.jump[1] // jump[1]) if row.jump and jump else None)
        jump = row.jump
    for name, count in parameters.items():
        yield _row(name, _TRAINING_ONLY, [], count)


def _layers(modules: Mapping[str, nn.Module], ops: Sequence[Op], own: Counter[str]) -> Iterator[Row]:
    """Whatever holds parameters, moves positions or writes memory, in the order of running.

    What a block does outside its layers, such as adding its shortcut, is a row with the block's own name.
    """
    for path, group in groupby(ops, key=lambda op: op.module):
        run = list(group)
        is_layer = not any(modules[path].children())
        kind = type(modules[path]).__name__ if is_layer else "+".join(op.kind for op in run)
        row = _row(path.removeprefix("trunk."), kind, run, own[path] if is_layer else 0)
        if row.parameters or row.stride or row.activation_bytes:
            yield row


def _row(name: str, kind: str, ops: Sequence[Op], parameters: int) -> Row:
    """The row of some operations. Its stride is the product of theirs."""
    strides = [(op.windows[0].stride, op.windows[1].stride) for op in ops if op.windows]
    looks = [op.windows for op in ops if op.windows and (op.macs or op.kind.endswith("pool2d"))]
    fields = ops[-1].fields if ops else None
    return Row(
        name=name,
        kind=kind,
        output=ops[-1].output if ops else (),
        kernels=tuple(sorted({(rows.kernel, columns.kernel) for rows, columns in looks})),
        stride=(math.prod(s[0] for s in strides), math.prod(s[1] for s in strides)) if strides else None,
        parameters=parameters,
        macs=sum(op.macs for op in ops),
        activation_bytes=sum(op.bytes_written for op in ops),
        receptive_field=(fields[0].size, fields[1].size) if fields else None,
        jump=(fields[0].jump, fields[1].jump) if fields else None,
    )


def _table(rows: Sequence[Row], layers: bool) -> list[str]:
    words = ["layer", "kind", "output"] if layers else ["stage", "output"]
    header = [*words, "kernel", "stride", "parameters", "MACs", "MiB", "field", "jump"]
    lines = []
    for row in rows:
        name = f"{row.name}*" if row.kind == _TRAINING_ONLY else row.name
        ran = bool(row.output)
        lines.append([
            *([name, row.kind] if layers else [name]),
            "x".join(map(str, row.output)),
            ",".join(map(sides, row.kernels)),
            sides(row.stride),
            f"{row.parameters:,}" if row.parameters else "",
            human(row.macs) if row.macs else "",
            mebibytes(row.activation_bytes) if ran else "",
            sides(row.receptive_field) or ("all" if ran else ""),
            sides(row.jump),
        ])  # fmt: skip
    return aligned(header, lines, words=len(words))


def _cell(value: object) -> object:
    """A shape, kernel or stride as 64x112x112; several kernels as 1x1,3x3."""
    if value is None:
        return ""
    if not isinstance(value, tuple):
        return value
    if value and isinstance(value[0], tuple):
        return ",".join("x".join(map(str, pair)) for pair in value)
    return "x".join(map(str, value))
