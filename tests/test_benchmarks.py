"""The benchmarks can be loaded, and what they share does what it says; what they measure is not for a test."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from photos import write_photos

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _among_themselves(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_every_benchmark_can_be_loaded_and_says_what_it_measures(path):
    assert runpy.run_path(str(path))["__doc__"]


def test_photos_are_made_of_others_and_torchvision_loads_them(tmp_path):
    report = runpy.run_path(str(BENCHMARKS / "report.py"))
    write_photos(tmp_path / "small", 2)
    plain, noisy = (
        report["make_photos"](tmp_path / name, 4, 2, (60, 90), source=tmp_path / "small", noise=noise)
        for name, noise in (("plain", 0.0), ("noisy", 4.0))
    )
    one, other = (np.asarray(Image.open(min(folder.rglob("*.jpg"))), np.float32) for folder in (plain, noisy))
    assert one.shape == other.shape == (60, 90, 3)
    assert 1 < (one - other).std() < 6
    batches = report["torchvision_batches"](noisy, 32, 4)
    assert batches.num_workers == 2
    images, labels = zip(*(batches.dataset[i] for i in range(4)), strict=True)
    assert torch.stack(images).shape == (4, 3, 32, 32)
    assert sorted(labels) == [0, 0, 1, 1]
