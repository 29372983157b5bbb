"""What one unit of a network computes for an image, and how the answer moves without it: `Units`.

A unit is a channel of a stage's output at a row and a column. Its value is followed back, operation by operation, to
the convolution or the pooling that made it:

    patch x kernel, summed over the input's channels, + bias -> batch norm -> + shortcut -> activation -> value

Nothing here knows the blocks of a family, and no module gets a hook: see `recording`. Several threads may ask about
one network at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from classicnets.analysis.trace import Fields
from classicnets.analysis.unit import Area, layer_fields
from classicnets.classifier import Classifier, averaged, evaluating
from classicnets.errors import ConfigError
from classicnets.explanation.recording import Operation, Recorder
from classicnets.explanation.stages import check_stage
from classicnets.explanation.window import POOLS, Convolved, Pooled, convolved, pooled
from classicnets.weights.structure import network_of


class Place(NamedTuple):
    """A unit: a channel of a stage's output, from 0, at a row and a column of it, from 0."""

    stage: str
    channel: int
    row: int
    column: int


class Stage(NamedTuple):
    """A stage, the size of its output, and how many pixels (height, width) a position sees; None: the whole image."""

    name: str
    channels: int
    height: int
    width: int
    sees: tuple[int, int] | None


class Step(NamedTuple):
    """An operation between a convolution or a pooling and the unit's value.

    Attributes:
        kind: "batch norm", "shortcut", "local response norm", "relu" or "tanh".
        value: the value after it.
        factor: what a norm multiplies the value by; None for the others.
        added: what a batch norm or a shortcut then adds; None for the others.
    """

    kind: str
    value: float
    factor: float | None = None
    added: float | None = None


@dataclass(frozen=True, kw_only=True)
class UnitValue:
    """How a unit's value comes about.

    Attributes:
        place: the unit.
        value: its value, as the network computed it.
        source: the convolution or the pooling that it comes from.
        steps: what happens to the source's total, in order. Without steps, the total is the value.
        stage: the stage of the source: an earlier one if the unit's own stage only normalises or passes on.
        area: the pixels of the image that the unit sees, without padding; None: the whole image.
    """

    place: Place
    value: float
    source: Convolved | Pooled
    steps: tuple[Step, ...]
    stage: str
    area: Area | None

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, JSON-ready. "area" is [[first row, last row], [first column, last column]]."""
        return {
            **self.place._asdict(),
            "value": self.value,
            "source": {**self.source.to_dict(), "stage": self.stage},
            "steps": [step._asdict() for step in self.steps],
            "area": self.area,
        }


class Without(NamedTuple):
    """The answer of the whole network, and that without a unit or a channel: probabilities, float32 (K,) each."""

    before: Tensor
    after: Tensor


class _Found(NamedTuple):
    """Where the way back stands: the channel, and the operation that made it; None: it is an input of the stage."""

    channel: int
    operation: Operation | None


class Units:
    """The units of a classifier's network. The classifier is left as it was; several threads may ask at once.

    Images are uint8 (C, H, W), as `classifier.preprocess.read` makes them. Methods raise UnknownName for a stage that
    does not exist, and ConfigError for a channel, a row or a column that does not.

    Args:
        classifier: the classifier, with its network.

    >>> Units(classifier).value(image, Place("conv1", 0, 5, 7)).value  # doctest: +SKIP
    0.41
    """

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self._network = network_of(classifier.model)
        self._stages = dict(self._network.trunk.named_children())
        self._fields = layer_fields(self._network, image_size=classifier.preprocess.input_size)
        self._layers = {id(m.weight): name for name, m in self._network.named_modules() if isinstance(m, nn.Conv2d)}

    def stages(self, image: Tensor) -> list[Stage]:
        """Return the stages of the network, in order, with the sizes of their outputs for an image."""
        with evaluating(self.classifier.model):
            outputs = self._network.features(self._views(image)[:1])
        return [
            Stage(name, x.shape[1], x.shape[2], x.shape[3], _sees(self._fields[f"trunk.{name}"]))
            for name, x in outputs.items()
        ]

    def value(self, image: Tensor, place: Place, *, most: int = 4) -> UnitValue:
        """Return how a unit's value comes about.

        Args:
            image: the image. With `tta="flip"`, its mirror image is not looked at.
            place: the unit.
            most: how many channels of a convolution's input are listed, 1 or more: those that add most to the sum.
        """
        check_stage(self._network, place.stage)
        steps: list[Step] = []
        channel, source, value = place.channel, None, 0.0
        with evaluating(self.classifier.model):
            inputs = self._inputs(self._views(image)[:1], place.stage)
            for stage in reversed(inputs):
                with Recorder() as recorder:
                    output: Tensor = self._stages[stage](inputs[stage])
                if stage == place.stage:
                    _check(place, output)
                    value = float(output[0, channel, place.row, place.column])
                found = _Found(channel, recorder.maker(output))
                while found.operation is not None and source is None:
                    source = self._source(found, place, most)
                    if source is None:
                        found = _before(found, place, recorder, steps)
                channel = found.channel
                if source is not None:
                    break
        assert source is not None, "the first stage begins with a convolution"
        return UnitValue(
            place=place, value=value, source=source, steps=tuple(reversed(steps)), stage=stage,
            area=self._area(place, stage, source, steps),
        )  # fmt: skip

    def without(self, image: Tensor, stage: str, channel: int, at: tuple[int, int] | None = None) -> Without:
        """Return the answer with a channel of a stage's output set to 0, everywhere or at one position.

        Args:
            image: the image.
            stage, channel: the channel.
            at: a (row, column) of it, or None for all of them. With `tta="flip"` the mirror image loses the position
                that lies opposite.
        """
        check_stage(self._network, stage)
        with evaluating(self.classifier.model):
            views = self._views(image)
            x = views
            for name, module in self._stages.items():
                x = module(x)
                if name == stage:
                    _check(Place(stage, channel, *(at or (0, 0))), x)
                    x = torch.cat([x, _silenced(x, channel, at)])
            logits = self._network.head(x).float()
            before, after = (averaged(list(half.split(1))) for half in logits.split(len(views)))
            probabilities = self.classifier.card.probabilities
            return Without(probabilities(before)[0].cpu(), probabilities(after)[0].cpu())

    def _views(self, image: Tensor) -> Tensor:
        """What the network sees of the image: (1, C, H, W), with `tta="flip"` (2, C, H, W)."""
        weight = next(self._network.parameters())
        return torch.cat(self.classifier.views(image[None].to(weight.device))).to(weight.dtype)

    def _inputs(self, x: Tensor, stage: str) -> dict[str, Tensor]:
        """The inputs of the stages up to `stage`, by their names, in order."""
        inputs = {}
        for name, module in self._stages.items():
            inputs[name] = x
            if name == stage:
                break
            x = module(x)
        return inputs

    def _source(self, found: _Found, place: Place, most: int) -> Convolved | Pooled | None:
        """The numbers of a convolution or a pooling; None for another operation."""
        operation = found.operation
        assert operation is not None
        if operation.name == "conv2d":
            layer = self._layers[id(operation.args[1])]
            return convolved(operation, layer, found.channel, place.row, place.column, most=most)
        return pooled(operation, found.channel, place.row, place.column) if operation.name in POOLS else None

    def _area(self, place: Place, stage: str, source: Convolved | Pooled, steps: list[Step]) -> Area | None:
        """What the unit sees of the image. A convolution in a branch of its own sees less than its stage."""
        alone = isinstance(source, Convolved) and not any(step.kind == "shortcut" for step in steps)
        layer = source.layer if alone and isinstance(source, Convolved) else f"trunk.{stage}"
        if (fields := self._fields[layer]) is None:
            return None
        return Area.seen(fields, place.row, place.column).within(self.classifier.preprocess.input_size)


def _sees(fields: Fields | None) -> tuple[int, int] | None:
    return None if fields is None else (fields[0].size, fields[1].size)


def _before(found: _Found, place: Place, recorder: Recorder, steps: list[Step]) -> _Found:
    """Go back over an operation that keeps positions, and add it to `steps` if it changes the value."""
    operation, channel = found.operation, found.channel
    assert operation is not None
    name, args = operation.name, operation.args

    def at(tensor: Tensor) -> float:
        return float(tensor[0, channel, place.row, place.column])

    value = at(operation.output)
    if name in ("relu", "tanh"):
        steps.append(Step(name, value))
    elif name == "batch_norm":
        weight, bias, mean, variance = (values[channel].double() for values in args[1:5])
        factor = weight / (variance + args[7]).sqrt()
        steps.append(Step("batch norm", value, float(factor), float(bias - mean * factor)))
    elif name == "add":
        steps.append(Step("shortcut", value, added=at(args[1])))
    elif name == "mul":
        steps.append(Step("local response norm", value, factor=at(args[1])))
    elif name == "cat":
        for part in args[0]:
            if channel < part.shape[1]:
                return _Found(channel, recorder.maker(part))
            channel -= part.shape[1]
    else:
        assert name in ("alias", "detach", "dropout"), name
    return _Found(channel, recorder.maker(args[0]))


def _silenced(output: Tensor, channel: int, at: tuple[int, int] | None) -> Tensor:
    """A stage's output with a channel at 0, everywhere or at a position; the second view is mirrored."""
    output = output.clone()
    if at is None:
        output[:, channel] = 0
        return output
    row, column = at
    output[0, channel, row, column] = 0
    output[1:, channel, row, output.shape[3] - 1 - column] = 0
    return output


def _check(place: Place, output: Tensor) -> None:
    """Raise ConfigError unless a stage's output has the unit."""
    for what, value, size in zip(("channel", "row", "column"), place[1:], output.shape[1:], strict=True):
        if not 0 <= value < size:
            raise ConfigError(f"The {what} must be from 0 to {size - 1} in {place.stage}, got {value}.")
