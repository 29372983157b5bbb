"""`classicnets audit labels`, and `train --corrections` with what comes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from classifiers import tiny_classifier
from photos import PHOTO_CLASSES


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tiny_classifier(PHOTO_CLASSES, channels=3).save(tmp_path / "model")
