"""What is wrong with data, found before a network has to suffer from it.

`check_data` opens every image once and looks at all there is; `quick_check` is the part of it that costs nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from classicnets.data.alike import THUMBNAIL, near_pairs
from classicnets.data.content import digest
from classicnets.data.imageset import Data, ImageSet
from classicnets.data.load import divide, read_source
from classicnets.data.sources.given import Given, counted, listed, problem
from classicnets.errors import BadImage, DataError
from classicnets.images import read_bytes, read_image
from classicnets.system.threads import in_threads

_IMBALANCE = 10
_FEW_IMAGES = 20


@dataclass(frozen=True)
class Alike:
    """Two or more images that are the same: where each is, and what it is said to be."""

    ids: tuple[str, ...]
    parts: tuple[str, ...]
    labels: tuple[str, ...]

    @property
    def crosses(self) -> bool:
        """Whether they lie in different parts, so that one is learned and the other measured with."""
        return len(set(self.parts)) > 1

    @property
    def contradicts(self) -> bool:
        """Whether they have different labels."""
        return len(set(self.labels)) > 1

    def __str__(self) -> str:
        return " and ".join(
            f"{name} ({part}, {label})" for name, part, label in zip(self.ids, self.parts, self.labels, strict=True)
        )


@dataclass(frozen=True)
class DataCheck:
    """What `check_data` found.

    Attributes:
        counts: the number of readable images by part and class.
        sizes: (height, width) of every readable image, with how many have it; the most frequent first.
        unreadable: the images that cannot be decoded, and why.
        duplicates: images that are the same byte for byte.
        near_duplicates: pairs that look the same.
        problems: what must be mended before the data is trained on or believed.
        warnings: what is worth knowing.
    """

    name: str
    source: str
    split: str
    counts: dict[str, dict[str, int]]
    sizes: dict[tuple[int, int], int]
    unreadable: tuple[BadImage, ...]
    duplicates: tuple[Alike, ...]
    near_duplicates: tuple[Alike, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def num_images(self) -> int:
        """How many images can be read."""
        return sum(sum(classes.values()) for classes in self.counts.values())

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """All of it, JSON-ready."""
        return {
            "name": self.name,
            "source": self.source,
            "ok": self.ok,
            "num_images": self.num_images,
            "split": self.split,
            "counts": self.counts,
            "sizes": [{"height": h, "width": w, "images": count} for (h, w), count in self.sizes.items()],
            "unreadable": [{"path": image.name, "reason": image.reason} for image in self.unreadable],
            "duplicates": [_alike_dict(alike) for alike in self.duplicates],
            "near_duplicates": [_alike_dict(alike) for alike in self.near_duplicates],
            "problems": list(self.problems),
            "warnings": list(self.warnings),
        }


def quick_check(data: Data) -> list[str]:
    """Warnings that need no image to be opened: imbalance, classes with few images or absent from a part."""
    warnings = []
    counts = {name: count for name, count in data.train.counts().items() if count}
    least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    if counts[most] >= _IMBALANCE * counts[least]:
        warnings.append(
            f"the classes are unbalanced: {counts[most]:,} training images of {most!r}, {counts[least]:,} of "
            f"{least!r}; look at the accuracy of each class, not at the mean alone, and try --set data.balance=sample "
            f"(each class is shown equally often) or =loss (a rare image counts for more)"
        )
    few = [name for name, count in counts.items() if count < _FEW_IMAGES]
    if few:
        warnings.append(f"fewer than {_FEW_IMAGES} training images of {listed(few)}")
    for part, images in data.parts.items():
        absent = [name for name, count in images.counts().items() if name in counts and not count]
        if absent:
            warnings.append(f"no {part} image of {listed(absent)}: how well it is recognised cannot be told")
    if data.skipped:
        warnings.append(
            f"{counted(len(data.skipped), 'image')} cannot be read, and left out; the first is {data.skipped[0]}"
        )
    if data.ignored:
        warnings.append(f"files among the images that are of another kind, and left out: {', '.join(data.ignored)}")
    return warnings


def check_data(source: str | Path, *, seed: int = 0, progress: Callable[[int, int], None] | None = None) -> DataCheck:
    """Open every image of a source once and report on all of it. `seed` is for the split, where one has to be made.

    Raises DataError only where there is nothing to look at: no such source, no image in it.
    """
    given = read_source(source)
    seen: dict[str, list[_Look]] = {}
    unreadable = list(given.missing)
    left: dict[str, ImageSet] = {}
    done, total = 0, sum(map(len, given.parts.values()))
    for part, images in given.parts.items():
        looks: dict[int, _Look] = {}
        for i, look in enumerate(_looks(images)):
            if isinstance(look, BadImage):
                unreadable.append(look)
            else:
                looks[i] = look
            done += 1
            if progress:
                progress(done, total)
        seen[part] = list(looks.values())
        left[part] = images.subset(list(looks))
    readable = replace(given, train=left["train"], val=left.get("val"), test=left.get("test"))
    problems = list(given.problems)
    problems += (
        [f"{counted(len(unreadable), 'image')} cannot be read; the first is {unreadable[0]}"] if unreadable else []
    )
    problems += _empty_classes(given, readable)
    try:
        data = divide(readable, seed=seed)
    except DataError as error:
        problems.append(str(error))
        parts, sentence, warnings = left, "none", []
    else:
        parts, sentence, warnings = data.parts, data.split, quick_check(data)
    looks_in_order = [look for some in seen.values() for look in some]
    duplicates, near = _alike(looks_in_order, _places(left, parts))
    problems += _wrong(duplicates) + _groups_in_two(readable)
    warnings += _worth_knowing(duplicates, near)
    return DataCheck(
        name=given.name,
        source=given.source,
        split=sentence,
        counts={part: images.counts() for part, images in parts.items()},
        sizes=dict(Counter(look.size for look in looks_in_order).most_common()),
        unreadable=tuple(unreadable),
        duplicates=tuple(duplicates),
        near_duplicates=tuple(near),
        problems=tuple(problems),
        warnings=tuple(warnings),
    )


class _Look(NamedTuple):
    """What is kept of an image: of its bytes, its (height, width), its thumbnail uint8 (1, 16, 18)."""

    digest: bytes
    size: tuple[int, int]
    thumbnail: Tensor


class _Place(NamedTuple):
    id: str
    part: str
    label: str


def _looks(images: ImageSet) -> Iterator[_Look | BadImage]:
    """Every image looked at once, in order."""
    if images.images is not None:
        for rows in images.images.split(256):
            for row, thumbnail in zip(rows, THUMBNAIL.geometry(rows), strict=True):
                yield _Look(digest(row.numpy().tobytes()), (row.shape[1], row.shape[2]), thumbnail)
        return
    assert images.paths is not None

    def look(named: tuple[str, Path]) -> _Look | BadImage:
        name, path = named
        try:
            data = read_bytes(path, name=name)
            image = read_image(data, name=name)
        except BadImage as error:
            return error
        return _Look(digest(data), (image.shape[1], image.shape[2]), THUMBNAIL.geometry(image))

    yield from in_threads(look, list(zip(images.ids, images.paths, strict=True)))


def _places(left: dict[str, ImageSet], parts: dict[str, ImageSet]) -> list[_Place]:
    """Where each image of `left` is, in order, by the parts that were made of them."""
    part_of = {name: part for part, images in parts.items() for name in images.ids}
    return [
        _Place(name, part_of[name], images.classes[label])
        for images in left.values()
        for name, label in zip(images.ids, images.labels.tolist(), strict=True)
    ]


def _alike(looks: Sequence[_Look], places: Sequence[_Place]) -> tuple[list[Alike], list[Alike]]:
    """The images that are equal byte for byte, and the pairs of others that look the same; those across parts first."""
    same: dict[bytes, list[int]] = defaultdict(list)
    for i, look in enumerate(looks):
        same[look.digest].append(i)
    duplicates = [_alike_of(indices, places) for indices in same.values() if len(indices) > 1]
    single = [indices[0] for indices in same.values()]
    pairs = near_pairs(torch.stack([looks[i].thumbnail for i in single])) if single else []
    near = [_alike_of((single[i], single[j]), places) for i, j in pairs]
    duplicates.sort(key=lambda alike: not alike.crosses)
    near.sort(key=lambda alike: not alike.crosses)
    return duplicates, near


def _alike_of(indices: Sequence[int], places: Sequence[_Place]) -> Alike:
    ids, parts, labels = zip(*(places[i] for i in indices), strict=True)
    return Alike(ids, parts, labels)


def _alike_dict(alike: Alike) -> dict[str, Any]:
    images = zip(alike.ids, alike.parts, alike.labels, strict=True)
    return {
        "images": [{"path": name, "part": part, "label": label} for name, part, label in images],
        "crosses": alike.crosses,
        "contradicts": alike.contradicts,
    }


def _empty_classes(given: Given, readable: Given) -> list[str]:
    before, after = given.train.counts(), readable.train.counts()
    gone = [name for name, count in after.items() if before[name] and not count]
    return [f"no training image of {listed(gone)} can be read"] if gone else []


def _wrong(duplicates: Sequence[Alike]) -> list[str]:
    crossing = [alike for alike in duplicates if alike.crosses]
    contradicting = [alike for alike in duplicates if alike.contradicts]
    problems = []
    if crossing:
        problems.append(f"{counted(len(crossing), 'image')} in two parts, byte for byte: {crossing[0]}")
    if contradicting:
        problems.append(f"{counted(len(contradicting), 'image')} with two labels, byte for byte: {contradicting[0]}")
    return problems


def _groups_in_two(given: Given) -> list[str]:
    """The groups that the user's own split cuts through."""
    parts_of: dict[str, set[str]] = defaultdict(set)
    for part, images in given.parts.items():
        for group in images.groups or ():
            parts_of[group].add(part)
    cut = sorted(group for group, parts in parts_of.items() if len(parts) > 1)
    return problem(f"{counted(len(cut), 'group')} in two parts", cut)


def _worth_knowing(duplicates: Sequence[Alike], near: Sequence[Alike]) -> list[str]:
    warnings = []
    within = [alike for alike in duplicates if not (alike.crosses or alike.contradicts)]
    if within:
        more = sum(len(alike.ids) - 1 for alike in within)
        warnings.append(f"{counted(more, 'image')} there already in the same part, byte for byte: {within[0]}")
    crossing = [pair for pair in near if pair.crosses]
    if crossing:
        warnings.append(
            f"{counted(len(crossing), 'pair')} of near-identical images across parts, so that results look better than "
            f"they are: {crossing[0]}. A `group` column in a table keeps together what belongs together"
        )
    if len(near) > len(crossing):
        first = next(pair for pair in near if not pair.crosses)
        warnings.append(f"{counted(len(near) - len(crossing), 'pair')} of near-identical images within a part: {first}")
    return warnings
