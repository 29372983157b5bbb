"""What the C library does with memory that is freed: kept for the next step, or handed back to the system."""

from __future__ import annotations

import ctypes
import functools
import os
import sys

import torch

LARGE = 32 << 20
"""Bytes of a block of memory that fp32 training does not keep from step to step."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_memory(dtype: torch.dtype) -> None:
    """Have the C library keep the memory that a training step frees, for the next step of arithmetic in `dtype` to use.

    glibc hands large blocks back to the system at once, and gets them again zeroed, page by page: with networks of
    many weights, a third of a step on a CPU. In fp32, though, blocks from `LARGE` on still go back: kept, they leave
    holes that the next do not fit into. Pages are huge ones where the system lets PyTorch ask for them, so that it
    costs less. Anywhere but on Linux with glibc this does nothing.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if libc := _glibc():
        libc.mallopt(_M_MMAP_THRESHOLD, LARGE if dtype is torch.float32 else 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def give_memory_back() -> None:
    """Have the C library hand back to the system what it keeps and does not use now."""
    if libc := _glibc():
        libc.malloc_trim(0)


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return None
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
