"""`NetworkView`: what `look` saw inside a network, as numbers and as a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from classicnets.analysis.trace import Fields
from classicnets.analysis.unit import Area
from classicnets.data.words import counted
from classicnets.explanation.activations import StageMaps
from classicnets.explanation.filters import Filters
from classicnets.system.storage import check_new, written_aside


class PictureMaps(NamedTuple):
    """An image, the classifier's answer, and the strongest channels of the network's stages for it.

    Attributes:
        path: the image's name.
        predicted: the class with the highest probability.
        score: its probability, 0..1.
        image: what the network sees: uint8 (C, H, W).
        stages: the stages in order.
    """

    path: str
    predicted: str
    score: float
    image: Tensor
    stages: tuple[StageMaps, ...]


class Excitement(NamedTuple):
    """An image that excites a unit: which of `NetworkView.images` it is, how much, and where in the stage's output."""

    image: int
    value: float
    row: int
    column: int


class Unit(NamedTuple):
    """A channel of a stage, and the images that excite it most, the highest value first."""

    channel: int
    images: tuple[Excitement, ...]


@dataclass(frozen=True, kw_only=True)
class StageUnits:
    """Units of a stage: its most selective channels.

    Attributes:
        stage: the stage's name.
        channels: how many channels its output has.
        size: (height, width) of its output.
        silent: how many channels are above 0 nowhere in all images. Behind a ReLU, they are dead.
        fields: what a position sees of the image, along rows and columns; None: all of it.
        units: the most selective channels first.
    """

    stage: str
    channels: int
    size: tuple[int, int]
    silent: int
    fields: Fields | None
    units: tuple[Unit, ...]

    def area(self, seen: Excitement, size: tuple[int, int]) -> Area:
        """Return what the excited position sees of an image of that (height, width), without padding."""
        whole = Area.whole(size)
        return whole if self.fields is None else Area.seen(self.fields, seen.row, seen.column).within(size)


@dataclass(frozen=True, kw_only=True)
class SeenImages:
    """The N labelled images that passed through the network.

    Attributes:
        data: their name, such as "digits test", or "".
        paths: their names.
        labels: their classes' names.
        predicted: the answers.
        pixels: uint8 (N, C, H, W), as the network sees them.
        of: how many images they were chosen from.
    """

    data: str
    paths: tuple[str, ...]
    labels: tuple[str, ...]
    predicted: tuple[str, ...]
    pixels: Tensor
    of: int

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def title(self) -> str:
        """Such as "1,000 images of digits test"."""
        return counted(len(self), "image") + (f" of {self.data}" if self.data else "")


class Plane(NamedTuple):
    """Images on a plane: which of `NetworkView.images` they are, and where, by method: float64 (n, 2)."""

    images: tuple[int, ...]
    places: Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class NetworkView:
    """What `look` saw inside a network. `save` writes it as a page, `to_dict` has the numbers.

    Attributes:
        model: the network's name in the catalog.
        classes: the names of the classes.
        filters: those of the first layer.
        pictures: images with their feature maps.
        images: the labelled images that passed, or None.
        units: units of some stages, and which of `images` excite them; empty without images.
        plane: the features that the last layer reads, for `images`, on a plane; None without images.
        notes: what the reader should know, one sentence each.
    """

    model: str
    classes: tuple[str, ...]
    filters: Filters
    pictures: tuple[PictureMaps, ...]
    images: SeenImages | None
    units: tuple[StageUnits, ...]
    plane: Plane | None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, JSON-ready: filters' layer and shape, strongest channels, units, places on the plane."""
        return {
            "model": self.model,
            "notes": list(self.notes),
            "filters": {"layer": self.filters.layer, "shape": list(self.filters.weights.shape)},
            "pictures": [_picture(picture) for picture in self.pictures],
            "images": None
            if self.images is None
            else {"data": self.images.data, "seen": len(self.images), "of": self.images.of},
            "units": [] if self.images is None else [_stage(stage, self.images) for stage in self.units],
            "plane": [] if self.images is None or self.plane is None else _points(self.plane, self.images),
        }

    def to_html(self) -> str:
        """Return the page: one HTML document that needs no other file."""
        from classicnets.explanation.page import look_page  # needs matplotlib

        return look_page(self)

    def save(self, path: str | Path) -> Path:
        """Write the page to a new file, and return its path.

        Raises ConfigError if the file exists, StorageError if it cannot be written.

        >>> look(classifier, "photos/").save("look.html")  # doctest: +SKIP
        PosixPath('look.html')
        """
        path = Path(path)
        check_new(path)
        text = self.to_html()
        with written_aside(path) as new:
            new.write_text(text, "utf-8")
        return path


def _picture(picture: PictureMaps) -> dict[str, Any]:
    stages = [
        {
            "stage": maps.stage,
            "size": list(maps.maps.shape[1:]),
            "channels": [
                {"channel": channel, "peak": float(values.max())}
                for channel, values in zip(maps.channels.tolist(), maps.maps, strict=True)
            ],
        }
        for maps in picture.stages
    ]
    return {"path": picture.path, "predicted": picture.predicted, "score": picture.score, "stages": stages}


def _stage(stage: StageUnits, images: SeenImages) -> dict[str, Any]:
    size = (images.pixels.shape[2], images.pixels.shape[3])
    return {
        "stage": stage.stage,
        "channels": stage.channels,
        "size": list(stage.size),
        "silent": stage.silent,
        "units": [
            {
                "channel": unit.channel,
                "images": [
                    {
                        "path": images.paths[seen.image],
                        "label": images.labels[seen.image],
                        "value": seen.value,
                        "row": seen.row,
                        "column": seen.column,
                        "area": stage.area(seen, size),
                    }
                    for seen in unit.images
                ],
            }
            for unit in stage.units
        ],
    }


def _points(plane: Plane, images: SeenImages) -> list[dict[str, Any]]:
    return [
        {
            "path": images.paths[image],
            "label": images.labels[image],
            "predicted": images.predicted[image],
            **{method: places[i].tolist() for method, places in plane.places.items()},
        }
        for i, image in enumerate(plane.images)
    ]
