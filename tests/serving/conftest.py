"""A server of the tiny bundle, and classifiers and a browser for the tests of the page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from browser import chromium
from bundles import rewrite, tiny_card, write_bundle
from classicnets.conformal import Conformal
from classicnets.serving.models import Served
from classifiers import tiny_classifier
from servers import Server, running


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("served") / "tiny")


@pytest.fixture(scope="session")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle with calibrated scores, sets with coverage, and a history."""
    folder = write_bundle(tmp_path_factory.mktemp("served") / "trusted")
    provenance = {
        "data": {"name": "colours", "source": "/home/someone/colours"},
        "training": {"epochs": 3, "best_epoch": 2, "val_accuracy": 0.9},
        "metrics": {"data": "colours test", "num_images": 500, "top1": 0.912, "top1_interval": [0.88, 0.93]},
        "trust": {"temperature": {"value": 1.5, "num_images": 60}},
    }
    conformal = Conformal.of([[0.7, 0.2, 0.1]] * 60, [0] * 40 + [1] * 20)
    rewrite(folder, card=replace(tiny_card(), provenance=provenance, conformal=conformal).to_dict())
    return folder


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder in PyTorch, which can show where it looks."""
    return tiny_classifier(("cat", "dog"), channels=3).save(tmp_path_factory.mktemp("network") / "pets")


@pytest.fixture(scope="module")
def server(bundle: Path) -> Iterator[Server]:
    with running([Served("tiny", bundle)], body=200_000, images=4) as made:
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(camera=True) as made:
        yield made
