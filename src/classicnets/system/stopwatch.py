"""How long something takes."""

from __future__ import annotations

import time
from collections.abc import Callable


def seconds_of(work: Callable[[], object]) -> float:
    """Call `work`, and return the seconds that it took."""
    before = time.perf_counter()
    work()
    return time.perf_counter() - before
