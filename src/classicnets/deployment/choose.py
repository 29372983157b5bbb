"""`--engine auto`: measure what this machine has, and keep the fastest way within the accuracy limit.

    candidates -> without those over the limit -> each against the fastest so far, in turns -> the winner's settings,
    one after the other, in the same way -> the choice, and a table of everything that was tried

Only the fastest so far and its challenger are in memory at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classicnets.deployment.engines import Engine, Goal, Precision, Session, Settings, open_session
from classicnets.deployment.timing import Clock, turn
from classicnets.errors import ConfigError, MissingExtra
from classicnets.system.progress import Report, no_report

_SECONDS = 0.6  # of a match, and at least three rounds
_ROUNDS = 3
_CLEAR = 1.5  # times faster or slower in every round: the match ends early
_GAIN = 1.02  # times faster, from which on a challenger wins
_CHUNKS = (1, 4, 16)  # images that a stream computes together; the engine's own choice lies between

LOSSY_GAIN = 1.05
"""How many times faster int8, or whatever else costs accuracy, must be to be kept. Less is measurement error."""


@dataclass(frozen=True)
class Candidate:
    """An exported network.

    Attributes:
        engine: which engine runs it.
        folder: where the engine's files are.
        precision: the arithmetic that it was made for.
        drop: how much accuracy it loses, in points; 0 for fp32.
    """

    engine: Engine
    folder: Path
    precision: Precision = "fp32"
    drop: float = 0.0


@dataclass(frozen=True)
class Row:
    """A way that was tried.

    Attributes:
        engine: the engine.
        precision: the arithmetic that was asked for.
        executed: the arithmetic that the engine used; "" if it was not opened.
        threads, streams, chunk, convolution, spinning: its settings.
        batch: how many images a call had.
        milliseconds: median time of a call, or None if it was not measured.
        images_per_second: the same as a rate.
        speed: how many times faster than the way that was kept; below 1: slower.
        kept: whether this is the choice.
        note: why it was not kept.
    """

    engine: Engine
    precision: Precision
    executed: str
    threads: int
    streams: int
    chunk: int | None
    convolution: str
    spinning: bool
    batch: int
    milliseconds: float | None = None
    images_per_second: float | None = None
    speed: float | None = None
    kept: bool = False
    note: str = ""

    @classmethod
    def of(cls, engine: Engine, settings: Settings, executed: str, batch: int, **measured: Any) -> Row:
        """Return the row of an engine with these settings. `measured` are the other attributes."""
        return cls(
            engine=engine, precision=settings.precision, executed=executed, threads=settings.used_threads,
            streams=settings.used_streams, chunk=settings.chunk, convolution=settings.convolution,
            spinning=settings.spinning, batch=batch, **measured,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON-ready values."""
        return asdict(self)


@dataclass(frozen=True)
class Choice:
    """What `choose` found.

    Attributes:
        best: the candidate to keep.
        settings: how its engine should run it here.
        rows: everything that was tried, in order.
    """

    best: Candidate
    settings: Settings
    rows: tuple[Row, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what was not kept, such as "onnxruntime int8: not faster here (0.93x)"."""
        return tuple(f"{row.engine} {row.precision}: {row.note}" for row in self.rows if row.note)


def choose(
    candidates: Sequence[Candidate],
    *,
    images: NDArray[np.uint8],
    goal: Goal = "latency",
    max_drop: float = 0.5,
    winograd: bool = True,
    progress: Report = no_report,
    opener: Callable[[str, Path, Settings], Session] = open_session,
    clock: Clock = time.perf_counter,
) -> Choice:
    """Measure candidates on this machine, and return the fastest one with its settings.

    Args:
        candidates: exported networks, 1 or more. Those of fp32 are measured first.
        images: uint8 (N, C, H, W), N 1 or more: one call's batch for the goal "throughput". "latency" uses the first.
        goal: "latency", the time of one image, or "throughput", images per second in batches of N.
        max_drop: candidates that lose more points of accuracy are not measured; 0 or more.
        winograd: whether OpenVINO may compute 3x3 convolutions in fp32 by Winograd's algorithm.
        progress: called with what is being done, how much of it is done, and how much there is.
        opener: opens an exported network.
        clock: tells the time, in seconds.

    Raises ConfigError if no candidate can be used here.

    >>> choose([Candidate("openvino", folder), Candidate("onnxruntime", folder)], images=images)  # doctest: +SKIP
    """
    batch = images[:1] if goal == "latency" else images
    contest = _Contest(batch, opener, clock)
    entries = list(_entries(sorted(candidates, key=lambda c: c.precision != "fp32"), goal, winograd))
    total = len(entries) + len(_steps("onnxruntime", Settings(goal=goal), goal, len(batch)))
    for done, (candidate, settings) in enumerate(entries):
        progress("Choosing an engine", done, total)
        if candidate.drop > max_drop:
            contest.refuse(candidate, settings, f"loses {candidate.drop:.2f} points, and the limit is {max_drop:g}")
        else:
            contest.enter(candidate, settings)
    if contest.best is None:
        reasons = "; ".join(f"{row.engine} {row.precision}: {row.note}" for row in contest.rows)
        raise ConfigError(f"No engine can run this network here within the limit ({reasons}).")
    steps = _steps(contest.best.candidate.engine, contest.best.settings, goal, len(batch))
    for done, step in enumerate(steps, len(entries)):
        progress("Choosing an engine", done, total)
        changed = replace(contest.best.settings, **step)
        if changed != contest.best.settings:
            contest.enter(contest.best.candidate, changed)
    progress("Choosing an engine", total, total)
    return contest.choice()


def _entries(candidates: Sequence[Candidate], goal: Goal, winograd: bool) -> Iterator[tuple[Candidate, Settings]]:
    """Each candidate with an engine's usual settings; OpenVINO's fp32 also with Winograd's convolutions."""
    for candidate in candidates:
        settings = Settings(precision=candidate.precision, goal=goal)
        yield candidate, settings
        if winograd and candidate.engine == "openvino" and candidate.precision == "fp32":
            yield candidate, replace(settings, convolution="winograd")


def _steps(engine: Engine, settings: Settings, goal: Goal, batch: int) -> list[dict[str, Any]]:
    """The settings to try on the winner, one after the other.

    Fewer threads for one image; streams and chunks for batches, and the whole batch at once, which reads large weights
    once; and threads that wait actively.
    """
    several = settings.used_threads > 1
    spinning = [{"spinning": True}] if several and engine == "onnxruntime" else []
    if goal == "latency":
        fewer = [{"threads": settings.used_threads // 2}] if several else []
        return [*fewer, *spinning]
    streams = [{"streams": 1}] if several else []
    chunks = [{"chunk": chunk} for chunk in _CHUNKS if chunk <= batch]
    return [*streams, *chunks, {"streams": 1, "chunk": batch}, *spinning]


@dataclass
class _Entry:
    """A way that is open: its place in the table, and how fast it is beside the first one."""

    candidate: Candidate
    settings: Settings
    session: Session
    row: int
    speed: float = 1.0


class _Contest:
    """Matches between the best so far and challengers."""

    def __init__(
        self, images: NDArray[np.uint8], opener: Callable[[str, Path, Settings], Session], clock: Clock
    ) -> None:
        self._images, self._opener, self._clock = images, opener, clock
        self.rows: list[Row] = []
        self.best: _Entry | None = None
        self._speeds: dict[int, float] = {}

    def refuse(self, candidate: Candidate, settings: Settings, note: str, executed: str = "") -> None:
        """Add a row for what is not measured."""
        self.rows.append(Row.of(candidate.engine, settings, executed, len(self._images), note=note))

    def enter(self, candidate: Candidate, settings: Settings) -> None:
        """Open a way, measure it against the best, and keep the faster one."""
        try:
            session = self._opener(candidate.engine, candidate.folder, settings)
        except MissingExtra:
            return self.refuse(candidate, settings, "the engine is not installed")
        if session.executed != candidate.precision:
            return self.refuse(candidate, settings, f"computes in {session.executed} here", session.executed)
        self.refuse(candidate, settings, "", session.executed)
        entry = _Entry(candidate, settings, session, len(self.rows) - 1)
        ours, theirs = self._match(entry, self.best)
        self._record(entry.row, median(ours))
        ratio = median(b / a for a, b in zip(ours, theirs, strict=True))
        entry.speed = ratio * (self.best.speed if self.best else 1.0)
        self._speeds[entry.row] = entry.speed
        lossy = candidate.drop > 0 or candidate.precision == "int8"
        new_loss = lossy and self.best is not None and self.best.candidate != candidate
        if self.best is None or ratio >= (LOSSY_GAIN if new_loss else _GAIN):
            self.best = entry
        return None

    def choice(self) -> Choice:
        """The best, and the table with every speed relative to it."""
        assert self.best is not None
        for row, speed in self._speeds.items():
            relative = speed / self.best.speed
            note = "" if row == self.best.row else f"not faster here ({relative:.2f}x)"
            self.rows[row] = replace(self.rows[row], speed=relative, kept=row == self.best.row, note=note)
        settings = replace(
            self.best.settings, threads=self.best.settings.used_threads, streams=self.best.settings.used_streams
        )
        return Choice(self.best.candidate, settings, tuple(self.rows))

    def _match(self, challenger: _Entry, best: _Entry | None) -> tuple[list[float], list[float]]:
        """Seconds of a call in each round: of the challenger, and of the best. A first call of each warms up."""
        entries = [challenger] if best is None else [challenger, best]
        taken: list[list[float]] = [[] for _ in entries]
        for entry in entries:
            entry.session.run(self._images)
        begun = self._clock()
        while len(taken[0]) < _ROUNDS or (self._clock() - begun < _SECONDS and not _is_clear(taken)):
            order = list(zip(entries, taken, strict=True))
            for entry, times in order if len(taken[0]) % 2 else order[::-1]:  # A B, B A: a drift hits both alike
                times.append(median(turn(lambda entry=entry: entry.session.run(self._images), clock=self._clock)))  # type: ignore[misc]
        return taken[0], taken[-1]

    def _record(self, row: int, seconds: float) -> None:
        rate = len(self._images) / seconds
        self.rows[row] = replace(self.rows[row], milliseconds=seconds * 1000, images_per_second=rate)


def _is_clear(taken: Sequence[Sequence[float]]) -> bool:
    """Whether every round has the same winner, by far."""
    ratios = [a / b for a, b in zip(taken[0], taken[-1], strict=True)]
    return min(ratios) > _CLEAR or max(ratios) < 1 / _CLEAR
