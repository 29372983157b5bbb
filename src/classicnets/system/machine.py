"""What this machine is: its processor, the instructions that speed depends on, its cores and its memory."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from classicnets.system.threads import cpu_quota, usable_cores

_CPUINFO = Path("/proc/cpuinfo")
_SETS = {
    "avx2": "avx2",
    "fma": "fma",
    "avx_vnni": "avx_vnni",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "avx512_fp16": "avx512_fp16",
    "amx_tile": "amx_tile",
    "amx_bf16": "amx_bf16",
    "amx_int8": "amx_int8",
    "asimd": "neon",
    "asimddp": "neon_dotprod",
    "bf16": "neon_bf16",
    "i8mm": "neon_i8mm",
    "sve": "sve",
}
"""A flag of /proc/cpuinfo, and what the instruction set is called here."""
_NO_OVERFLOW = {"avx512_vnni", "avx_vnni", "amx_int8", "neon_dotprod", "neon_i8mm"}


def cpu_name() -> str:
    """Return the processor's name, or its architecture if the system does not tell.

    >>> cpu_name()  # doctest: +SKIP
    'AMD EPYC'
    """
    return _field("model name") or platform.processor() or platform.machine()


def instruction_sets() -> tuple[str, ...]:
    """Return the instruction sets for vectors and matrices that the processor has; empty if the system does not tell.

    >>> instruction_sets()  # doctest: +SKIP
    ('avx2', 'fma')
    """
    flags = set((_field("flags") or _field("Features")).split())
    return tuple(name for flag, name in _SETS.items() if flag in flags)


def may_overflow(sets: Collection[str] | None = None) -> bool:
    """Return whether a processor adds two int8 products in 16 bits, where they overflow, as AVX2 without VNNI does.

    Args:
        sets: its instruction sets; by default those of this processor.

    >>> may_overflow(("avx2", "fma"))
    True
    """
    return not _NO_OVERFLOW.intersection(instruction_sets() if sets is None else sets)


def memory_bytes() -> int | None:
    """Return how much memory the machine has, in bytes, or None if the system does not tell."""
    with contextlib.suppress(AttributeError, ValueError, OSError):  # Windows has no sysconf
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def versions(*packages: str) -> dict[str, str]:
    """Return the version of each package that is installed."""
    found = {}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def machine(*packages: str) -> dict[str, Any]:
    """Return what speed and the last bits of an answer depend on, as JSON values.

    Args:
        packages: installed packages whose versions matter, such as "openvino".

    >>> machine("numpy")["usable_cores"]  # doctest: +SKIP
    2
    """
    memory = memory_bytes()
    return {
        "cpu": cpu_name(),
        "architecture": platform.machine(),
        "instruction_sets": list(instruction_sets()),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "quota": cpu_quota(),
        "memory_gib": None if memory is None else round(memory / 2**30, 1),
        "system": platform.platform(),
        "versions": {"python": platform.python_version()} | versions(*packages),
    }


def _field(name: str) -> str:
    """A field of the first processor in /proc/cpuinfo; "" if there is none."""
    try:
        lines = _CPUINFO.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((value.strip() for key, _, value in (line.partition(":") for line in lines) if key.strip() == name), "")
