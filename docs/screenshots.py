"""Pictures of the pages for the documentation, taken in Chromium.

    python docs/screenshots.py RUN IMAGE      writes images/inside.png and images/watch.png

RUN is a finished run, such as runs/shapes of the quick start, and IMAGE an image for it. The second picture is of a
training on `digits` that starts for it.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from playwright.sync_api import Browser, expect

from browser import chromium, opened
from classicnets.serving.models import Served
from classicnets.training import start
from classicnets.training.watch import Watching
from servers import running

IMAGES = Path(__file__).absolute().parent / "images"


def inside(browser: Browser, run: Path, image: Path) -> None:
    """The page that looks inside, at a unit of the second stage."""
    with running([Served(run.name, run)]) as server, opened(browser, f"http://127.0.0.1:{server.port}/inside") as page:
        page.set_input_files("#files", image)
        page.locator("#stages button").nth(1).click()
        expect(page.locator("#channels-title")).to_contain_text("conv2")
        page.get_by_label("this channel").check()
        expect(page.locator("#moved")).to_contain_text("Without")
        expect(page.locator("#value")).not_to_have_attribute("aria-busy", "true")
        page.screenshot(path=IMAGES / "inside.png", full_page=True)


def watch(browser: Browser) -> None:
    """The page of a training, in the middle of its tenth epoch."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        job = start("resnet20_cifar", "digits", settings=["epochs=12"])
        with Watching(job) as watching:
            events = watching.events(job)
            for event in events:
                if getattr(event, "epoch", 0) == 10 and event.step % (job.num_steps // 12) == 10:
                    break
            with opened(browser, watching.url) as page:
                expect(page.locator("#epoch")).to_have_text("10 / 12")
                page.screenshot(path=IMAGES / "watch.png", full_page=True)
            events.close()


if __name__ == "__main__":
    with chromium() as started:
        inside(started, Path(sys.argv[1]), Path(sys.argv[2]))
        watch(started)
