"""What this machine is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from classicnets.system import machine

_EPYC = """\
processor\t: 0
model name\t: AMD EPYC 9654: 96-Core Processor
flags\t\t: fpu sse2 avx2 fma avx512f avx512_vnni avx512_bf16

processor\t: 1
model name\t: another
flags\t\t: fpu
"""
_ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp bf16 i8mm\n"


@pytest.fixture
def cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "cpuinfo")
    return tmp_path / "cpuinfo"


def test_the_first_processor_counts(cpuinfo: Path) -> None:
    cpuinfo.write_text(_EPYC)
    assert machine.cpu_name() == "AMD EPYC 9654: 96-Core Processor"
    assert machine.instruction_sets() == ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16")


def test_an_arm_processor_has_other_words(cpuinfo: Path) -> None:
    cpuinfo.write_text(_ARM)
    assert machine.instruction_sets() == ("neon", "neon_dotprod", "neon_bf16", "neon_i8mm")
    assert machine.cpu_name()


def test_a_system_that_tells_nothing(cpuinfo: Path) -> None:
    assert machine.instruction_sets() == ()
    assert machine.cpu_name()


def test_the_facts_are_json() -> None:
    facts = machine.machine()
    assert json.loads(json.dumps(facts)) == facts
    assert 1 <= facts["usable_cores"] <= facts["cores"]


def test_versions_are_of_what_is_installed() -> None:
    assert machine.versions("numpy", "there-is-no-such-package").keys() == {"numpy"}
    assert machine.machine("torch")["versions"].keys() == {"python", "torch"}


@pytest.mark.parametrize(
    ("sets", "expected"),
    [(("avx2", "fma"), True), (("avx2", "avx_vnni"), False), (("avx512f", "avx512_vnni"), False), (("neon",), True)],
)
def test_instructions_that_overflow(monkeypatch: pytest.MonkeyPatch, sets: tuple[str, ...], expected: bool) -> None:
    monkeypatch.setattr(machine, "instruction_sets", lambda: sets)
    assert machine.may_overflow() is expected
    assert machine.may_overflow(("neon_i8mm",)) is False
