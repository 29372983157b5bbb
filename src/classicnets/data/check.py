"""Find what is wrong with data before a network is trained on it.

`check_data` opens every image once and reports everything; `quick_check` reports what can be said without opening one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from classicnets.data.alike import THUMBNAIL, Alike, Look, Place, find_copies
from classicnets.data.content import digest
from classicnets.data.imageset import Data, ImageSet
from classicnets.data.labels import label_warnings
from classicnets.data.load import divide, read_source
from classicnets.data.sources.given import Given
from classicnets.data.words import counted, listed, problem
from classicnets.errors import BadImage, DataError
from classicnets.images import bit_depth_note, data_bit_depth, image_size, read_bytes, read_image, within_limit
from classicnets.system.threads import in_threads

_IMBALANCE = 10
_FEW_IMAGES = 20


@dataclass(frozen=True)
class DataCheck:
    """What `check_data` found.

    Attributes:
        name, source: as in `Data`.
        split: one sentence on how the parts were made, or "none" if they could not be.
        counts: the number of readable images by part and class.
        sizes: how many readable images have each (height, width); the most frequent first.
        unreadable: the images that cannot be decoded, and why.
        duplicates: images that are equal byte for byte.
        near_duplicates: pairs that look the same.
        notes: how the source was interpreted and what was left out.
        warnings: what is unusual and may be a mistake.
        problems: what must be fixed before the data is trained on or trusted.
    """

    name: str
    source: str
    split: str
    counts: dict[str, dict[str, int]]
    sizes: dict[tuple[int, int], int]
    unreadable: tuple[BadImage, ...]
    duplicates: tuple[Alike, ...]
    near_duplicates: tuple[Alike, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    problems: tuple[str, ...]

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
            "duplicates": [alike.to_dict() for alike in self.duplicates],
            "near_duplicates": [alike.to_dict() for alike in self.near_duplicates],
            "notes": list(self.notes),
            "problems": list(self.problems),
            "warnings": list(self.warnings),
        }


def quick_check(data: Data) -> list[str]:
    """Say what a user should know of `data` without opening an image: its notes, then its warnings.

    The warnings are about imbalance, classes with few or no images in a part, class names that look alike, and files
    that were left out.

    >>> from classicnets.data import load_data
    >>> quick_check(load_data("digits"))
    []
    """
    return [*data.notes, *_warnings(data)]


def check_data(source: str | Path, *, seed: int = 0, progress: Callable[[int, int], None] | None = None) -> DataCheck:
    """Open every image of a source once and report all that is wrong or unusual. No file is changed.

    Args:
        source: as for `load_data`.
        seed: decides the split, if the source does not come with one.
        progress: called after each image with the number of images done and the number of all.

    Raises DataError only if there is nothing to look at: no such source, or no image in it.

    >>> check_data("digits").ok
    True
    """
    given = read_source(source)
    bit_depth = data_bit_depth(given.train.paths)
    looks: list[Look] = []
    unreadable = list(given.missing)
    left: dict[str, ImageSet] = {}
    done, total = 0, sum(map(len, given.parts.values()))
    for part, images in given.parts.items():
        readable_indices = []
        for i, look in enumerate(_looks(images, bit_depth)):
            if isinstance(look, BadImage):
                unreadable.append(look)
            else:
                looks.append(look)
                readable_indices.append(i)
            done += 1
            if progress:
                progress(done, total)
        left[part] = images.subset(readable_indices)
    readable = replace(given, train=left["train"], val=left.get("val"), test=left.get("test"))
    problems = list(given.problems)
    if unreadable:
        problems.append(f"{counted(len(unreadable), 'image')} cannot be read; the first is {unreadable[0]}")
    problems += _empty_classes(given, readable)
    try:
        data = divide(readable, seed=seed)
    except DataError as error:
        problems.append(str(error))
        parts, sentence, notes, warnings = left, "none", given.notes, []
    else:
        parts, sentence, notes, warnings = data.parts, data.split, data.notes, _warnings(data)
    equal, near = find_copies(looks, _places(left, parts))
    problems += _wrong(equal) + _groups_in_two(readable)
    warnings += _worth_knowing(equal, near)
    if depth_note := bit_depth_note(bit_depth):
        notes = (*notes, depth_note)
    return DataCheck(
        name=given.name,
        source=given.source,
        split=sentence,
        counts={part: images.counts() for part, images in parts.items()},
        sizes=dict(Counter(look.size for look in looks).most_common()),
        unreadable=tuple(unreadable),
        duplicates=tuple(equal),
        near_duplicates=tuple(near),
        notes=notes,
        warnings=tuple(warnings),
        problems=tuple(problems),
    )


def _warnings(data: Data) -> list[str]:
    """What is unusual in the classes and the numbers of images, and which files were left out."""
    warnings = label_warnings(data.classes)
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
            warnings.append(f"no {part} images of {listed(absent)}: {part} results say nothing about them")
    if data.skipped:
        warnings.append(f"left out {counted(len(data.skipped), 'unreadable image')}; the first is {data.skipped[0]}")
    if data.ignored:
        warnings.append(f"left out files of another kind among the images: {', '.join(data.ignored)}")
    return warnings


def _looks(images: ImageSet, bit_depth: int) -> Iterator[Look | BadImage]:
    """Open every image once, in order; the values of 16-bit files use `bit_depth` bits."""
    if images.images is not None:
        for rows in images.images.split(256):
            for row, thumbnail in zip(rows, THUMBNAIL.geometry(rows), strict=True):
                yield Look(digest(row.numpy().tobytes()), (row.shape[1], row.shape[2]), thumbnail)
        return
    assert images.paths is not None

    def look(named: tuple[str, Path]) -> Look | BadImage:
        name, path = named
        try:
            data = read_bytes(path, name=name)
            size = image_size(data, name=name)
            image = read_image(data, name=name, reduction=within_limit, bit_depth=bit_depth)
        except BadImage as error:
            return error
        return Look(digest(data), size, THUMBNAIL.geometry(image))

    yield from in_threads(look, list(zip(images.ids, images.paths, strict=True)))


def _places(left: dict[str, ImageSet], parts: dict[str, ImageSet]) -> list[Place]:
    """The place of each image of `left`, in order, in the `parts` that were made of them."""
    part_of = {name: part for part, images in parts.items() for name in images.ids}
    return [
        Place(name, part_of[name], images.classes[label])
        for images in left.values()
        for name, label in zip(images.ids, images.labels.tolist(), strict=True)
    ]


def _empty_classes(given: Given, readable: Given) -> list[str]:
    """The problem of classes that lost all training images: their files are missing or cannot be read."""
    before, after = given.train.counts(), readable.train.counts()
    gone = [name for name, count in after.items() if not count and (before[name] or given.missing)]
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
    """The problem of groups that the user's own split divides."""
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
        warnings.append(f"{counted(more, 'image')} repeated in the same part, byte for byte: {within[0]}")
    crossing = [pair for pair in near if pair.crosses]
    if crossing:
        warnings.append(
            f"{counted(len(crossing), 'pair')} of near-identical images across parts make results look better than "
            f"they are: {crossing[0]}. A `group` column in a table keeps related images in one part"
        )
    if len(near) > len(crossing):
        first = next(pair for pair in near if not pair.crosses)
        warnings.append(f"{counted(len(near) - len(crossing), 'pair')} of near-identical images within a part: {first}")
    return warnings
