"""What this machine is, found without PyTorch: its processor, the instructions it has, its cores, and versions."""

from __future__ import annotations

import contextlib
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from classicnets.system.threads import cpu_quota, usable_cores

_CPUINFO = Path("/proc/cpuinfo")

INSTRUCTION_SETS = {"avx512f": "AVX512", "avx2": "AVX2", "avx": "AVX", "sve": "SVE", "asimd": "NEON"}
"""The widest vectors first, by the name of the feature that Linux gives them."""

MATRIX_FEATURES = {
    "avx512_vnni": "AVX512-VNNI (int8)",
    "avx_vnni": "AVX-VNNI (int8)",
    "avx512_bf16": "AVX512-BF16",
    "amx_int8": "AMX-INT8",
    "amx_bf16": "AMX-BF16",
    "asimddp": "dot products (int8)",
    "i8mm": "I8MM (int8)",
    "bf16": "BF16",
}
"""What multiplies int8 or bf16 matrices in hardware: the feature and its name."""


def machine(engine: str | None = None) -> dict[str, Any]:
    """Return what decides how fast, and to which last bit, this machine computes. JSON-ready.

    Args:
        engine: "openvino", "onnxruntime" or "torch", whose version is then among the versions.

    Returns:
        system, architecture, cpu (its name), instruction_set, features (see `cpu_features`), cores (that this process
        may use), quota (in cores, or None) and versions.

    >>> sorted(machine()["versions"])
    ['numpy', 'python']
    """
    features = cpu_features()
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "cpu": cpu_name(),
        "instruction_set": instruction_set(features),
        "features": features,
        "cores": usable_cores(),
        "quota": cpu_quota(),
        "versions": {"python": platform.python_version()} | versions("numpy", *([engine] if engine else [])),
    }


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of the packages that are installed."""
    found = {}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def cpu_name() -> str:
    """Return the processor's name, or the architecture if the system gives no name."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def cpu_features() -> list[str]:
    """Return which keys of `INSTRUCTION_SETS` and `MATRIX_FEATURES` the processor has. Linux only."""
    info = _cpuinfo()
    found = set((info.get("flags") or info.get("Features") or "").split())
    return [name for name in (*INSTRUCTION_SETS, *MATRIX_FEATURES) if name in found]


def instruction_set(features: list[str]) -> str:
    """Return the name of the widest instruction set among `features`, or "unknown".

    >>> instruction_set(["avx2", "avx"])
    'AVX2'
    """
    return next((name for feature, name in INSTRUCTION_SETS.items() if feature in features), "unknown")


def _cpuinfo() -> dict[str, str]:
    """What /proc/cpuinfo says about the first processor."""
    try:
        first, _, _ = _CPUINFO.read_text("utf-8", errors="replace").partition("\n\n")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
