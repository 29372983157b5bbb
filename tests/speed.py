"""Bounds on time that hold on any machine: `with within(5): work()`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

_LOOPS = 1_000_000
_USUAL = 0.06
"""Processor seconds of `_work` on an idle machine of 2024."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail if the block takes more than so many processor seconds of an idle machine of 2024.

    A slower machine, or one whose cores are shared, gets as much more time as it needs for a plain loop before and
    after the block.
    """
    before = _work()
    started = time.process_time()
    yield
    took = time.process_time() - started
    allowed = seconds * max(1.0, before / _USUAL, _work() / _USUAL)
    assert took < allowed, f"{took:.1f} s of processor time, with {allowed:.1f} s allowed"


def _work() -> float:
    """Processor seconds of a plain loop."""
    started = time.process_time()
    sum(i * i for i in range(_LOOPS))
    return time.process_time() - started
