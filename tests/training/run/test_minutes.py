"""A training on photos keeps to its minutes, at the size at which most of them are trained."""

import time
from contextlib import contextmanager

import pytest
from photos import write_photos

from classicnets.training import start
from classicnets.training.run import budget

MINUTES = 2
NET = "resnet18"


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

    One epoch is about a twentieth of the budget, and a twentieth is kept in reserve.
    """
    write_photos(tmp_path / "photos", 16, size=(320, 240))
    preparing, timing, training = Stopwatch(), Stopwatch(), Stopwatch()
    measure = budget.measure

    def timed(*args, **options):
        with timing.running():
            return measure(*args, **options)

    monkeypatch.setattr(budget, "measure", timed)
    with preparing.running():
        job = start(
            NET, tmp_path / "photos", minutes=MINUTES, settings=["image_size=224"], threads=1, out=tmp_path / "run"
        )
    with training.running():
        *_, finished = job
    assert finished.run.finished
    seconds = preparing.clock + training.computing / timing.share
    assert 0.75 < seconds / (60 * MINUTES) < 1.15, (preparing.clock, training.clock, training.share, timing.share)
