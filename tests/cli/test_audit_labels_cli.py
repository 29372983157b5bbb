"""`classicnets audit labels`, and `train --corrections` with what comes of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from classicnets.training import Run
from classifiers import tiny_classifier
from photos import PHOTO_CLASSES
from untouched import untouched


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tiny_classifier(PHOTO_CLASSES, channels=3).save(tmp_path / "model")
