"""The home folder, what replaces it in a container whose user has none, and names that are not taken."""

from __future__ import annotations

import functools
import itertools
import logging
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from classicnets.errors import ConfigError

logger = logging.getLogger("classicnets")


def expanded(path: str | Path) -> Path:
    """Return `path` with `~` and `~user` replaced by the home folder.

    Raises:
        ConfigError: that home folder is unknown.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ConfigError(
            f"{path}: the home folder that ~ stands for is unknown. Give the whole path, or set HOME."
        ) from None


def numbered(path: Path) -> Iterator[Path]:
    """Yield `path`, then `path-2`, `path-3` and so on without end: places for what must not overwrite anything.

    >>> [place.name for place in itertools.islice(numbered(Path("runs/mine")), 3)]
    ['mine', 'mine-2', 'mine-3']
    """
    yield path
    for number in itertools.count(2):
        yield path.with_name(f"{path.name}-{number}")


def free_file(path: Path) -> Path:
    """Return `path`, or if it exists the first of `name-2.suffix`, `name-3.suffix` and so on that does not.

    >>> free_file(Path("there-is-no-such-page.html")).name
    'there-is-no-such-page.html'
    """
    places = (place.with_name(f"{place.name}{path.suffix}") for place in numbered(path.with_suffix("")))
    return next(place for place in places if not os.path.lexists(place))


def user_folder(*names: str) -> Path | None:
    """Return the folder `names` in the user's home, or None if it does not exist and cannot be created.

    A container's user often has no home folder, or `/`, which it cannot write to.
    """
    try:
        folder = Path.home().joinpath(*names)
    except RuntimeError:  # neither HOME nor an entry in the user database
        return None
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    return folder if folder.is_dir() or os.access(nearest, os.W_OK | os.X_OK) else None


@functools.cache
def temporary_home() -> Path:
    """Return a private folder in the system's folder for temporary files, for a user without a home folder.

    The folder is created with mode 0700. The first call logs a warning that names it.

    Raises:
        ConfigError: the folder cannot be created, or others can write to it.
    """
    missing = "There is no home folder to keep the cache in"
    advice = "Set CLASSICNETS_CACHE to a folder that you can write to."
    try:
        user = str(os.getuid()) if hasattr(os, "getuid") else "user"
        folder = Path(tempfile.gettempdir()) / f"classicnets-{user}"
        folder.mkdir(mode=0o700, exist_ok=True)
        private = _is_private(folder)
    except OSError as error:
        raise ConfigError(
            f"{missing}, and the folder for temporary files does not work either: {error}. {advice}"
        ) from None
    if not private:
        raise ConfigError(f"{missing}, and {folder} is not a private folder of this user. {advice}")
    logger.warning("%s: it is in %s. %s", missing, folder, advice)
    return folder


def give_libraries_a_home() -> None:
    """Have Matplotlib and PyTorch's compiler use `temporary_home()` if the user's home has no place for their files.

    Call it before Matplotlib is imported, which otherwise warns and lists all fonts again each time. Does nothing if
    their own variables (MPLCONFIGDIR, TORCHINDUCTOR_CACHE_DIR) are set.
    """
    if user_folder(".config", "matplotlib") is not None:
        return
    for variable, name in (("MPLCONFIGDIR", "matplotlib"), ("TORCHINDUCTOR_CACHE_DIR", "torchinductor")):
        if variable not in os.environ:
            os.environ[variable] = str(temporary_home() / name)


def _is_private(folder: Path) -> bool:
    """Whether this is a folder, not a link to one, that belongs to this user and is closed to others."""
    if not hasattr(os, "getuid"):  # on Windows the folder for temporary files is the user's own
        return True
    state = folder.lstat()
    return stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid() and not state.st_mode & 0o077
