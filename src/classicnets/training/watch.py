"""`Watching`: a page on this machine that shows a training while it goes, and can stop it.

It needs the standard library alone. The training's thread only appends to a `History`; another thread answers the page
about once a second, and sleeps otherwise. The page asks again as soon as it has an answer, and an answer waits for a
second unless the training is over: so a browser that slows the clocks of hidden pages learns of the end too.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import sys
import threading
import time
import webbrowser
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

from classicnets.errors import ClassicNetsError, ConfigError
from classicnets.reports.html import render
from classicnets.system.local_page import LocalPage, nothing_here
from classicnets.training.history import End, History
from classicnets.training.run.job import Finished, Job
from classicnets.training.run.refit import Refitting
from classicnets.training.step.state import EpochDone, StepDone

Event = TypeVar("Event", bound=StepDone | EpochDone | Refitting | Finished)

_PAUSE = 1.0  # seconds between two answers to a page
_LONGEST_END = 3.0  # seconds that the end of a training waits for its page


class WatchPage(LocalPage):
    """The server of the page.

    GET /TOKEN/now        the state
    GET /TOKEN/next       the state in a second, or when the training is over
    POST /TOKEN/stop      ends the training as Ctrl-C does
    """

    def __init__(self, job: Job, history: History) -> None:
        super().__init__()
        self._job, self._history = job, history
        self._lock = threading.Lock()
        self._asked = -_LONGEST_END
        self._stopping = False
        self.over, self._told = threading.Event(), threading.Event()

    def page(self, nonce: str) -> str:
        """The page."""
        recipe = self._job.recipe
        return render("watch.html.j2", model=recipe.model.name, run=self._job.run.path, nonce=nonce)

    def get(self, place: str) -> Any:
        """The state, now or later."""
        if place not in ("now", "next"):
            raise nothing_here()
        self._asked = time.monotonic()
        if place == "next":
            self.over.wait(_PAUSE)
        return {**self._history.state(), "stopping": self._stopping}

    def answered(self, place: str) -> None:
        """Note that a page has heard of the end."""
        if place in ("now", "next") and self.over.is_set():
            self._told.set()

    def post(self, place: str, values: Any) -> Any:
        """Stop the training, once: a second Ctrl-C would stop it without a checkpoint."""
        if place != "stop":
            raise nothing_here()
        with self._lock:
            if not self._stopping and not self.over.is_set():
                self._stopping = True
                _thread.interrupt_main()
        return {"stopping": True}

    def end(self) -> None:
        """Let the open page know of the end, for at most three seconds."""
        self.over.set()
        if time.monotonic() - self._asked < _LONGEST_END:
            self._told.wait(_LONGEST_END)


class Watching:
    """A context manager: inside it, a page shows the events that pass through `events`.

    The training goes on without a page if none can be served. At the end the page shows how the training ended.

    Args:
        job: the training, not iterated over yet.

    Attributes:
        url: the page's address, with its random token; "" if there is no page.
        problem: why there is no page; "" if there is one.

    >>> with Watching(job) as watching:  # doctest: +SKIP
    ...     finished = follow(job, watching.events(job))
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._history = History(job)
        self._page: WatchPage | None = None
        self.url = self.problem = ""

    def __enter__(self) -> Watching:
        try:
            self._page = WatchPage(self._job, self._history)
        except ConfigError as error:
            self.problem = str(error)
            return self
        self.url = self._page.url
        threading.Thread(target=self._page.serve_forever, name="classicnets-watch", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._history.end(*_how(error))
        if self._page is None:
            return
        try:
            self._page.end()
        finally:
            self._page.shutdown()
            self._page.server_close()

    def events(self, events: Iterable[Event]) -> Iterator[Event]:
        """Yield the events of the training, unchanged, each after it is noted."""
        for event in events:
            self._history.add(event)
            yield event

    def open_browser(self) -> bool:
        """Show the page in a browser if this machine has a screen; return whether it was tried."""
        if not self.url or not has_screen():
            return False

        def show() -> None:
            with contextlib.suppress(Exception):  # a broken browser is no reason to stop a training
                webbrowser.open(self.url)

        threading.Thread(target=show, name="classicnets-browser", daemon=True).start()
        return True


def has_screen() -> bool:
    """Whether a browser could show a page to whoever sits here. Without a screen it would take over the terminal."""
    if sys.platform in ("win32", "darwin"):
        return "SSH_CONNECTION" not in os.environ
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _how(error: BaseException | None) -> tuple[End, str]:
    """How a training ended, and why."""
    if error is None:
        return "finished", ""
    if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
        return "stopped", ""
    return "failed", str(error) if isinstance(error, ClassicNetsError) else "The terminal says why."
