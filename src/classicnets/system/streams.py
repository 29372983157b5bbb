"""Work for a GPU that nothing waits for: small copies from pinned memory, and items made ahead on a side stream.

A GPU computes what it is given in the background, until something asks for a result. On a CPU everything here is what
it would be without these functions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Protocol, TypeVar

import torch
from torch import Tensor

_In = TypeVar("_In")
_Out = TypeVar("_Out")
_Moved = TypeVar("_Moved", bound="_Tensors")

_AT_ONCE = 256 << 20  # bytes of results that are left on a device before they are copied


class _Tensors(Protocol):
    """A tuple of tensors, such as a batch."""

    def __iter__(self) -> Iterator[Tensor]: ...


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return the tensor on `device`. A copy to a GPU takes its turn in the current stream, and nothing waits for it.

    Args:
        tensor: any tensor. One on the device, and on a CPU any, is returned as it is.
        device: where it is needed.

    >>> sent(torch.ones(2), torch.device("cpu"))
    tensor([1., 1.])
    """
    if tensor.device.type != "cpu" or device.type != "cuda":
        return tensor.to(device)
    return pinned(tensor).to(device, non_blocking=True)


def pinned(tensor: Tensor) -> Tensor:
    """Return a copy of a CPU tensor, without gaps, in memory that a GPU reads by itself; the tensor if it is there."""
    return tensor if tensor.is_pinned() else torch.empty_like(tensor, pin_memory=True).copy_(tensor)


def in_threads_ahead(
    make: Callable[[_In], _Out], items: Iterable[_In], workers: int, *, one_core_each: bool = False
) -> Iterator[_Out]:
    """Yield `make(item)` for each of `items`, in order, with the next `workers` being made while this one is used.

    Args:
        make: called in a thread, once for each item.
        items: what to make something of.
        workers: the number of threads; with 0, each is made when it is asked for.
        one_core_each: whether PyTorch's operations in such a thread use no further threads.
    """
    if not workers:
        yield from map(make, items)
        return
    begin = partial(torch.set_num_threads, 1) if one_core_each else None
    with ThreadPoolExecutor(workers, thread_name_prefix="classicnets-loader", initializer=begin) as pool:
        waiting: deque[Future[_Out]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(make, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            if one_core_each:  # the number is each thread's own, but threads that are new begin with the last one set
                torch.set_num_threads(torch.get_num_threads())


def on_side_stream(make: Callable[[_In], _Moved], items: Iterable[_In], device: torch.device) -> Iterator[_Moved]:
    """Yield `make(item)` for each of `items`, in order; a GPU makes the next one while it computes with this one.

    Args:
        make: returns a tuple of tensors. What it launches on a GPU must wait for nothing there.
        items: what to make something of.
        device: a GPU has a stream of its own for this. On a CPU each is made when it is asked for.
    """
    if device.type != "cuda":
        yield from map(make, items)
        return
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))  # what `make` reads may have been written there just now
    waiting: deque[tuple[_Moved, torch.cuda.Event]] = deque()
    for item in items:
        with torch.cuda.stream(side):
            waiting.append((make(item), side.record_event()))
        if len(waiting) > 1:
            yield _taken(*waiting.popleft(), device)
    while waiting:
        yield _taken(*waiting.popleft(), device)


def _taken(made: _Moved, ready: torch.cuda.Event, device: torch.device) -> _Moved:
    """Have the current stream wait until `made` is ready; its memory is free again when that stream is done with it."""
    current = torch.cuda.current_stream(device)
    current.wait_event(ready)
    for tensor in made:
        if tensor.is_cuda:
            tensor.record_stream(current)
    return made


def collect(parts: Iterable[tuple[Tensor, ...]], tables: tuple[Tensor, ...]) -> None:
    """Write rows that a device computes, part after part, into tables on the CPU.

    Each copy from a GPU waits for it. So there is one for every 256 MiB, and one at the end.

    Args:
        parts: tuples of the next rows (b, ...) of each table, on any device.
        tables: on the CPU, (N, ...) each, for all rows of all parts.
    """
    waiting: list[tuple[Tensor, ...]] = []
    size = start = 0

    def write() -> int:
        for table, rows in zip(tables, zip(*waiting, strict=True), strict=True):
            end = start + sum(map(len, rows))
            table[start:end] = rows[0] if len(rows) == 1 else torch.cat(rows)
        waiting.clear()
        return end

    for part in parts:
        waiting.append(part)
        size += sum(rows.nbytes for rows in part)
        if part[0].device.type == "cpu" or size >= _AT_ONCE:
            start, size = write(), 0
    if waiting:
        write()
