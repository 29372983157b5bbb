"""What the C library does with freed memory during training, and how running out of memory is recognised."""

from __future__ import annotations

import ctypes
import errno
import functools
import gc
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

LARGE = 32 << 20
"""Bytes of a block of memory that fp32 training does not keep from step to step."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEEP_ALL = (1 << 31) - 1
_USUAL_MMAP, _USUAL_TRIM = 32 << 20, 64 << 20  # what glibc's own adjustment reaches; its first 128 KiB slow inference
_MADV_HUGEPAGE, _PAGE, _FEW_PAGES = 14, 4096, 4 << 20  # sys/mman.h; bytes below which huge pages gain nothing

_OUT_OF_MEMORY = re.compile(
    r"out of memory\b"  # CUDA, MPS, XPU, and the CUDA driver
    r"|can't allocate memory"  # DefaultCPUAllocator
    r"|cannot allocate memory"  # mmap and shared memory
    r"|not enough memory: you tried to allocate"  # DefaultCPUAllocator on Windows
    r"|bad_alloc|bad allocation"  # std::bad_alloc
    r"|_STATUS_ALLOC_FAILED",  # cuBLAS, cuDNN
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` means that memory ran out, on the CPU or an accelerator.

    PyTorch raises RuntimeError for this and for much else, such as "an illegal memory access", so its message decides.

    >>> is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
    False
    """
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, RuntimeError):  # torch.OutOfMemoryError is one
        return _OUT_OF_MEMORY.search(str(error)) is not None
    return isinstance(error, MemoryError)


@contextmanager
def cycles_kept() -> Iterator[None]:
    """Inside the block, Python does not search for cycles of objects that nothing uses, in any thread.

    Thousands of new objects set off searches through all that the process holds, hundreds of thousands of objects once
    PyTorch is loaded, and find nothing. Use it for work of a second or less.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def memory_kept(dtype: torch.dtype) -> Iterator[None]:
    """Inside the block, the C library keeps the memory that a training step frees, for the next step to use.

    Without this, glibc returns large blocks to the system at once and gets them back zeroed, page by page. On a CPU
    that takes a third of a step in networks with many weights. In fp32, blocks of `LARGE` bytes and more are still
    returned: kept ones leave holes that later blocks do not fit into. `in_huge_pages` makes getting them cheap.

    When the last such block of the process ends, unused memory is returned to the system, and malloc's thresholds are
    those that glibc's own adjustment reaches in a process with large tensors. Blocks may be nested and may run in
    several threads. On systems other than Linux with glibc, nothing changes.

    Args:
        dtype: the data type of the arithmetic, torch.float32 or torch.bfloat16.

    Example:
        >>> with memory_kept(torch.float32):  # doctest: +SKIP
        ...     train()
    """
    limit = LARGE if str(dtype) == "torch.float32" else 1 << 30
    _keepers.enter(limit)
    try:
        yield
    finally:
        _keepers.leave(limit)


def in_huge_pages(tensor: torch.Tensor) -> torch.Tensor:
    """Ask the system to back a new tensor by huge pages, and return it. Call this before it is written.

    The system zeroes a new block page by page when it is first written. With pages of 4 KiB that takes several times as
    long as writing. PyTorch's own setting for this (THP_MEM_ALLOC_ENABLE) is read once, before the first tensor of a
    process. Small tensors, other devices, and systems other than Linux with glibc stay as they are.

    Args:
        tensor: a tensor whose memory nothing has written yet, of any shape and type.

    >>> in_huge_pages(torch.empty(8)).shape
    torch.Size([8])
    """
    libc = _glibc()
    memory = tensor.untyped_storage()
    if libc and tensor.device.type == "cpu" and memory.nbytes() >= _FEW_PAGES:
        start = -(-memory.data_ptr() // _PAGE) * _PAGE
        end = (memory.data_ptr() + memory.nbytes()) // _PAGE * _PAGE
        libc.madvise(
            ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_HUGEPAGE
        )  # a wish: errors do not matter
    return tensor


def give_memory_back() -> None:
    """Return to the system the memory that the C library holds and nothing uses."""
    if libc := _glibc():
        libc.malloc_trim(0)


class _Keepers:
    """The blocks of `memory_kept` that are open in this process: the limit of each. The smallest limit holds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limits: list[int] = []

    def enter(self, limit: int) -> None:
        with self._lock:
            self._limits.append(limit)
            _set_thresholds(mmap=min(self._limits), trim=_KEEP_ALL)

    def leave(self, limit: int) -> None:
        with self._lock:
            self._limits.remove(limit)
            if self._limits:
                _set_thresholds(mmap=min(self._limits), trim=_KEEP_ALL)
                return
            _set_thresholds(mmap=_USUAL_MMAP, trim=_USUAL_TRIM)
        give_memory_back()


_keepers = _Keepers()


def _set_thresholds(*, mmap: int, trim: int) -> None:
    """Have malloc map blocks of `mmap` bytes and more on their own, and return a free top of the heap above `trim`."""
    if libc := _glibc():
        libc.mallopt(_M_MMAP_THRESHOLD, mmap)
        libc.mallopt(_M_TRIM_THRESHOLD, trim)


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return None
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
