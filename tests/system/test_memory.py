"""Running out of memory is not confused with other errors; a training leaves malloc and the environment as before."""

from __future__ import annotations

import errno
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from classicnets.system import memory
from classicnets.system.memory import LARGE, in_huge_pages, is_out_of_memory, memory_kept


def raised(work) -> Exception:
    with pytest.raises(Exception) as info:  # noqa: PT011  (which one it is, is what is tested)
        work()
    return info.value


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("std::bad_alloc"),
        RuntimeError("std::bad_alloc"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp] data. DefaultCPUAllocator: not enough memory: you tried to allocate 9"
        ),
        RuntimeError("unable to mmap 9 bytes from file </x>: Cannot allocate memory (12)"),
    ],
)
def test_errors_that_mean_that_memory_ran_out(error: Exception) -> None:
    assert is_out_of_memory(error)


def test_the_errors_that_pytorch_and_numpy_raise_here() -> None:
    assert is_out_of_memory(raised(lambda: torch.empty(1 << 60, dtype=torch.uint8)))
    assert is_out_of_memory(raised(lambda: np.empty(1 << 60, np.uint8)))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("could not create a memory object"),
        RuntimeError("Expected a tensor with channels_last memory format"),
        RuntimeError("unsupported operation: some elements of the input tensor refer to a single memory location"),
        RuntimeError("DataLoader's pin memory thread exited unexpectedly"),
        ValueError("out of memory"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
)
def test_errors_that_only_name_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)


@pytest.fixture
def thresholds(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What malloc was set to: (mmap, trim), in order."""
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(memory, "_set_thresholds", lambda *, mmap, trim: seen.append((mmap, trim)))
    return seen


USUAL = (32 << 20, 64 << 20)
ALL = (1 << 31) - 1


def test_nested_blocks_count_and_the_last_one_puts_everything_back(thresholds: list[tuple[int, int]]) -> None:
    with memory_kept(torch.bfloat16), memory_kept(torch.float32):
        pass
    assert thresholds == [(1 << 30, ALL), (LARGE, ALL), (1 << 30, ALL), USUAL]


def test_it_is_put_back_when_the_block_raises(thresholds: list[tuple[int, int]]) -> None:
    def fail() -> None:
        with memory_kept(torch.float32):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert thresholds[-1] == USUAL


def test_many_threads_at_once(thresholds: list[tuple[int, int]]) -> None:
    def work(dtype: torch.dtype) -> None:
        for _ in range(200):
            with memory_kept(dtype):
                pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [torch.float32, torch.bfloat16] * 4))
    assert thresholds[-1] == USUAL
    assert memory._keepers._limits == []


_FREE_MUCH = """
import torch
from classicnets.system.memory import memory_kept

def mib():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20

def fill():
    return [torch.ones(1 << 20) for _ in range(50)]  # 200 MiB

def keep():
    with memory_kept(torch.bfloat16):
        fill()
        return mib()

torch.ones(1 << 20)
before = mib()
print(keep() - before, mib() - before)
"""


@pytest.mark.skipif(memory._glibc() is None, reason="needs glibc")
def test_memory_is_kept_inside_and_returned_afterwards() -> None:
    done = subprocess.run([sys.executable, "-c", _FREE_MUCH], capture_output=True, text=True, check=True)
    inside, after = map(int, done.stdout.split())
    assert inside > 180
    assert after < 40


HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(
    not HUGE_PAGES.exists() or "[never]" in HUGE_PAGES.read_text(), reason="this system gives no huge pages"
)
def test_the_system_is_asked_for_huge_pages_for_a_large_new_tensor() -> None:
    """How many it gives depends on how much memory is free in one piece."""
    plain, huge = (torch.empty(64 << 20, dtype=torch.uint8) for _ in range(2))
    assert in_huge_pages(huge) is huge
    assert "hg" not in flags_at(plain.data_ptr() + (32 << 20))
    assert "hg" in flags_at(huge.data_ptr() + (32 << 20))


def flags_at(address: int) -> list[str]:
    """What Linux notes about the memory at an address; `hg` stands for huge pages."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head, _, rest = line.partition(" ")
        if "-" in head and not head.endswith(":"):
            start, end = (int(number, 16) for number in head.split("-"))
            inside = start <= address < end
        elif inside and head == "VmFlags:":
            return rest.split()
    raise AssertionError("no memory at this address")


def test_small_and_empty_tensors_stay_as_they_are() -> None:
    for tensor in (torch.empty(0), torch.ones(3), torch.empty(2, device="meta")):
        assert in_huge_pages(tensor) is tensor
