"""Reading and decoding many files at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def in_threads(
    work: Callable[[_In], _Out], items: Sequence[_In], *, workers: int | None = None, chunk: int = 64
) -> Iterator[_Out]:
    """`map(work, items)`, in order, done by `workers` threads (one per core) that take `chunk` items at a time."""
    chunks = [items[i : i + chunk] for i in range(0, len(items), chunk)]
    with ThreadPoolExecutor(workers or _cores(), thread_name_prefix="classicnets-data") as pool:
        for answers in pool.map(lambda some: [work(item) for item in some], chunks):
            yield from answers


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
