"""How names and numbers are written in messages about data."""

from __future__ import annotations

from collections.abc import Sequence


def listed(names: Sequence[str]) -> str:
    """The first ten names, quoted, and how many more there are."""
    first = ", ".join(map(repr, names[:10]))
    return f"{first} and {len(names) - 10:,} more" if len(names) > 10 else first


def problem(sentence: str, names: Sequence[str]) -> list[str]:
    """`sentence` about `names`, or nothing if there are none."""
    return [f"{sentence}: {listed(names)}"] if names else []


def counted(number: int, noun: str) -> str:
    """ "1 image", "1,200 images"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def in_bytes(size: int) -> str:
    """ "700 bytes", "1.5 KiB", "3.0 MiB", "5.0 GiB"."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return counted(size, "byte")
