"""What tests share: a cache of their own, and photos to train on, made on the spot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from photos import write_photos


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLASSICNETS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """A folder with CLASS/*.jpg: 3 classes of 12 photos, 48x40 pixels, easy to tell apart. Yours to change."""
    folder = tmp_path / "photos"
    write_photos(folder, 12)
    return folder
