"""What images have in common, and how that divides them: columns -> slices.

The columns are those of a table, and what the images themselves say: size, brightness and sharpness. A text or a few
different numbers make a slice for each value; many different numbers are divided at their quartiles.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from classicnets.data.imageset import ImageSet
from classicnets.errors import BadImage
from classicnets.evaluation.confusion import Ints
from classicnets.evaluation.metrics import Floats
from classicnets.images import as_array, image_size
from classicnets.preprocess import luma
from classicnets.scorer import Values
from classicnets.system.threads import in_threads

FEW = 20
"""A slice with fewer images is counted and not judged."""

_PARTS = 4  # that numbers are divided into
_MOST_NUMBERS = 10  # different numbers that are a slice each
_CHUNK = 2**22  # pixels at a time
_EMPTY = "(empty)"


Members = Mapping[str, Ints]
"""The places of the images of each slice, int64, by its value."""


class Column(NamedTuple):
    """One value for each image: texts, or numbers with NaN for unknown. `is_given` if it comes from a table."""

    name: str
    values: Sequence[str] | Floats
    is_given: bool


class Looks(NamedTuple):
    """What N images look like: their mean grey values, 0..255, and the variances of their Laplacians: float64 (N,)."""

    brightness: Floats
    sharpness: Floats


def measured(images: ImageSet, ids: Sequence[str], looks: Looks) -> Iterator[Column]:
    """The columns of the table, and what the images themselves say.

    Args:
        images: the images.
        ids: which of them were measured, in their order.
        looks: what these look like.
    """
    if ids == images.ids:
        kept = images
    else:
        place = {id: i for i, id in enumerate(images.ids)}
        kept = images.subset([place[id] for id in ids])
    for name, values in kept.columns.items():
        yield Column(name, values, is_given=True)
    if kept.groups is not None:
        yield Column("group", kept.groups, is_given=True)
    if kept.paths is not None:
        sizes = in_threads(partial(_shorter_side, kept), range(len(kept)))
        yield Column("size", np.array(list(sizes), np.float64), is_given=False)
    for name, values in looks._asdict().items():
        yield Column(name, values, is_given=False)


def _shorter_side(images: ImageSet, index: int) -> float:
    assert images.paths is not None
    try:
        return min(image_size(images.paths[index], name=images.ids[index]))
    except BadImage:  # removed since it was packed
        return math.nan


def looks_of(images: Values) -> Looks:
    """Return what images look like: uint8 (N, C, H, W), N 1 or more, as the network sees them."""
    brightness, sharpness = [], []
    pixels = as_array(images)
    rows = max(1, _CHUNK // pixels[0].size)
    for start in range(0, len(pixels), rows):
        some = pixels[start : start + rows]
        grey = luma(some) if some.shape[1] == 3 else some.mean(axis=1, keepdims=True)
        grey = grey.astype(np.float32)
        brightness.append(grey.mean(axis=(1, 2, 3), dtype=np.float64))
        middle = 4 * grey[..., 1:-1, 1:-1]
        across, down = grey[..., 1:-1, :-2] + grey[..., 1:-1, 2:], grey[..., :-2, 1:-1] + grey[..., 2:, 1:-1]
        edges = (middle - across - down).reshape(len(some), -1)
        sharpness.append(edges.var(axis=1, dtype=np.float64) if edges.shape[1] else np.zeros(len(some)))
    return Looks(np.concatenate(brightness), np.concatenate(sharpness))


# ---- from values to slices


def divided(columns: Iterable[Column], left_out: list[str]) -> Iterator[tuple[str, Members]]:
    """The slices of each column that has two or more; `left_out` says why a table's column has none."""
    for column in columns:
        numbers = column.values if isinstance(column.values, np.ndarray) else _numbers(column.values)
        if numbers is not None and len(np.unique(numbers[~np.isnan(numbers)])) > _MOST_NUMBERS:
            members = _by_range(numbers)
        else:
            members = _by_value(_texts(column.values))
            if why := _useless(members):
                if column.is_given:
                    left_out.append(f"{column.name} makes no slices: {why}")
                continue
        if len(members) > 1:
            yield column.name, members


def _numbers(texts: Sequence[str]) -> Floats | None:
    """The texts as numbers, NaN for an empty one; None if one is no finite number."""
    try:
        values = [float(text) if text else math.nan for text in texts]
    except ValueError:
        return None
    is_finite = all(math.isfinite(value) for value, text in zip(values, texts, strict=True) if text)
    return np.array(values, np.float64) if is_finite else None


def _texts(values: Sequence[str] | Floats) -> Sequence[str]:
    return [_short(value) for value in values.tolist()] if isinstance(values, np.ndarray) else values


def _by_value(texts: Sequence[str]) -> Members:
    places: dict[str, list[int]] = {}
    for i, text in enumerate(texts):
        places.setdefault(text or _EMPTY, []).append(i)
    order = sorted(places, key=_in_order)
    return {value: np.array(places[value]) for value in order}


def _in_order(text: str) -> tuple[float, str]:
    """Numbers by size, then texts by the alphabet."""
    try:
        return float(text), text
    except ValueError:
        return math.inf, text


def _by_range(numbers: Floats) -> Members:
    """At most four parts of about the same size, each of 20 or more images if there are so many."""
    known = np.sort(numbers[~np.isnan(numbers)])
    parts = max(1, min(_PARTS, len(known) // FEW))
    shares = np.linspace(0, 1, parts + 1)[1:-1]
    edges = np.unique(known[(shares * (len(known) - 1)).astype(np.int64)])
    edges = edges[edges < known[-1]]
    part = np.where(np.isnan(numbers), -1, np.searchsorted(edges, numbers))
    members = {}
    for i, name in enumerate(_ranges([_short(edge) for edge in edges.tolist()])):
        members[name] = np.flatnonzero(part == i)
    if len(known) < len(numbers):
        members[_EMPTY] = np.flatnonzero(part < 0)
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
