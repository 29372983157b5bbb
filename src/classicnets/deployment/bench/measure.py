"""`bench`: every contender of a network in turns, as a table of latency, throughput, memory and use of the machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from classicnets.deployment.bench.contender import Contender, Loaded, Running
from classicnets.deployment.bench.target import Target, Work
from classicnets.deployment.engines import ENGINES, Session, open_session
from classicnets.deployment.timing import Clock, Times, summarised, turn
from classicnets.errors import ConfigError
from classicnets.system.csv_text import csv_text
from classicnets.system.machine import machine
from classicnets.system.progress import Report, no_report
from classicnets.system.threads import usable_cores

if TYPE_CHECKING:
    from classicnets.deployment.bench.peaks import Peaks

_ROUNDS = 3
Turn = Callable[[int], list[float]]
"""Runs batches of a size for one turn, and returns the seconds of each call."""


@dataclass(frozen=True)
class Measured:
    """One contender at one batch size.

    Attributes:
        contender: what it is called, such as "OpenVINO fp32".
        precision: the arithmetic that it computed in.
        batch: images in a call.
        p50_ms, p90_ms, p99_ms: milliseconds of a call: the median, and what 90 and 99 % of the calls did not exceed.
        images_per_second: from the median.
        speed: how many times faster than the first contender at the same batch size: the median of the rounds' ratios.
        load_seconds: from the start of its work, imports included, to its first answer.
        peak_mib: the most memory that its process held, with all batch sizes.
        gflops: billions of operations per second: two for each multiply-add; None, as the next ones, if it is not known
            what the network computes.
        gbps: billions of bytes per second that have to move: the weights once, each activation out and in again.
        intensity: operations for each of these bytes.
        of_roof: the share that `gflops` has of what this machine reaches at that intensity; None if that is not known.
    """

    contender: str
    precision: str
    batch: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    images_per_second: float
    speed: float
    load_seconds: float
    peak_mib: float
    gflops: float | None = None
    gbps: float | None = None
    intensity: float | None = None
    of_roof: float | None = None


@dataclass(frozen=True)
class BenchReport:
    """What `bench` measured.

    Attributes:
        network: what was measured, such as "resnet18 at 3x224x224".
        rows: each contender at each batch size.
        peaks: the machine's ceilings; None if it is not known what the network computes.
        machine: the processor, and whatever else speed depends on.
        threads: how many threads each contender had.
        notes: what could not run here, and why.
    """

    network: str
    rows: tuple[Measured, ...]
    peaks: Peaks | None
    machine: dict[str, Any]
    threads: int
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        return asdict(self)

    def to_csv(self) -> str:
        """Return the rows as a CSV table."""
        return csv_text(Measured.__dataclass_fields__, (list(asdict(row).values()) for row in self.rows))


def bench(
    target: Target,
    *,
    batches: Sequence[int] = (1, 8, 32),
    threads: int | None = None,
    seconds: float = 2.0,
    progress: Report = no_report,
    start: Callable[[Contender, tuple[int, int, int]], Running] = Running,
    peaks: Peaks | None = None,
) -> BenchReport:
    """Measure every contender of a target: latency, throughput, memory and loading, in turns.

    Args:
        target: the network and its contenders.
        batches: how many images a call has; each 1 or more.
        threads: how many threads the contenders have; by default one for each core that this process may use.
        seconds: how long each contender runs at each batch size, at least; more if three rounds take longer.
        progress: called with what is being done, how much of it is done, and how much there is.
        start: starts the process of a contender.
        peaks: the machine's ceilings, if they are known already.

    Raises ConfigError if no contender can run here.

    >>> with open_target("resnet18") as target:  # doctest: +SKIP
    ...     bench(target).rows[0].p50_ms
    """
    threads = min(threads or usable_cores(), usable_cores())
    notes = list(target.notes)
    with ExitStack() as stack:
        running: dict[Contender, Running] = {}
        for done, contender in enumerate(target.contenders):
            progress("Loading", done, len(target.contenders))
            try:
                running[contender] = stack.enter_context(closing(start(contender, target.shape)))
            except ConfigError as error:
                notes.append(str(error))
        progress("Loading", len(target.contenders), len(target.contenders))
        if not running:
            raise ConfigError(f"Nothing can run here. {' '.join(notes)}")
        turns = {contender: process.turn for contender, process in running.items()}
        times = {batch: measured(turns, batch, seconds, progress) for batch in batches}
        loaded = {contender: process.loaded for contender, process in running.items()}
        memory = {contender: process.peak_bytes() for contender, process in running.items()}
    if target.work is not None and peaks is None:
        from classicnets.deployment.bench.peaks import measure_peaks

        peaks = measure_peaks(threads, progress=progress)
    rows = [
        _row(contender, batch, found, target.work, peaks, loaded[contender], memory[contender])
        for batch, found in times.items()
        for contender in found
    ]
    facts = machine("torch", "openvino", "onnxruntime")
    return BenchReport(target.title, tuple(rows), peaks, facts, threads, tuple(notes))


def fastest(target: Target, images: NDArray[np.uint8]) -> tuple[Contender, Session]:
    """Return the fastest of the engines that a target has, opened here. Its rivals in PyTorch do not count.

    Args:
        target: the network and its contenders.
        images: uint8 (N, C, H, W), one batch.

    Raises ConfigError if none of the contenders is an engine that runs here.
    """
    best: tuple[float, Contender, Session] | None = None
    for contender in target.contenders:
        if contender.way in ENGINES:
            session = open_session(contender.way, contender.folder, contender.settings)
            session.run(images)
            taken = min(turn(lambda session=session: session.run(images)))  # type: ignore[misc]
            if best is None or taken < best[0]:
                best = taken, contender, session
    if best is None:
        raise ConfigError(f"No engine to look into. Name one of them with --engines: {', '.join(ENGINES)}.")
    return best[1:]


def measured(
    turns: Mapping[Contender, Turn], batch: int, seconds: float, progress: Report, *, clock: Clock = perf_counter
) -> dict[Contender, Times]:
    """Return the times of each contender. They take turns in rounds, forwards and backwards.

    A process warms up by itself before the first batch of a size.
    """
    what = f"Batch {batch}"
    taken: dict[Contender, list[list[float]]] = {contender: [] for contender in turns}
    begun, budget = clock(), seconds * len(turns)
    done = 0
    while done < _ROUNDS or clock() - begun < budget:
        for contender in list(turns)[:: -1 if done % 2 else 1]:
            taken[contender].append(turns[contender](batch))
        done += 1
        share = min(done / _ROUNDS, (clock() - begun) / budget if budget else 1.0)
        progress(what, min(99, round(100 * share)), 100)
    progress(what, 100, 100)
    return {contender: summarised(rounds) for contender, rounds in taken.items()}


def _row(
    contender: Contender,
    batch: int,
    found: Mapping[Contender, Times],
    work: Work | None,
    peaks: Peaks | None,
    loaded: Loaded,
    memory: int,
) -> Measured:
    times, first = found[contender], next(iter(found.values()))
    row = Measured(
        contender=contender.name,
        precision=loaded.executed,
        batch=batch,
        p50_ms=times.p50 * 1e3,
        p90_ms=times.percentile(90) * 1e3,
        p99_ms=times.percentile(99) * 1e3,
        images_per_second=batch / times.p50,
        speed=times.speedup_over(first),
        load_seconds=loaded.seconds,
        peak_mib=memory / 2**20,
    )
    if work is None or peaks is None:
        return row
    flops, moved = 2 * work.macs * batch, work.bytes_moved(batch, loaded.executed)
    gflops = flops / times.p50 / 1e9
    roof = peaks.roof(loaded.executed, flops / moved)
    return replace(
        row,
        gflops=gflops,
        gbps=moved / times.p50 / 1e9,
        intensity=flops / moved,
        of_roof=None if roof is None else gflops / roof,
    )
