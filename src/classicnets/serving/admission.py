"""`Admission`: how many requests are computed at once, how many wait, and how many bytes they hold together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from classicnets.serving.limits import Limits
from classicnets.serving.refusal import busy

Answer = TypeVar("Answer")

_here = threading.local()


def abandoned() -> bool:
    """Whether nobody waits any more for the work that this thread does: long work looks now and then, and ends."""
    gone: threading.Event | None = getattr(_here, "gone", None)
    return gone is not None and gone.is_set()


def alone() -> bool:
    """Whether the server has no request besides the one that this thread computes: none that waits, either."""
    admission: Admission | None = getattr(_here, "admission", None)
    return admission is None or admission.inside <= 1


class Admission:
    """Runs work in threads, off the event loop, and refuses what is too much.

    Attributes:
        inside: how many requests are computed or wait.
        held: how many bytes of bodies are held.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.inside = self.held = 0
        self._threads = ThreadPoolExecutor(limits.workers, thread_name_prefix="classicnets-serve")

    @property
    def full(self) -> bool:
        """Whether no more work is taken now."""
        return self.inside >= self.limits.workers + self.limits.waiting

    def hold(self, number: int) -> None:
        """Count bytes that arrived. Raises Refusal (503) if all requests together hold too many."""
        if self.held + number > self.limits.bodies:
            raise busy()
        self.held += number

    def release(self, number: int) -> None:
        """Count bytes that are not held any more."""
        self.held -= number

    async def run(self, work: Callable[[], Answer]) -> Answer:
        """Return what `work` returns, computed in a thread when its turn comes.

        Waiting work lies in the threads' own queue, so that a thread that has ended one goes on with the next at once.
        A caller that is cancelled while it waits leaves its place. Work that has begun keeps its place until it ends,
        and `abandoned` tells it that it may. Raises Refusal (503) if too many wait.
        """
        if self.full:
            raise busy()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        given, gone = [work], threading.Event()

        def turn() -> Answer:
            _here.gone, _here.admission = gone, self
            return given.pop()()

        self.inside += 1
        future = self._threads.submit(turn)
        future.add_done_callback(lambda done: loop.call_soon_threadsafe(self._leave, done, answer))
        try:
            return await answer
        finally:
            gone.set()
            if future.cancel():  # it had not begun
                given.clear()  # the images that it holds

    def _leave(self, done: Future[Any], answer: asyncio.Future[Any]) -> None:
        self.inside -= 1
        if answer.done():
            return  # the caller was cancelled
        if error := done.exception():
            answer.set_exception(error)
        else:
            answer.set_result(done.result())

    def close(self) -> None:
        """Wait until all work has ended."""
        self._threads.shutdown(wait=True)
