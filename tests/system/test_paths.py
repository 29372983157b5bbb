"""The cache has a place when there is no home folder, or a message names CLASSICNETS_CACHE."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from classicnets.errors import ConfigError
from classicnets.system.cache import cache_dir
from classicnets.system.paths import expanded, free_file, give_libraries_a_home, temporary_home, user_folder

pytestmark = pytest.mark.skipif(os.name == "nt", reason="users and permissions of POSIX")


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No home folder and no variables that replace it. Returns the folder for temporary files."""

    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    def unknown_user(self: Path) -> Path:
        if str(self).startswith("~"):
            raise RuntimeError("Could not determine home directory.")
        return self

    for name in ("CLASSICNETS_CACHE", "XDG_CACHE_HOME", "MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", unknown)
    monkeypatch.setattr(Path, "expanduser", unknown_user)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    temporary_home.cache_clear()
    yield tmp_path
    temporary_home.cache_clear()


def test_the_usual_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLASSICNETS_CACHE", "~/mine")
    assert cache_dir() == tmp_path / "mine"
    monkeypatch.delenv("CLASSICNETS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_dir() == Path("/xdg/classicnets")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == tmp_path / ".cache" / "classicnets"


def test_without_a_home_the_cache_is_private_and_said_once(homeless: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = homeless / f"classicnets-{os.getuid()}"
    assert cache_dir() == cache_dir() == place
    assert place.stat().st_mode & 0o777 == 0o700
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(place) in record.message
    assert "CLASSICNETS_CACHE" in record.message


def test_a_place_that_others_can_read_or_a_link_is_refused(homeless: Path) -> None:
    place = homeless / f"classicnets-{os.getuid()}"
    place.mkdir(mode=0o755)
    place.chmod(0o755)
    with pytest.raises(ConfigError, match=r"not a private folder of this user. Set CLASSICNETS_CACHE"):
        cache_dir()
    place.rmdir()
    (homeless / "elsewhere").mkdir(mode=0o700)
    place.symlink_to(homeless / "elsewhere")
    with pytest.raises(ConfigError, match=r"not a private folder of this user"):
        cache_dir()


def test_no_place_for_temporary_files_names_the_variable(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(homeless / "none"))
    with pytest.raises(ConfigError, match="Set CLASSICNETS_CACHE"):
        cache_dir()


def test_a_home_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert user_folder(".cache", "classicnets") is None
    (tmp_path / ".cache" / "classicnets").mkdir(parents=True)
    assert user_folder(".cache", "classicnets") == tmp_path / ".cache" / "classicnets"


def test_a_path_from_an_unknown_home_is_a_mistake_with_a_message(homeless: Path) -> None:
    with pytest.raises(ConfigError, match=r"~/x.csv: the home folder .* is unknown. Give the whole path, or set HOME"):
        expanded("~/x.csv")
    assert expanded("data/x.csv") == Path("data/x.csv")


def test_libraries_get_a_home_too(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/theirs")
    monkeypatch.setenv("MPLCONFIGDIR", "")
    monkeypatch.delenv("MPLCONFIGDIR")
    give_libraries_a_home()
    assert os.environ["MPLCONFIGDIR"] == str(homeless / f"classicnets-{os.getuid()}" / "matplotlib")
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/theirs"
    monkeypatch.delenv("MPLCONFIGDIR")


def test_a_free_file_has_its_number_before_the_suffix(tmp_path: Path) -> None:
    for name in ("my.page.html", "my.page-2.html", "my.page-3.html"):
        assert free_file(tmp_path / "my.page.html") == tmp_path / name
        (tmp_path / name).touch()
