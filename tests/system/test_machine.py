"""What a machine says about itself: its instructions are read from Linux's own list."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from classicnets.system import machine as module
from classicnets.system.machine import cpu_features, cpu_name, instruction_set, machine, versions

_SERVER = """processor\t: 0
model name\t: Intel(R) Xeon(R) Platinum 8481C
flags\t\t: fpu sse2 avx avx2 avx512f avx512_vnni avx512_bf16 amx_bf16 amx_int8

processor\t: 1
model name\t: another
"""
_ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm bf16\nCPU part\t: 0xd40\n"


def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "cpuinfo").write_text(text, "utf-8")
    monkeypatch.setattr(module, "_CPUINFO", tmp_path / "cpuinfo")


def test_a_server_s_instructions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read(tmp_path, monkeypatch, _SERVER)
    assert cpu_name() == "Intel(R) Xeon(R) Platinum 8481C"
    assert cpu_features() == ["avx512f", "avx2", "avx", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"]
    assert machine()["instruction_set"] == "AVX512"


def test_arm_calls_them_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read(tmp_path, monkeypatch, _ARM)
    assert cpu_features() == ["asimd", "asimddp", "i8mm", "bf16"]
    assert machine()["instruction_set"] == "NEON"
    assert cpu_name() == (platform.processor() or platform.machine())


def test_without_proc_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CPUINFO", tmp_path / "missing")
    assert cpu_features() == []
    assert instruction_set([]) == "unknown"
    assert cpu_name()


def test_versions_are_of_what_is_installed() -> None:
    assert versions("numpy", "there-is-no-such-package").keys() == {"numpy"}
    assert machine("torch")["versions"].keys() == {"python", "numpy", "torch"}


def test_a_machine_is_json() -> None:
    found = machine()
    assert json.loads(json.dumps(found)) == found
    assert found["cores"] >= 1
