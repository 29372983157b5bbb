"""What images have in common, and how that divides them: columns -> slices.

The columns are those of a table, and what the images themselves say: size, brightness and sharpness. A text or a few
different numbers make a slice for each value; many different numbers are divided at their quartiles.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from classicnets.data.imageset import ImageSet
from classicnets.data.pipeline.pack import Packed
from classicnets.errors import BadImage
from classicnets.images import image_size
from classicnets.preprocess import luma
from classicnets.system.threads import in_threads

FEW = 20
"""A slice with fewer images is counted and not judged."""

_PARTS = 4  # that numbers are divided into
_MOST_NUMBERS = 10  # different numbers that are a slice each
_CHUNK = 2**22  # pixels at a time
_EMPTY = "(empty)"


Members = Mapping[str, Tensor]
"""The places of the images of each slice, int64, by its value."""


class Column(NamedTuple):
    """One value for each image: texts, or numbers with NaN for unknown. `is_given` if it comes from a table."""

    name: str
    values: Sequence[str] | Tensor
    is_given: bool


def measured(images: ImageSet, packed: Packed) -> Iterator[Column]:
    """The columns of the table, and what the images themselves say."""
    if packed.ids == images.ids:
        kept = images
    else:
        place = {id: i for i, id in enumerate(images.ids)}
        kept = images.subset([place[id] for id in packed.ids])
    for name, values in kept.columns.items():
        yield Column(name, values, is_given=True)
    if kept.groups is not None:
        yield Column("group", kept.groups, is_given=True)
    if kept.paths is not None:
        sizes = in_threads(partial(_shorter_side, kept), range(len(kept)))
        yield Column("size", torch.tensor(list(sizes), dtype=torch.float64), is_given=False)
    brightness, sharpness = _pixels(packed.images)
    yield Column("brightness", brightness, is_given=False)
    yield Column("sharpness", sharpness, is_given=False)


def _shorter_side(images: ImageSet, index: int) -> float:
    assert images.paths is not None
    try:
        return min(image_size(images.paths[index], name=images.ids[index]))
    except BadImage:  # removed since it was packed
        return math.nan


def _pixels(images: Tensor) -> tuple[Tensor, Tensor]:
    """The mean grey value of each image, 0..255, and the variance of its Laplacian: float64 (N,) each."""
    means, sharpness = [], []
    rows = max(1, _CHUNK // max(1, images[:1].numel()))
    for some in images.split(rows):
        grey = luma(some).float() if some.shape[1] == 3 else some.float().mean(dim=1, keepdim=True)
        means.append(grey.mean(dim=(1, 2, 3)))
        middle = 4 * grey[..., 1:-1, 1:-1]
        across, down = grey[..., 1:-1, :-2] + grey[..., 1:-1, 2:], grey[..., :-2, 1:-1] + grey[..., 2:, 1:-1]
        edges = (middle - across - down).flatten(1)
        sharpness.append(edges.var(dim=1, correction=0) if edges.shape[1] else edges.new_zeros(len(some)))
    return torch.cat(means).double(), torch.cat(sharpness).double()


# ---- from values to slices


def divided(columns: Iterator[Column], left_out: list[str]) -> Iterator[tuple[str, Members]]:
    """The slices of each column that has two or more; `left_out` says why a table's column has none."""
    for column in columns:
        numbers = column.values if isinstance(column.values, Tensor) else _numbers(column.values)
        if numbers is not None and len(numbers[~numbers.isnan()].unique()) > _MOST_NUMBERS:
            members = _by_range(numbers)
        else:
            members = _by_value(_texts(column.values))
            if why := _useless(members):
                if column.is_given:
                    left_out.append(f"{column.name} makes no slices: {why}")
                continue
        if len(members) > 1:
            yield column.name, members


def _numbers(texts: Sequence[str]) -> Tensor | None:
    """The texts as numbers, NaN for an empty one; None if one is no finite number."""
    try:
        values = [float(text) if text else math.nan for text in texts]
    except ValueError:
        return None
    is_finite = all(math.isfinite(value) for value, text in zip(values, texts, strict=True) if text)
    return torch.tensor(values, dtype=torch.float64) if is_finite else None


def _texts(values: Sequence[str] | Tensor) -> Sequence[str]:
    return [_short(value) for value in values.tolist()] if isinstance(values, Tensor) else values


def _by_value(texts: Sequence[str]) -> Members:
    places: dict[str, list[int]] = {}
    for i, text in enumerate(texts):
        places.setdefault(text or _EMPTY, []).append(i)
    order = sorted(places, key=_in_order)
    return {value: torch.tensor(places[value]) for value in order}


def _in_order(text: str) -> tuple[float, str]:
    """Numbers by size, then texts by the alphabet."""
    try:
        return float(text), text
    except ValueError:
        return math.inf, text


def _by_range(numbers: Tensor) -> Members:
    """At most four parts of about the same size, each of 20 or more images if there are so many."""
    known = numbers[~numbers.isnan()]
    parts = max(1, min(_PARTS, len(known) // FEW))
    shares = torch.linspace(0, 1, parts + 1, dtype=torch.float64)[1:-1]
    ordered = known.sort().values
    edges = ordered[(shares * (len(ordered) - 1)).long()].unique()
    edges = edges[edges < ordered[-1]]
    part = torch.bucketize(numbers, edges).where(~numbers.isnan(), -1)
    members = {}
    for i, name in enumerate(_ranges([_short(edge) for edge in edges.tolist()])):
        members[name] = (part == i).nonzero()[:, 0]
    if len(known) < len(numbers):
        members[_EMPTY] = (part < 0).nonzero()[:, 0]
    return members


def _ranges(edges: list[str]) -> list[str]:
    if not edges:
        return ["all"]
    between = [f"{low} to {high}" for low, high in itertools.pairwise(edges)]
    return [f"up to {edges[0]}", *between, f"above {edges[-1]}"]


def _short(number: float) -> str:
    """Three digits or all before the point: 0.0312, 31.2, 31200."""
    return f"{number:.0f}" if abs(number) >= 1000 else f"{number:.3g}"


def _useless(members: Members) -> str:
    """Why these values make no slices; empty if they do."""
    sizes = [len(places) for places in members.values()]
    if len(members) == 1:
        return f"all images have the value {next(iter(members))!r}"
    if len(members) > sum(sizes) / 2:
        return f"it has {len(members):,} different values for {sum(sizes):,} images, nearly one each"
    if max(sizes) < FEW:
        return f"none of its {len(members):,} values has {FEW} images"
    return ""
