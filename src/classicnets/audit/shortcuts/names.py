"""Clues in the names of files: words, numbers, and the order that the names give. Class folders say nothing here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from classicnets.audit.shortcuts.clue import Clue, Feature, flags, varies

_TOKEN = re.compile(r"[^\W\d_]+|\d+")
_CLASS = "\0"  # stands for the class's own name in a file's name
_CONVENTION = 0.5  # the share of a class's names that hold the class's name, from which this is how files are called
_FROM_START = 0.1  # a class whose lowest number is within this share of its highest counts from the start
_FEW = 3.0  # ... or within what the lowest of few images is by chance
_SPARSE = 20  # numbers that count reach at most so many times the number of images
_WORDS = 25
_SOURCES = (
    "A network does not see names, but the classes seem to come from different sources: find out what else differs "
    "between these, such as camera, background or resolution."
)


class NameClues(NamedTuple):
    """The clues, and one sentence for each thing that was left out of them."""

    clues: list[Clue]
    notes: list[str]


def name_clues(ids: Sequence[str], labels: np.ndarray, classes: Sequence[str]) -> NameClues:
    """Return what the names of files say: "file name", "numbering" and "folder inside the class".

    Args:
        ids: the path of each image, with "/" between folders.
        labels: int64 (N,).
        classes: the name of each class.
    """
    paths = [PurePosixPath(id) for id in ids]
    stems, masked = _without_classes([path.stem for path in paths], labels, classes)
    notes = []
    if masked:
        total = len(np.unique(labels))
        notes.append(f"file names of {masked} of {total} classes hold the name of the class, which was left out")
    found = [_words(stems, [path.suffix for path in paths])]
    numbers = np.array([_last_number(stem) for stem in stems])
    if _counts_in_each_class(numbers, labels):
        notes.append(
            "the files of each class are numbered from the start, so their numbers and their order were left out"
        )
    else:
        found.append(_numbering(stems, numbers))
    found.append(_folders(paths, [classes[label] for label in labels]))
    return NameClues([clue for clue in found if clue.features], notes)


def _words(stems: list[str], suffixes: list[str]) -> Clue:
    """The words of the names, and how they are written."""
    tokens = [[token.casefold() for token in _TOKEN.findall(stem) if not token.isdigit()] for stem in stems]
    counts = Counter(token for some in tokens for token in set(some))
    features = [
        Feature("length of the file name", np.array([float(len(stem)) for stem in stems]), "characters"),
        Feature("digits in the file name", np.array([float(sum(map(str.isdigit, stem))) for stem in stems])),
        Feature("capitals in the file name", np.array([float(sum(map(str.isupper, stem))) for stem in stems])),
        Feature("parts of the file name", np.array([float(len(_TOKEN.findall(stem))) for stem in stems])),
        *flags("the file name ends with {}", suffixes),
    ]
    for word, number in counts.most_common(_WORDS):
        if number > 1:
            has = np.array([float(word in some) for some in tokens])
            features.append(Feature(f"the file name holds {word!r}", has, is_flag=True))
    return Clue("file name", "file", False, varies(features), _SOURCES)


def _numbering(stems: list[str], numbers: np.ndarray) -> Clue:
    """The last number in a name, and the place of the name among all names, whatever folder they are in."""
    keys = [_natural(stem) for stem in stems]
    rank = {key: place for place, key in enumerate(sorted(set(keys)))}
    order = np.array([float(rank[key]) for key in keys])
    features = [Feature("number in the file name", numbers), Feature("place in the order of all file names", order)]
    return Clue(
        "numbering", "file", False, varies(features),
        "A network does not see numbers, but the classes were collected one after the other: light, camera and "
        "background may have changed with them. Test on images of another day, and mix the classes when you collect.",
    )  # fmt: skip


def _folders(paths: list[PurePosixPath], labels: list[str]) -> Clue:
    """The folders between that of the class and the file."""
    inner = ["/".join(_below(path.parts[:-1], label)) for path, label in zip(paths, labels, strict=True)]
    owner: dict[str, set[str]] = {}
    for folder, label in zip(inner, labels, strict=True):
        owner.setdefault(folder, set()).add(label)
    is_class = len(owner) == len(set(labels)) and all(len(some) == 1 for some in owner.values())
    features = [] if is_class or len(owner) < 2 else flags("the folder is {}", inner)
    return Clue("folder inside the class", "file", False, varies(features), _SOURCES)


def _below(folders: Sequence[str], label: str) -> Sequence[str]:
    """The folders below that of the class; all of them if none has the class's name."""
    last = max((i for i, folder in enumerate(folders) if folder == label), default=-1)
    return folders[last + 1 :]


def _without_classes(stems: list[str], labels: np.ndarray, classes: Sequence[str]) -> tuple[list[str], int]:
    """Take the class's own name out of the names of files, in classes that call their files so; and their number."""
    stems = list(stems)
    masked = 0
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        pattern = _own_name(classes[label])
        without = {i: pattern.sub(_CLASS, stems[i], count=1) for i in own.tolist()}
        if sum(_CLASS in stem for stem in without.values()) >= _CONVENTION * len(own):
            masked += 1
            for i, stem in without.items():
                stems[i] = stem
    return stems, masked


def _own_name(name: str) -> re.Pattern[str]:
    """Finds a class's name in a file's name, however its words are joined; "cat" for "cats"; a number as a whole."""
    tokens = _TOKEN.findall(name.removesuffix("s") if len(name) > 3 else name) or [name]
    end = r"(?!\d)" if name.isdigit() else ""
    return re.compile(r"(?<![^\W_])" + r"[\W_]*".join(map(re.escape, tokens)) + end, re.IGNORECASE)


def _counts_in_each_class(numbers: np.ndarray, labels: np.ndarray) -> bool:
    """Whether nearly every class has numbers that begin near the first, as they do if files are numbered in a class.

    Such a number says only how many images a class has.
    """
    counts = []
    for label in np.unique(labels):
        all_own = numbers[labels == label]
        own = all_own[np.isfinite(all_own)]
        is_number = len(own) >= 0.9 * len(all_own) and own.max() <= _SPARSE * len(own)
        counts.append(is_number and own.min() <= own.max() * max(_FROM_START, _FEW / len(own)))
    return float(np.mean(counts)) >= 0.8


def _last_number(stem: str) -> float:
    numbers = re.findall(r"\d{1,15}", stem)
    return float(numbers[-1]) if numbers else float("nan")


def _natural(stem: str) -> tuple[tuple[bool, int, str], ...]:
    """A key that sorts img9 before img10."""
    return tuple((not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in _TOKEN.findall(stem))
