"""Where to compute, and with how many bits: bf16 where the hardware has it, fp32 elsewhere."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch

from classicnets.errors import ConfigError

LARGE = 32 << 20
"""Bytes of a block of memory that fp32 training does not keep from step to step."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" is the first accelerator, or the CPU. Raises ConfigError where there is none."""
    if name == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError):
        raise ConfigError(f"No device {name!r} on this machine. Use --device auto or --device cpu.") from None
    return device


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 matrices in hardware (on a CPU: AVX512-BF16 or AMX)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


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


@dataclass(frozen=True)
class Precision:
    """The arithmetic of the forward pass. Weights, gradients and the optimizer stay fp32, so bf16 needs no scaling."""

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def choose(cls, name: Literal["auto", "fp32", "bf16"], device: torch.device) -> Precision:
        bf16 = name == "bf16" or (name == "auto" and has_bf16(device))
        return cls(device, torch.bfloat16 if bf16 else torch.float32)

    def __call__(self) -> AbstractContextManager[object]:
        """`with precision():` around the forward pass."""
        if self.dtype is torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    @property
    def name(self) -> Literal["fp32", "bf16"]:
        """What `choose` takes to get it again."""
        return "bf16" if self.dtype is torch.bfloat16 else "fp32"
