"""Stopping a training from outside: between two steps, so that what is kept is whole."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from classicnets.training.scale.processes import ALONE, Processes


class StopRequests:
    """Ctrl-C and SIGTERM, noted while a step is under way and obeyed after it; a second Ctrl-C stops at once.

    While `at_once` is set, nothing is under way that must be ended first, and the first does too.
    Of several processes, all obey after the same step, whichever was told. The second Ctrl-C is waited out as well:
    torchrun passes on the first, which the terminal has sent to everyone already.
    """

    def __init__(self, processes: Processes = ALONE) -> None:
        self.at_once = False
        self._processes = processes
        self._received = 0
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> StopRequests:
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if kind is None:
            self.obey()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        if self._processes.world == 1:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if self.at_once:
                self.obey()

    def obey(self) -> None:
        """Raise what was asked for, in every process."""
        received = self._processes.largest(self._received)
        if received == signal.SIGINT:
            raise KeyboardInterrupt
        if received == signal.SIGTERM:
            raise SystemExit(143)
