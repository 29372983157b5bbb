"""What tests share: a cache of their own, and photos to train on, made on the spot."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from classicnets.data import Data, ImageSet
from classicnets.evaluation import Report
from classicnets.reports.html import Themed
from classicnets.system.telemetry import silence_telemetry
from classicnets.system.threads import threads_kept
from classicnets.training.recipe.files import with_settings
from classicnets.training.recipe.schema import Recipe
from photos import write_photos

silence_telemetry()  # tests import OpenVINO by themselves

_LONGEST = ("test_processes.py", "test_kill.py", "test_tune.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first, so that at the end no core waits for another."""
    items.sort(key=lambda item: item.path.name not in _LONGEST)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLASSICNETS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _fixed_threads() -> Iterator[None]:
    """Trainings are compared to the bit, which a measured number of threads decides: tests fix it, as a user may."""
    with pytest.MonkeyPatch.context() as patch:
        if "OMP_NUM_THREADS" not in os.environ:
            patch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
        yield


@pytest.fixture(autouse=True)
def _threads_kept() -> Iterator[None]:
    """What a test does to PyTorch's number of threads ends with it: two processes with two threads each are slow."""
    with threads_kept():
        yield


@pytest.fixture
def plain_reports() -> Iterator[Callable[[Path, Report, ImageSet], Path]]:
    """`train` and `evaluate` write reports without figures, by a `write_report` that draws none and is returned.

    Drawing them takes longer than a small training.
    """

    def write_report(folder: Path, report: Report, images: ImageSet) -> Path:
        report.save(folder / "evaluation")  # makes the folder too
        page = folder / "report.html"
        page.write_text("<p>A report without figures.</p>", "utf-8")
        return page

    with pytest.MonkeyPatch.context() as patch:  # its own: a test may undo what it patched itself
        for place in ("classicnets.training.run.job", "classicnets.reports"):
            patch.setattr(f"{place}.write_report", write_report)
        yield write_report


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages get empty pictures for their figures, which take longest to draw."""
    empty = Themed("data:image/png;base64,", "data:image/png;base64,")
    for page in ("classicnets.reports.page", "classicnets.explanation.page"):
        monkeypatch.setattr(f"{page}.themed", lambda *_: empty)


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """A folder with CLASS/*.jpg: 3 classes of 12 photos, 48x40 pixels, easy to tell apart. Yours to change."""
    folder = tmp_path / "photos"
    write_photos(folder, 12)
    return folder


def _images(n: int, seed: int) -> ImageSet:
    """Squares in one of four corners, on noise: what a few steps can learn."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 80, (n, 1, 12, 12), dtype=torch.uint8, generator=generator)
    labels = torch.arange(n) % 4
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = divmod(label, 2)
        image[:, 6 * row + 1 : 6 * row + 5, 6 * column + 1 : 6 * column + 5] = 220
    ids = tuple(f"{seed}/{i:05}" for i in range(n))
    return ImageSet(classes=("NW", "NE", "SW", "SE"), labels=labels, ids=ids, images=images)


@pytest.fixture(scope="session")
def corners() -> Data:
    return Data(
        name="corners", source="corners", train=_images(80, 0), val=_images(20, 1), test=_images(24, 2), split="as made"
    )


@pytest.fixture
def recipe() -> Recipe:
    settings = ["epochs=3", "batch_size=16", "precision=fp32", "optim.lr=0.05", "augment.crop=pad", "augment.padding=1"]
    return with_settings(Recipe(), settings)
