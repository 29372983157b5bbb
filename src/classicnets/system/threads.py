"""How many cores and threads this process may use, and reading and decoding many files at once on them."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar

from classicnets.errors import ConfigError

_In = TypeVar("_In")
_Out = TypeVar("_Out")

FROM_ENVIRONMENT = "OMP_NUM_THREADS"
"""The variable with which a user fixes PyTorch's number of threads."""

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def in_threads(
    work: Callable[[_In], _Out], items: Sequence[_In], *, workers: int | None = None, chunk: int = 64
) -> Iterator[_Out]:
    """Yield `work(item)` for each of `items`, in order, computed by several threads. A single chunk needs none.

    Args:
        work: called in a thread, once for each item.
        items: what to work on.
        workers: number of threads; None for one a usable core.
        chunk: how many items a thread takes at a time.
    """
    chunks = [items[i : i + chunk] for i in range(0, len(items), chunk)]
    if len(chunks) < 2:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(workers or usable_cores(), thread_name_prefix="classicnets-data") as pool:
        for answers in pool.map(lambda some: [work(item) for item in some], chunks):
            yield from answers


def usable_cores() -> int:
    """Return how many CPU cores this process may use, at least 1: by its affinity mask and by the quota of its cgroup.

    A quota of 1.5 cores counts as 2.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, math.ceil(cpu_quota() or allowed)))


def cpu_quota() -> float | None:
    """Return how many cores' worth of time the cgroups of this process grant, or None if there is no limit.

    Reads cpu.max (cgroup v2) or cpu.cfs_quota_us (v1) of the process's group and of every group above it.
    """
    quotas: list[float] = []
    with contextlib.suppress(OSError, ValueError):  # no cgroups: another system than Linux
        for line in _OWN_CGROUPS.read_text("utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                quotas += _quotas(_CGROUPS, path, _quota_v2)
            elif "cpu" in controllers.split(","):
                quotas += _quotas(_CGROUPS / "cpu", path, _quota_v1)
    return min(quotas, default=None)


def parse_threads(given: int | str | None) -> int | Literal["auto"] | None:
    """Return a number of threads, "auto" or None, as given, or raise ConfigError if it cannot be used here.

    Args:
        given: a whole number from 1 to `usable_cores()`, as a number or as text; "auto"; or None.

    >>> parse_threads("1")
    1
    """
    if given is None or given == "auto":
        return given  # type: ignore[return-value]
    most = usable_cores()
    text = str(given).strip()
    if isinstance(given, bool) or not text.isdecimal() or not 1 <= int(text) <= most:
        allowed = (
            f"a whole number from 1 to {most}, the cores that this process may use"
            if most > 1
            else ("1, as this process may use one core")
        )
        raise ConfigError(f"threads = {given}: give auto, or {allowed}.")
    return int(text)


def most_threads() -> int:
    """Return how many threads PyTorch should use at most: its own number, or the usable cores if they are fewer."""
    import torch

    return max(1, min(torch.get_num_threads(), usable_cores()))


def limit_threads() -> None:
    """Have PyTorch use no more threads than this process may use cores, except if OMP_NUM_THREADS is set.

    PyTorch itself does not know of a cgroup's quota.
    """
    import torch

    if FROM_ENVIRONMENT not in os.environ and most_threads() < torch.get_num_threads():
        torch.set_num_threads(most_threads())


@contextmanager
def threads_kept() -> Iterator[None]:
    """Inside the block, PyTorch's number of threads may be changed. At its end it is what it was."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def threads_note(threads: int) -> str | None:
    """Return a sentence that names OMP_NUM_THREADS if `threads` threads are too many for this machine now, else None.

    PyTorch's threads wait for one another, so that one core too few can make a step many times slower.
    """
    usable, cores, busy = usable_cores(), os.cpu_count() or 1, load()
    idle = max(1, min(usable, round(cores - busy)))
    if threads > usable:
        reason = f"This process may use {usable} of {cores} cores"
    elif threads > idle:
        reason = f"The load is {busy:.1f} on {cores} cores"
    else:
        return None
    return f"{reason}, and PyTorch uses {threads} threads: OMP_NUM_THREADS={idle} may be faster."


def load() -> float:
    """Return how many threads ran or waited to run in the last minute, on average; 0 if that is unknown.

    >>> load()  # doctest: +SKIP
    1.25
    """
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has none
        return 0.0


def _quotas(root: Path, path: str, read: Callable[[Path], float | None]) -> list[float]:
    """The quotas of the group at `path` and of those above it. In a container, `path` may not be under `root`."""
    group = root / path.strip("/")
    found = [read(folder) for folder in (group, *group.parents) if folder.is_relative_to(root)]
    return [quota for quota in found if quota]


def _quota_v2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text("utf-8").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text("utf-8"))
        return None if quota < 0 else quota / int((folder / "cpu.cfs_period_us").read_text("utf-8"))
    except (OSError, ValueError):
        return None
