"""Stop a training on Ctrl-C or SIGTERM, between two steps, so that the saved state is complete."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from classicnets.training.scale.processes import ALONE, Processes


class StopRequests:
    """Handle Ctrl-C and SIGTERM inside a `with` block: note the signal during a step, and stop after it.

    A second Ctrl-C stops at once. While `at_once` is True, the first does too, because no step is under way.

    Several processes all stop after the same step, whichever of them got the signal. A second Ctrl-C does not stop
    them at once: the terminal sends Ctrl-C to every process, and torchrun sends it once more.
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
        """Raise KeyboardInterrupt or SystemExit in every process if any of them got a signal."""
        received = self._processes.largest(self._received)
        if received == signal.SIGINT:
            raise KeyboardInterrupt
        if received == signal.SIGTERM:
            raise SystemExit(143)
