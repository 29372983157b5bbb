"""A server of the tiny bundle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bundles import write_bundle
from classicnets.serving.models import Served
from servers import Server, running


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("served") / "tiny")


@pytest.fixture(scope="module")
def server(bundle: Path) -> Iterator[Server]:
    with running([Served("tiny", bundle)], body=200_000, images=4) as made:
        yield made
