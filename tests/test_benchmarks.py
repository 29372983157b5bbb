"""The benchmarks can be loaded, and what they share does what it says; what they measure is not for a test."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from classicnets.analysis.summary import inspect
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


def test_multiply_adds_of_a_training_are_three_forward_passes_at_the_size_of_each_epoch():
    module = runpy.run_path(str(BENCHMARKS / "compute_to_accuracy.py"))
    images = module["SETS"]["fashion-mnist"]
    name = "resnet14_wide_cifar"
    forward = {side: inspect(name, image_size=side, in_channels=1, num_classes=10).macs for side in (16, 24, 28)}
    count = module["multiply_adds"]
    plain = module["recipe_of"]("shipped", name, images, ["progressive.start=1", "batch_size=100"], 3)
    assert count(plain, 1050, 1) == 3 * 1000 * 3 * forward[28]
    growing = module["recipe_of"]("shipped", name, images, ["progressive.start=0.5", "progressive.until=0.6"], 3)
    assert count(growing, 128, 1) == 3 * 128 * (forward[16] + forward[24] + forward[28])
    narrow = module["recipe_of"]("shipped", name, images, ["model.switches.widths=[8,8,8]"], 3)
    assert count(narrow, 128, 1) < count(growing, 128, 1) / 4


def test_auxiliary_classifiers_are_multiplied_too():
    module = runpy.run_path(str(BENCHMARKS / "compute_to_accuracy.py"))
    images = module["SETS"]["fashion-mnist"]
    costs = [
        module["multiply_adds"](module["recipe_of"]("timm", "googlenet_cifar", images, [change], 1), 128, 1)
        for change in ("model.switches.aux=true", "model.switches.aux=false")
    ]
    assert costs[0] > costs[1]


def test_the_cheapest_budget_that_reaches_a_target_is_chosen_by_the_mean_of_its_seeds():
    module = runpy.run_path(str(BENCHMARKS / "compute_to_accuracy.py"))

    def cell(epochs, seed, accuracy):
        return module["Cell"](
            "fashion-mnist", 54_000, "net", "shipped", "", epochs, seed, epochs * 10**12, accuracy, ""
        )

    budgets = {1: [0.95], 2: [0.945, 0.933, 0.939], 4: [0.941, 0.941, 0.941], 8: [0.945, 0.945, 0.945]}
    cells = [cell(epochs, seed, top1) for epochs, runs in budgets.items() for seed, top1 in enumerate(runs)]
    rows = {row[1]: row for row in module["cheapest"](module["budgets"](cells))}
    assert rows["0.93"][5:] == ["2", "2.00", "0.9390 ± 0.0060", "3"]  # one seed alone counts for nothing
    assert rows["0.94"][5:] == ["4", "4.00", "0.9410 ± 0.0000", "3"]
    assert "not reached" in rows["0.95"]
