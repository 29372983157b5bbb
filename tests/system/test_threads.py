"""How many cores a process may use, and the note about too many threads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from classicnets.system import threads
from classicnets.system.threads import cpu_quota, in_threads, limit_threads, threads_note, usable_cores


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty tree of cgroups, and 8 cores."""
    monkeypatch.setattr(threads, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(threads, "_OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_a_quota_the_affinity_counts(cgroups: Path) -> None:
    assert (cpu_quota(), usable_cores()) == (None, 8)
    write(cgroups / "own", "0::/a/b\n")
    write(cgroups / "cgroup/a/b/cpu.max", "max 100000\n")
    assert (cpu_quota(), usable_cores()) == (None, 8)


def test_a_quota_of_version_2_and_of_the_groups_above(cgroups: Path) -> None:
    write(cgroups / "own", "0::/a/b\n")
    write(cgroups / "cgroup/a/b/cpu.max", "350000 100000\n")
    assert (cpu_quota(), usable_cores()) == (3.5, 4)
    write(cgroups / "cgroup/a/cpu.max", "150000 100000\n")
    assert (cpu_quota(), usable_cores()) == (1.5, 2)


def test_a_container_that_does_not_see_its_own_path(cgroups: Path) -> None:
    write(cgroups / "own", "0::/../../docker/1234\n")
    write(cgroups / "cgroup/cpu.max", "50000 100000\n")
    assert (cpu_quota(), usable_cores()) == (0.5, 1)


def test_a_quota_of_version_1(cgroups: Path) -> None:
    write(cgroups / "own", "5:memory:/\n4:cpu,cpuacct:/docker/1234\n")
    write(cgroups / "cgroup/cpu/cpu.cfs_quota_us", "200000\n")
    write(cgroups / "cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert (cpu_quota(), usable_cores()) == (2.0, 2)
    write(cgroups / "cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    assert (cpu_quota(), usable_cores()) == (None, 8)


def test_a_quota_above_the_cores_changes_nothing(cgroups: Path) -> None:
    write(cgroups / "own", "0::/\n")
    write(cgroups / "cgroup/cpu.max", "6400000 100000\n")
    assert usable_cores() == 8


def test_nothing_is_said_on_an_idle_machine(cgroups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.2, 0.0, 0.0))
    assert threads_note(8) is None
    assert threads_note(1) is None


def test_more_threads_than_the_quota(cgroups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    write(cgroups / "own", "0::/\n")
    write(cgroups / "cgroup/cpu.max", "200000 100000\n")
    assert threads_note(8) == (
        "This process may use 2 of 8 cores, and PyTorch uses 8 threads: OMP_NUM_THREADS=2 may be faster."
    )
    assert threads_note(2) is None


def test_a_busy_machine(cgroups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (5.0, 0.0, 0.0))
    assert threads_note(8) == (
        "The load is 5.0 on 8 cores, and PyTorch uses 8 threads: OMP_NUM_THREADS=3 may be faster."
    )
    monkeypatch.setattr(os, "getloadavg", lambda: (30.0, 0.0, 0.0))
    assert "OMP_NUM_THREADS=1 " in str(threads_note(8))
    assert threads_note(1) is None


def test_in_threads_keeps_the_order() -> None:
    assert list(in_threads(lambda i: i * i, range(200), chunk=7)) == [i * i for i in range(200)]


def test_a_quota_limits_the_threads_except_if_the_user_fixed_them(
    cgroups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    used = [8]
    monkeypatch.setattr(torch, "get_num_threads", lambda: used[-1])
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    monkeypatch.setattr(threads, "cpu_quota", lambda: 1.5)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    limit_threads()
    assert used == [8]
    monkeypatch.delenv("OMP_NUM_THREADS")
    limit_threads()
    assert used == [8, 2]
    limit_threads()
    assert used == [8, 2]
