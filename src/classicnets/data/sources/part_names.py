"""The names that users give to the parts of their data: "train", "Test set", "seg_train", "images_val", "train2017"."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

PART_WORDS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val", "eval": "val", "evaluation": "val",
    "test": "test", "testing": "test", "holdout": "test",
}  # fmt: skip
"""The words for a part, and the part that each one means."""

_FILLERS = frozenset(
    ("set", "data", "dataset", "split", "folder", "files", "image", "images", "img", "imgs", "photo", "photos")
)
_GLUED = re.compile(rf"\b({'|'.join(PART_WORDS)})(set|data|images|split)\b")


class PartName(NamedTuple):
    """What the name of a part says: `part` is train, val or test; `rest` has the words that say something else.

    >>> part_name("Training set"), part_name("seg_train")
    (PartName(part='train', rest=()), PartName(part='train', rest=('seg',)))
    """

    part: str
    rest: tuple[str, ...]


@lru_cache(maxsize=256)
def part_name(name: str) -> PartName | None:
    """Read the name of a part, whatever its case and separators; None if it does not name exactly one part."""
    words = words_of(name)
    parts = [PART_WORDS[word] for word in words if word in PART_WORDS]
    if len(parts) != 1:
        return None
    return PartName(parts[0], tuple(word for word in words if word not in PART_WORDS and word not in _FILLERS))


def plain_part(name: str) -> str | None:
    """The part that `name` names with no words of another meaning, or None: "Test set" is test, "seg_test" is not."""
    found = part_name(name)
    return found.part if found and not found.rest else None


def names_by_part(names: Iterable[str]) -> dict[str, list[str]]:
    """Sort the names of one split by part. Names that do not belong to the split are left out.

    A plain name always counts. A name with other words, such as seg_train or "training dog", counts only if the same
    words stand beside train and beside another part: seg_train and seg_test.
    """
    splits: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for name in names:
        if found := part_name(name):
            splits.setdefault(found.rest, {}).setdefault(found.part, []).append(name)
    plain = splits.pop((), {})
    if "train" in plain:
        return plain
    pairs = [split for split in splits.values() if "train" in split and len(split) > 1]
    return pairs[0] if pairs else plain


def same_words(outer: str, inner: str) -> bool:
    """Whether two names differ at most in case and separators."""
    return words_of(outer) == words_of(inner)


def same_meaning(outer: str, inner: str) -> bool:
    """Whether a folder `inner`, alone in a part's folder `outer`, adds nothing: seg_train/seg_train, train/images."""
    outside, inside = part_name(outer), part_name(inner)
    if outside and inside:
        return outside.part == inside.part
    return same_words(outer, inner) or all(word in _FILLERS for word in words_of(inner))


def words_of(name: str) -> list[str]:
    """The words of a name in lower case: "TestSet", "test-set" and "test_set" are all test, set."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z0-9])", " ", name)
    text = " ".join(re.findall(r"[^\W_]+", spaced.casefold())).replace("hold out", "holdout")
    return _GLUED.sub(r"\1 \2", text).split()
