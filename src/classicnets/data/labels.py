"""What the names of classes say: that they are measured numbers, several labels in one, or two spellings of one."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from decimal import Decimal

from classicnets.data.words import listed

_MANY_NUMBERS = 20  # a scale of marks in halves, 0 to 10, is within this
_NUMBER = re.compile(r"[+-]?\d+([.,]\d*)?([eE][+-]?\d{1,2})?")
_SEPARATORS = "|;,"


def label_problems(classes: Sequence[str]) -> list[str]:
    """Why these classes cannot be meant as classes, one sentence each."""
    numbers = _numbers(classes)
    if len(numbers) > _MANY_NUMBERS and any(number != number.to_integral_value() for number in numbers):
        return [
            f"the labels are numbers, {len(numbers):,} of them from {min(numbers)} to {max(numbers)}. classicnets "
            f"classifies, it does not predict numbers: put them into ranges first, such as low, middle and high"
        ]
    return _several_in_one(classes)


def label_warnings(classes: Sequence[str]) -> list[str]:
    """What is unusual in these classes, one sentence each."""
    warnings = []
    spellings = defaultdict(list)
    for name in classes:
        spellings[spelling(name)].append(name)
    same = [" and ".join(map(repr, names)) for names in spellings.values() if len(names) > 1]
    if same:
        more = f" and {len(same) - 10:,} more" if len(same) > 10 else ""
        warnings.append(
            f"classes that differ only in case, spaces or the way a number is written: {'; '.join(same[:10])}{more}. "
            f"Each is a class of its own; if they mean the same, give them the same name"
        )
    numbers = _numbers(classes)
    if len(numbers) > _MANY_NUMBERS and not _are_indices(numbers):
        warnings.append(
            f"the labels are numbers, {len(numbers):,} of them from {min(numbers)} to {max(numbers)}, and each is a "
            f"class of its own; if they measure something, such as an age, put them into ranges first"
        )
    return warnings


def _numbers(classes: Sequence[str]) -> set[Decimal]:
    """The numbers that the classes are named after; empty if any has another name."""
    if not all(_NUMBER.fullmatch(name) for name in classes):
        return set()
    return {Decimal(name.replace(",", ".")) for name in classes}


def _are_indices(numbers: set[Decimal]) -> bool:
    """Whether the numbers count the classes, from 0 or from 1 on."""
    count = len(numbers)
    return numbers in (set(map(Decimal, range(count))), set(map(Decimal, range(1, count + 1))))


def _several_in_one(classes: Sequence[str]) -> list[str]:
    """The problem of names that are lists of other names: 'cat|dog' beside 'cat', or beside 'dog|bus' and 'bus|cat'."""
    alone = set(classes)
    for separator in _SEPARATORS:
        pieces = {name: _pieces(name, separator) for name in classes if separator in name}
        times = Counter(piece for some in pieces.values() for piece in some)
        lists = [name for name, some in pieces.items() if _is_list(some, separator, alone, times)]
        if lists:
            return [
                f"labels that hold several labels, separated by {separator!r}: {listed(lists)}. classicnets gives an "
                f"image one label: keep one of them. If it really is one class, name it without {separator!r}"
            ]
    return []


def _is_list(pieces: set[str], separator: str, alone: set[str], times: Counter[str]) -> bool:
    """Whether these pieces of a name are classes: `alone` has the classes, `times` how many lists have each piece."""
    known = [piece in alone for piece in pieces]
    if separator == ",":  # "crane, bird" beside "crane" is one name
        return len(pieces) > 1 and all(known)
    return len(pieces) > 1 and (any(known) or all(times[piece] > 1 for piece in pieces))


def _pieces(name: str, separator: str) -> set[str]:
    """The labels in a list of labels, without brackets and quotes."""
    return {piece.strip(" []()'\"") for piece in name.split(separator)} - {""}


def spelling(name: str) -> Decimal | str:
    """What two spellings of one name have in common: "Hot_Dog" and "hot dog", "1", "01" and "1.0"."""
    if _NUMBER.fullmatch(name.strip()):
        return Decimal(name.strip().replace(",", "."))
    return " ".join(re.split(r"[\s_]+", unicodedata.normalize("NFKC", name).casefold().strip()))
