"""What one unit of a network sees of the image, and which later units see it: `inspect_unit`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from classicnets.analysis.graph import stage_of
from classicnets.analysis.receptive_field import Window
from classicnets.analysis.summary import Pair, meta_net
from classicnets.analysis.trace import Fields, Op, trace
from classicnets.errors import ConfigError, unknown_name
from classicnets.models.contract import ConvNet


class Span(NamedTuple):
    """Positions from `first` to `last` along one axis, both included. They may lie in the padding, outside the map."""

    first: int
    last: int

    def within(self, size: int) -> Span:
        """Return the part inside a map of `size` positions."""
        return Span(max(0, self.first), min(size - 1, self.last))

    def through(self, window: Window, size: int) -> Span:
        """Return the outputs, of `size`, that see at least one of these positions."""
        first = -(-(self.first + window.padding - window.extent + 1) // window.stride)
        return Span(first, (self.last + window.padding) // window.stride).within(size)


class Area(NamedTuple):
    """A rectangle of positions: spans of rows and columns."""

    rows: Span
    columns: Span

    @classmethod
    def whole(cls, size: Pair) -> Area:
        """Return all positions of a map of (height, width)."""
        return cls(Span(0, size[0] - 1), Span(0, size[1] - 1))

    @classmethod
    def seen(cls, fields: Fields, row: int, column: int) -> Area:
        """Return the pixels that the unit at a row and a column of an output sees, given the output's `fields`."""
        rows, columns = fields
        return cls(
            Span(rows.low + row * rows.jump, rows.high + row * rows.jump),
            Span(columns.low + column * columns.jump, columns.high + column * columns.jump),
        )

    def within(self, size: Pair) -> Area:
        """Return the part inside a map of (height, width) positions."""
        return Area(self.rows.within(size[0]), self.columns.within(size[1]))


@dataclass(frozen=True, kw_only=True)
class UnitFields:
    """A unit of a stage, what it sees and what sees it.

    Attributes:
        model: the network's name.
        image: height and width of the image in pixels.
        stage, channel, position: the unit; `position` is its row and column.
        receptive_field: the pixels that it sees, padding included; None: the whole image.
        projective_field: stage -> the positions of its output that the unit can change, for its own stage and all
            later ones. The head's logits are one position.
        sizes: stage -> height and width of its output.
    """

    model: str
    image: Pair
    stage: str
    channel: int
    position: Pair
    receptive_field: Area | None
    projective_field: Mapping[str, Area]
    sizes: Mapping[str, Pair]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values; a span is [first, last]."""
        return asdict(self)

    def to_text(self) -> str:
        """Return the fields in words, a line per stage."""
        row, column = self.position
        lines = [f"{self.model}: channel {self.channel} of {self.stage} at row {row}, column {column}", ""]
        seen = self.receptive_field
        height, width = self.image
        if seen is None:
            lines.append(f"It sees the whole image of {height}x{width} pixels.")
        else:
            lines.append(f"It sees {_words(seen)} of an image of {height}x{width} pixels.")
            if seen.within(self.image) != seen:
                lines.append("Negative numbers and those beyond the image are padding.")
        lines += ["", "It can change:"]
        longest = max(map(len, self.projective_field))
        for stage, area in self.projective_field.items():
            rows, columns = self.sizes[stage]
            lines.append(f"  {stage:{longest}}  {_words(area)} of {rows}x{columns}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.to_text()


def inspect_unit(
    model: str | ConvNet, stage: str, channel: int, row: int, column: int, *, image_size: int | Pair | None = None
) -> UnitFields:
    """Return what one unit sees of the image (its receptive field), and where its value goes (its projective field).

    Both are bounds that hold for every channel. A channel of one branch of an Inception module, or one that a dense
    block only passes on, sees less.

    Args:
        model: a name of the catalog, or a network, which is left as it is.
        stage: a stage of the trunk, such as "conv3".
        channel: channel of the stage's output, from 0.
        row, column: position in the stage's output, from 0.
        image_size: a side in pixels, or (height, width); None: that of the paper.

    Raises:
        UnknownName: no such model or stage.
        ConfigError: no such channel or position, or the network does not take the image size.

    >>> inspect_unit("vgg11", "conv1", 0, 10, 20).receptive_field
    Area(rows=Span(first=9, last=11), columns=Span(first=19, last=21))
    """
    name, net, images = meta_net(model, image_size=image_size, in_channels=None, num_classes=None)
    ops = trace(net, images)
    last_op = {stage_of(op.module): i for i, op in enumerate(ops)}
    stages = net.stage_names
    if stage not in stages:
        raise unknown_name(f"stage of {name}", stage, stages, next_step=f"Stages: {', '.join(stages)}.")
    start = last_op[stage]
    channels, height, width = ops[start].output
    seen = ops[start].fields
    for what, value, size in (("channel", channel, channels), ("row", row, height), ("column", column, width)):
        if not 0 <= value < size:
            raise ConfigError(f"{what} must be from 0 to {size - 1} in {stage} of {name}, got {value}.")
    reached = _reached(ops, start, Area(Span(row, row), Span(column, column)))
    later = [*stages[stages.index(stage) :], "head"]
    return UnitFields(
        model=name,
        image=(images.shape[2], images.shape[3]),
        stage=stage,
        channel=channel,
        position=(row, column),
        receptive_field=None if seen is None else Area.seen(seen, row, column),
        projective_field={name: reached[last_op[name]] for name in later if last_op[name] in reached},
        sizes={name: _map_size(ops[last_op[name]]) for name in later},
    )


def stage_fields(model: str | ConvNet, *, image_size: int | Pair | None = None) -> dict[str, Fields | None]:
    """Return what the positions of every stage's output see of the image: `Field`s along rows and columns.

    Args:
        model: a name of the catalog, or a network, which is left as it is.
        image_size: a side in pixels, or (height, width); None: that of the paper.

    Returns stage -> fields, for `Area.seen`; None if every position sees the whole image.

    Raises UnknownName for an unknown model, ConfigError for an image size that the network does not take.

    >>> stage_fields("vgg11")["conv1"][0]
    Field(low=-1, high=1, jump=1)
    """
    stages = ((path.split("."), fields) for path, fields in layer_fields(model, image_size=image_size).items())
    return {names[1]: fields for names, fields in stages if names[0] == "trunk" and len(names) == 2}


def layer_fields(model: str | ConvNet, *, image_size: int | Pair | None = None) -> dict[str, Fields | None]:
    """Return what the positions of every module's output see of the image, as `stage_fields` does.

    The keys are the modules' paths, such as "trunk.conv1" and "trunk.conv1.conv". Arguments and errors are those of
    `stage_fields`.

    >>> layer_fields("vgg11")["trunk.conv1.conv1_1.conv"][0].size
    3
    """
    _, net, images = meta_net(model, image_size=image_size, in_channels=None, num_classes=None)
    found: dict[str, Fields | None] = {}
    for op in trace(net, images):
        names = op.module.split(".")
        for length in range(1, len(names) + 1):  # the last operation inside a module makes its output
            found[".".join(names[:length])] = op.fields
    return found


def _words(area: Area) -> str:
    rows, columns = area
    return f"rows {rows.first} to {rows.last} and columns {columns.first} to {columns.last}"


def _reached(ops: list[Op], start: int, area: Area) -> dict[int, Area]:
    """The area of each operation's output that depends on `area` of the output of operation `start`."""
    reached = {start: area}
    for i in range(start + 1, len(ops)):
        before = [reached[source] for source in ops[i].inputs if source in reached]
        if not before:
            continue
        height, width = _map_size(ops[i])
        windows = ops[i].windows
        if ops[i].fields is None:  # every output sees the whole image
            reached[i] = Area(Span(0, height - 1), Span(0, width - 1))
            continue
        rows = Span(min(a.rows.first for a in before), max(a.rows.last for a in before))
        columns = Span(min(a.columns.first for a in before), max(a.columns.last for a in before))
        if windows:
            rows, columns = rows.through(windows[0], height), columns.through(windows[1], width)
        if rows.first <= rows.last and columns.first <= columns.last:
            reached[i] = Area(rows, columns)
    return reached


def _map_size(op: Op) -> Pair:
    """Height and width of an output; features without positions count as one."""
    return (op.output[1], op.output[2]) if len(op.output) == 3 else (1, 1)
