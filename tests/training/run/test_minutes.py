"""A training on photos keeps to its minutes, at the size at which most of them are trained."""

import time
from contextlib import contextmanager

import pytest

from classicnets.training import start
from classicnets.training.run import budget
from photos import write_photos

MINUTES = 2
SETTINGS = ("image_size=224", "model.switches.widths=[8,16,32,64]")  # narrow, so that slow machines have time


class Stopwatch:
    """Adds up seconds by the clock and seconds in which this thread computed."""

    def __init__(self):
        self.clock = self.computing = 0.0

    @contextmanager
    def running(self):
        clock, computing = time.monotonic(), time.thread_time()
        yield
        self.clock += time.monotonic() - clock
        self.computing += time.thread_time() - computing

    @property
    def share(self):
        """The share of a core that this thread got."""
        return self.computing / self.clock


@pytest.mark.slow
def test_a_training_on_photos_ends_within_its_minutes(tmp_path, monkeypatch):
    """Seconds are counted as if other programs had used the machine throughout as much as while the steps were timed.

    A twentieth of the minutes is kept in reserve. The bounds are wide: other programs also slow each instruction down,
    and a step took up to 40 % less time to compute when they ended.
    """
    write_photos(tmp_path / "photos", 32, size=(320, 240))
    preparing, timing, training = Stopwatch(), Stopwatch(), Stopwatch()
    measure = budget.measure

    def timed(*args, **options):
        with timing.running():
            return measure(*args, **options)

    monkeypatch.setattr(budget, "measure", timed)
    with preparing.running():
        job = start(
            "resnet18", tmp_path / "photos", minutes=MINUTES, settings=SETTINGS, threads=1, out=tmp_path / "run"
        )
    with training.running():
        *_, finished = job
    assert finished.run.finished
    seconds = preparing.clock + training.computing / timing.share
    seen = (job.recipe.epochs, seconds, preparing.clock, training.clock, training.share, timing.share)
    assert 0.5 < seconds / (60 * MINUTES) < 1.5, seen
