"""The cache of packed images keeps within its limit, and keeps what was used last."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest

from classicnets.errors import ConfigError
from classicnets.system.cache import make_room, mark_used, packed_limit

DAY = 24 * 60 * 60


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three sets of 1 MiB, used ten, twenty and thirty days ago, and a limit of 4 MiB."""
    monkeypatch.setenv("CLASSICNETS_CACHE_GIB", str(4 / 1024))
    for name, days in (("b", 10), ("c", 20), ("a", 30)):
        (tmp_path / f"{name}.uint8").write_bytes(bytes(2**20 - 2))
        (tmp_path / f"{name}.json").write_text("[]")
        for path in tmp_path.glob(f"{name}.*"):
            os.utime(path, (time.time() - days * DAY,) * 2)
    return tmp_path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_was_used_longest_ago_goes_first(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_room(cache, 2**20)
    assert len(names(cache)) == 6
    make_room(cache, 2**20 + 1)
    assert names(cache) == {"b.uint8", "b.json", "c.uint8", "c.json"}
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "0.0 GiB of packed images, last used on" in record.message
    assert "CLASSICNETS_CACHE_GIB" in record.message


def test_used_again_is_used_last(cache: Path) -> None:
    mark_used(cache / "a.json")
    make_room(cache, 2 * 2**20)
    assert names(cache) == {"a.uint8", "a.json", "b.uint8", "b.json"}


def test_what_was_used_within_a_day_stays_even_above_the_limit(cache: Path) -> None:
    mark_used(cache / "a.json")
    make_room(cache, 100 * 2**20)
    assert names(cache) == {"a.uint8", "a.json"}


def test_what_an_interrupted_packing_left_goes_too(cache: Path) -> None:
    left = cache / ".d.uint8.x8h2.aside"
    left.mkdir()
    (left / "d.uint8").write_bytes(bytes(2**20))
    for path in (left / "d.uint8", left):
        os.utime(path, (time.time() - 40 * DAY,) * 2)
    make_room(cache, 2**19)
    assert len(names(cache)) == 6
    assert not left.exists()


@pytest.mark.parametrize("text", ["", "many", "-1", "nan", "inf"])
def test_a_limit_that_is_none(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("CLASSICNETS_CACHE_GIB", text)
    with pytest.raises(ConfigError, match=r"CLASSICNETS_CACHE_GIB is .*; it must be a number of GiB, 0 or more"):
        packed_limit()


def test_the_limit_is_20_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLASSICNETS_CACHE_GIB", raising=False)
    assert packed_limit() == 20 * 2**30
