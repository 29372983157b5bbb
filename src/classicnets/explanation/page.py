"""The page of `look`: its pictures, made from the numbers of a `NetworkView`."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from classicnets.analysis.receptive_field import Field
from classicnets.analysis.unit import Area, Span
from classicnets.explanation.view import Excitement, NetworkView, PictureMaps, SeenImages, StageUnits
from classicnets.images import thumbnail_uri
from classicnets.reports.canvas import Theme
from classicnets.reports.html import Themed, render, themed
from classicnets.reports.maps import crop_uri, filter_uri, map_uri
from classicnets.reports.plane import class_marks, plane
from classicnets.reports.thumbnails import thumbnail

_MOST_FILTERS = 128
_PICTURE, _CROP = 224, 112  # pixels of the longer side
_PLANES = {"pca": "PCA: the two directions of most variance", "t-sne": "t-SNE: neighbours stay together"}


def look_page(view: NetworkView) -> str:
    """The page as HTML."""
    weights = view.filters.weights
    return render(
        "look.html.j2",
        view=view,
        filters=[filter_uri(one) for one in weights[:_MOST_FILTERS]],
        num_filters=len(weights),
        filter_size="{} × {}".format(*weights.shape[2:]),
        are_filters_colour=view.filters.is_colour,
        pictures=[_picture(picture) for picture in view.pictures],
        stages=[_stage(stage, view.images) for stage in view.units] if view.images else [],
        planes=_planes(view),
        legend=class_marks(_labels(view)),
        num_labels=len(set(_labels(view))),
        num_wrong=sum(_wrong(view)),
    )


def _picture(picture: PictureMaps) -> dict[str, Any]:
    return {
        "path": picture.path,
        "name": Path(picture.path).name if Path(picture.path).suffix else picture.path,
        "predicted": picture.predicted,
        "score": picture.score,
        "image": thumbnail_uri(thumbnail(picture.image, _PICTURE)),
        "stages": [
            {
                "name": stage.stage,
                "size": "{} × {}".format(*stage.maps.shape[1:]),
                "maps": [
                    (channel, _number(float(values.max())), map_uri(values))
                    for channel, values in zip(stage.channels.tolist(), stage.maps, strict=True)
                ],
            }
            for stage in picture.stages
        ],
    }


def _stage(stage: StageUnits, images: SeenImages) -> dict[str, Any]:
    return {
        "name": stage.stage,
        "facts": _facts(stage),
        "units": [
            (
                unit.channel,
                [
                    {
                        "picture": _crop(stage, seen, images),
                        "value": _number(seen.value),
                        "label": images.labels[seen.image],
                        "path": images.paths[seen.image],
                    }
                    for seen in unit.images
                ],
            )
            for unit in stage.units
        ],
    }


def _facts(stage: StageUnits) -> str:
    facts = [f"{stage.channels:,} channels of {stage.size[0]} × {stage.size[1]} positions"]
    if stage.fields is not None:
        facts.append("a position sees {} × {} pixels".format(*(field.size for field in stage.fields)))
    if stage.silent:
        facts.append(f"{stage.silent:,} channels are above 0 nowhere in these images")
    return "; ".join(facts)


def _crop(stage: StageUnits, seen: Excitement, images: SeenImages) -> str:
    image = images.pixels[seen.image]
    size = (image.shape[1], image.shape[2])
    if stage.fields is None:
        return crop_uri(image, Area.whole(size), Area.whole(size), side=_CROP)
    rows, columns = stage.fields
    cell = Area(_middle(rows, seen.row), _middle(columns, seen.column))
    return crop_uri(image, stage.area(seen, size), cell.within(size), side=_CROP)


def _middle(field: Field, position: int) -> Span:
    """The pixels in the middle of what a position sees, as many as there are from one position to the next."""
    first = math.ceil((field.low + field.high + 1 - field.jump) / 2) + position * field.jump
    return Span(first, first + field.jump - 1)


def _planes(view: NetworkView) -> list[tuple[str, Themed]]:
    if view.plane is None:
        return []
    return [(_PLANES[method], themed(partial(_plane, view, method))) for method in view.plane.places]


def _plane(view: NetworkView, method: str, theme: Theme) -> Figure:
    assert view.plane is not None
    assert view.images is not None
    chosen, images = view.plane.images, view.images
    return plane(
        view.plane.places[method],
        _labels(view),
        _wrong(view),
        lambda i: images.pixels[chosen[i]],
        finding=_PLANES[method],
        detail=f"{images.title}; a cross marks a wrong answer",
        theme=theme,
    )


def _labels(view: NetworkView) -> list[str]:
    """The true classes of the images on the plane."""
    return [view.images.labels[i] for i in view.plane.images] if view.images and view.plane else []


def _wrong(view: NetworkView) -> list[bool]:
    """Whether the answers for the images on the plane are wrong."""
    if view.images is None or view.plane is None:
        return []
    return [view.images.labels[i] != view.images.predicted[i] for i in view.plane.images]


def _number(value: float) -> str:
    """Three significant digits, without an exponent if they fit: 0.0123, 4.5, 1230."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"
