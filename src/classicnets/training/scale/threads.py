"""How many CPU threads compute each step of a training: a given number, a recorded one, or the measured best.

    most, half, most, half, ... -> the faster; its half ... -> chosen -> measured again if the speed falls by half

The steps of the training itself are timed. The number of threads decides the last bits of a result. So each number is
recorded before a step uses it, and a run that goes on uses the recorded numbers for the same steps again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal, TypeVar

import torch

from classicnets.training.step.state import EpochDone, StepDone, TrainState

Event = TypeVar("Event", StepDone, EpochDone, StepDone | EpochDone)

_CLEAR = 1.5  # one timed step of each number suffices if one is this many times faster
_MOST_PAIRS = 3  # timed steps of each number otherwise
_GAIN = 1.1  # fewer threads are chosen if they are at least this many times faster
_WINDOW = 5  # the speed is the median of this many steps
_FALL = 2  # measure again if the training becomes this many times slower than at its best
_REST_AFTER_FALL = 10  # then wait at least this many times what the last measurement cost
_REST = 50  # the same, before checking whether more threads have become faster


@dataclass(frozen=True)
class Used:
    """The number of threads from step number `step` (0 is the first) until the next record.

    `how`: "fixed" by the user, "measuring", "chosen" by measurement, or "again" if the user asked to measure again.
    A choice also has the `seconds` of a step at full image size, and the seconds `lost` with slower numbers.
    """

    step: int
    threads: int
    how: Literal["fixed", "measuring", "chosen", "again"]
    seconds: float = 0.0
    lost: float = 0.0


def recorded(events: Iterable[Mapping[str, Any]]) -> list[Used]:
    """Return the records among the events of a run. A number that the user asked for replaces all later records."""
    plan: list[Used] = []
    for event in events:
        if event["event"] != "threads":
            continue
        used = Used(**{key: value for key, value in event.items() if key not in ("time", "event")})
        if used.how in ("fixed", "again"):
            plan = [earlier for earlier in plan if earlier.step < used.step]
        plan.append(used)
    return plan


@dataclass(frozen=True)
class Choice:
    """The fastest number of `threads`, the median `seconds` of a step with each, and the time `lost` by measuring."""

    threads: int
    seconds: Mapping[int, float]
    lost: float


def measure(most: int) -> Generator[int, float, Choice]:
    """Yield the number of threads for the next step, take its seconds, and return the choice.

    `most` is compared with its half. While fewer threads are faster, the half is compared with its own half. The first
    step with each number is not counted, because it prepares memory and kernels.
    """
    best, counted, spent = most, dict[int, list[float]](), list[float]()
    while best > 1:
        pair = (best, best // 2)
        for threads in pair:
            if threads not in counted:
                counted[threads] = []
                spent.append((yield threads))
        for _ in range(_MOST_PAIRS):
            for threads in pair:
                seconds = yield threads
                counted[threads].append(seconds)
                spent.append(seconds)
            more, fewer = (median(counted[threads]) for threads in pair)
            if not 1 / _CLEAR < more / fewer < _CLEAR:
                break
        if more < _GAIN * fewer:
            break
        best //= 2
    medians = {threads: median(seconds) for threads, seconds in counted.items()}
    lost = sum(max(0.0, seconds - medians[best]) for seconds in spent)
    return Choice(best, medians, lost)


class Threads:
    """Set the number of threads before each step, and measure which number is fastest.

    Args:
        plan: the records of the run, oldest first. New records are appended to this list.
        most: the largest number of threads to try, 1 or more.
        batch_size: the number of images in a step, for messages.
        record: called with each new record before a step uses it. The record must be on disk when this returns.
        say: called with a sentence about each choice, and whether it is a warning.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        plan: list[Used],
        most: int,
        batch_size: int,
        record: Callable[[Used], None],
        say: Callable[[str, bool], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._plan = plan
        self._most = most
        self._batch_size = batch_size
        self._record = record
        self._say = say
        self._clock = clock
        self._measuring: Generator[int, float, Choice] | None = None
        self._recent = deque[float](maxlen=_WINDOW)
        self._rested_since = 0.0
        self._best = 0.0

    def paced(self, events: Iterator[Event], state: TrainState, work: Callable[[], float]) -> Iterator[Event]:
        """Yield the events of `fit`, and set the number of threads for each step: as recorded, or chosen now.

        `work` returns the work of the current step, as a share of a step at full image size.
        """
        self._measuring = None
        self._look(None, state.step)
        while True:
            begun = self._clock()
            event = next(events, None)
            if event is None:
                return
            if isinstance(event, StepDone):
                self._look((self._clock() - begun) / work(), event.step)
            yield event

    def _look(self, seconds: float | None, step: int) -> None:
        """Set the number of threads for step number `step`. The step before it took `seconds`."""
        last = self._plan[-1] if self._plan else None
        if self._measuring is not None and seconds is not None:
            self._go_on_measuring(step, seconds)
        elif last is not None and step <= last.step:
            self._use(planned(self._plan, step))
            self._begin_watching(last)
        elif last is not None and last.how == "fixed":
            self._use(last.threads)
        elif last is None or last.how != "chosen" or last.threads > self._most:
            self._begin_measuring(step)
        elif seconds is None:
            self._use(last.threads)
            self._begin_watching(last)
        elif self._is_time(seconds, last):
            self._begin_measuring(step)

    def _begin_measuring(self, step: int) -> None:
        if self._most == 1:
            self._use(1)
            return
        self._measuring = measure(self._most)
        self._try(step, next(self._measuring))

    def _go_on_measuring(self, step: int, seconds: float) -> None:
        assert self._measuring is not None
        try:
            self._try(step, self._measuring.send(seconds))
        except StopIteration as end:
            self._measuring = None
            self._choose(step, end.value)

    def _try(self, step: int, threads: int) -> None:
        used = Used(step, threads, "measuring")
        self._plan.append(used)
        self._record(used)
        self._use(threads)

    def _choose(self, step: int, choice: Choice) -> None:
        before = next((used.threads for used in reversed(self._plan) if used.how == "chosen"), None)
        used = Used(step, choice.threads, "chosen", choice.seconds[choice.threads], choice.lost)
        self._plan.append(used)
        self._record(used)
        self._use(used.threads)
        self._begin_watching(used)
        if used.threads != before:
            self._say(self._sentence(choice), used.threads < self._most)

    def _sentence(self, choice: Choice) -> str:
        others = [threads for threads in choice.seconds if threads != choice.threads]
        closest = min(others, key=lambda threads: choice.seconds[threads])
        was, chosen = (self._batch_size / choice.seconds[threads] for threads in (closest, choice.threads))
        if choice.threads == self._most:
            return (
                f"training with {choice.threads} threads, {chosen:,.0f} images/s: "
                f"not faster with {closest} ({was:,.0f} images/s)"
            )
        reason = ". Other processes use this machine" if chosen > _CLEAR * was else ""
        return (
            f"training with {choice.threads} of {self._most} threads, {chosen:,.0f} images/s: "
            f"slower with {closest} ({was:,.0f} images/s){reason}"
        )

    def _begin_watching(self, used: Used) -> None:
        self._recent.clear()
        self._best = used.seconds
        self._rested_since = self._clock()

    def _is_time(self, seconds: float, last: Used) -> bool:
        """Whether to measure again: the speed has halved, or more threads may have become faster."""
        self._recent.append(seconds)
        if len(self._recent) < _WINDOW:
            return False
        now = median(self._recent)
        self._best = min(self._best or now, now)
        rest = self._clock() - self._rested_since
        if last.threads > 1 and now > _FALL * self._best:
            return rest > _REST_AFTER_FALL * last.lost
        return last.threads < self._most and rest > _REST * max(last.lost, now)

    def _use(self, threads: int) -> None:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def planned(plan: Sequence[Used], step: int) -> int:
    """Return the number of threads recorded for step number `step`. Steps before the first record use its number."""
    return next((used.threads for used in reversed(plan) if used.step <= step), plan[0].threads)


def asked_for(given: int | Literal["auto"] | None, plan: Sequence[Used], step: int) -> Used | None:
    """Return a record of the number that the user asks for from step number `step` on. None if it changes nothing."""
    if given is None or not plan:
        return None
    if given == "auto":
        return Used(step, planned(plan, step), "again")
    kept = plan[-1].how == "fixed" and planned(plan, step) == plan[-1].threads == given
    return None if kept else Used(step, given, "fixed")
