"""The page of `train --watch` in a real browser, around a training that runs in this process."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from browser import barriers, chromium, opened, overflow
from classicnets.training import Job, reopen, start
from classicnets.training.step.state import EpochDone
from classicnets.training.watch import Watching


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture
def job(corners, recipe, tmp_path: Path) -> Job:
    settings = ["epochs=3", "model.switches.depths=[1,1,1]"]
    return start("resnet20_cifar", corners, recipe=recipe, settings=settings, out=tmp_path / "run")


def watched(job: Job, browser: Browser, look: Callable[[Page], None], *, at: Callable[[object], bool], **window) -> Job:
    """Train to the end; at the first event that `at` names, open the page and `look` at it. It stays open."""
    with Watching(job) as watching:
        events = watching.events(job)
        for event in events:
            if at(event):
                break
        with opened(browser, watching.url, **window) as page:
            look(page)
            for _ in events:
                pass
            # The end waits for the page, which is driven by this thread: another one says that it has come.
            ending = threading.Thread(target=watching.__exit__, args=(None, None, None))
            ending.start()
            expect(page.locator("#end-title")).to_have_text("Finished")
            ending.join()
            assert page.locator("#stop").is_hidden()
            assert page.locator("#end-text").inner_text().startswith("top-1 ")
            assert barriers(page) == []
    return job


@pytest.mark.usefixtures("plain_reports")
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_a_training_is_shown_while_it_goes_and_at_its_end(job: Job, browser: Browser, width: int, dark: bool) -> None:
    def look(page: Page) -> None:
        expect(page.locator("#phase")).to_have_text("Training")
        expect(page.locator("#epoch")).to_have_text("3 / 3")
        expect(page.locator("#accuracy")).to_contain_text("%")
        expect(page.locator("#left")).to_contain_text(":")
        assert page.locator("#chart-loss polyline").count() == 3
        expect(page.locator("#chart-accuracy")).to_have_attribute("aria-label", re.compile("validation"))
        page.locator("#chart-loss").hover()
        expect(page.locator("#key-loss .val")).to_contain_text("epoch")
        assert barriers(page) == []
        assert overflow(page) <= 0

    watched(job, browser, look, at=lambda event: getattr(event, "epoch", 0) == 3, width=width, dark=dark)
    assert job.run.finished


@pytest.mark.usefixtures("plain_reports")
def test_the_button_asks_and_then_stops_the_training(job: Job, browser: Browser) -> None:
    def train(page: Page, events: Iterator[object]) -> None:
        page.get_by_role("button", name="Stop the training").click()
        expect(page.get_by_role("button", name="Go on training")).to_be_focused()
        assert barriers(page) == []
        page.keyboard.press("Escape")
        expect(page.locator("#confirm")).to_be_hidden()
        page.get_by_role("button", name="Stop the training").click()
        page.get_by_role("button", name="Stop", exact=True).click()
        expect(page.locator("#phase")).to_have_text("Stopping")
        for _ in events:
            pass

    with Watching(job) as watching:
        events = watching.events(job)
        next(events)
        with opened(browser, watching.url) as page:
            with pytest.raises(KeyboardInterrupt):
                train(page, events)
            watching._history.end("stopped")
            watching._page.over.set()
            expect(page.locator("#end-title")).to_have_text("Stopped")
            expect(page.locator("#end-command")).to_have_text(f"classicnets train --resume {job.run.path}")
    again = reopen(job.run, data=job._prepared.data)
    assert isinstance(list(again)[-2], EpochDone)


def test_a_program_that_was_killed(job: Job, browser: Browser) -> None:
    with Watching(job) as watching:
        events = watching.events(job)
        next(events)
        with opened(browser, watching.url, expected=["ERR_FAILED"]) as page:
            expect(page.locator("#epoch")).to_have_text("1 / 3")
            page.route("**/next", lambda route: route.abort())
            expect(page.locator("#problem")).to_contain_text("does not answer any more", timeout=10_000)
            expect(page.locator("#stop")).to_be_disabled()
        events.close()
