"""`classicnets serve` beside the engine that it serves, and beside LitServe, in turns; then four times too much.

ResNet-18 with random weights answers JPEG photos of 500 x 375 pixels, one a request. Each contender has a process of
its own that sleeps while others have their turn, and so has what sends the requests:

- engine: `bundle.predict` on the files' bytes, in as many threads as the server has workers, each with its share of
  the cores; single images have all cores. This is the server's own work without HTTP: decoding, resizing, the network,
  the answer. "network alone" is the engine on prepared pixels.
- classicnets: `classicnets serve` at its defaults.
- LitServe: the same bundle and the same `predict` in LitServe, with as many workers (benchmarks/litserve_app.py).

The generator shares the machine's cores with the server, and the engine's own loop has them to itself.

    python benchmarks/serve.py --litserve-python /tmp/lit/bin/python      # about 15 minutes on two quiet cores
    python benchmarks/serve.py --quick                                    # 1 minute: does it run?

LitServe needs an environment of its own, because its uvloop would change what our server runs on: `python -m venv
/tmp/lit`, a file /tmp/lit/lib/python3.*/site-packages/ours.pth with the path of our site-packages, and
`/tmp/lit/bin/pip install --no-deps litserve==0.2.19 httptools uvloop python-dotenv watchfiles websockets pyzmq`.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from http_load import Load, Outcome
from report import make_photos, random_bundle, write_results

from classicnets.deployment import Bundle
from classicnets.system.threads import usable_cores

PHOTO = (375, 500)
OVERLOAD = 4.0
WORKERS = usable_cores()


class Times(NamedTuple):
    """Answers a second with all workers busy, and milliseconds of single requests: the median and the 99th percent."""

    rate: float
    p50: float
    p99: float


Turn = Callable[[float], Times]
"""Runs a contender for so many seconds saturated, and for as many with one request at a time."""


def engine(pipe: Connection, folder: Path, files: list[Path]) -> None:
    """Answer commands, in a process of its own: (bare, threads, seconds) -> the seconds of each call, and of all."""
    bundle, alone = Bundle.load(folder, streams=WORKERS), Bundle.load(folder, streams=1)
    contents = [file.read_bytes() for file in files]
    prepared = [bundle.preprocess.read(content)[None] for content in contents]
    for _ in range(3):
        bundle.predict(contents[0])
        alone.predict(contents[0])
    pipe.send("ready")
    while True:
        bare, threads, seconds = pipe.recv()
        used = alone if threads == 1 else bundle
        images, ask = (prepared, used.session.run) if bare else (contents, used.predict)
        begun = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            taken = list(pool.map(lambda _: repeated(ask, images, begun + seconds), range(threads)))  # noqa: B023
        pipe.send(([second for some in taken for second in some], time.perf_counter() - begun))


def repeated(ask: Callable[[Any], object], images: list[Any], end: float) -> list[float]:
    """Ask about the images in turns until a time, and return the seconds of each call."""
    taken = []
    for image in itertools.cycle(images):
        begun = time.perf_counter()
        if begun > end:
            break
        ask(image)
        taken.append(time.perf_counter() - begun)
    return taken


@contextmanager
def engine_process(folder: Path, files: list[Path]) -> Iterator[Callable[[bool], Turn]]:
    """The engine; yields what makes a turn of it, bare or with decoding."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=engine, args=(theirs, folder, files), daemon=True)
    process.start()
    ours.recv()

    def asked(*command: Any) -> tuple[list[float], float]:
        ours.send(command)
        answer: tuple[list[float], float] = ours.recv()
        return answer

    def made(bare: bool) -> Turn:
        def turn(seconds: float) -> Times:
            many, took = asked(bare, WORKERS, seconds)
            single, _ = asked(bare, 1, seconds)
            return Times(len(many) / took, *(float(np.percentile(single, p)) * 1e3 for p in (50, 99)))

        return turn

    try:
        yield made
    finally:
        process.kill()
        process.join()


@contextmanager
def our_server(folder: Path) -> Iterator[tuple[int, int]]:
    """`classicnets serve` with a bundle; yields its port and its process."""
    command = [sys.executable, "-m", "classicnets", "serve", f"model={folder}", "--port", "0"]
    with started(command, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", said)
        if found is None:
            raise SystemExit(f"The server did not start: {said}{process.stderr.read()}")
        drain = threading.Thread(target=process.stderr.read, daemon=True)
        drain.start()
        yield int(found[1]), process.pid


@contextmanager
def litserve_server(python: str, folder: Path) -> Iterator[int]:
    """LitServe with a bundle; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [python, str(Path(__file__).with_name("litserve_app.py")), str(folder), str(port), str(WORKERS)]
    with started(command, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        for _ in range(600):
            time.sleep(0.1)
            if process.poll() is not None:
                raise SystemExit(f"LitServe did not start: {' '.join(command)}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
                probe.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                if b" 200 " in probe.recv(100):
                    break
        yield port


@contextmanager
def started(command: list[str], **more: Any) -> Iterator[subprocess.Popen[str]]:
    """A process with its children, which is killed at the end."""
    process = subprocess.Popen(command, text=True, **more)
    try:
        yield process
    finally:
        if more.get("start_new_session"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
        process.kill()
        process.wait()


def http_turn(port: int, path: str, files: list[Path], *, form: bool) -> Turn:
    """A turn of a server."""

    def turn(seconds: float) -> Times:
        names = [str(file) for file in files]
        many = Load(port, path, names, connections=4 * WORKERS, seconds=seconds, form=form).run()
        single = Load(port, path, names, connections=1, seconds=seconds, form=form).run()
        for outcome in (many, single):
            if outcome.lost or set(outcome.answered) != {"200"}:
                raise SystemExit(f"port {port} answered { ({k: len(v) for k, v in outcome.answered.items()}) }")
        return Times(many.rate, single.milliseconds(50), single.milliseconds(99))

    return turn


def in_turns(turns: dict[str, Turn], rounds: int, seconds: float) -> dict[str, list[Times]]:
    """Rounds of all contenders, forwards and backwards; the first round warms up and does not count."""
    taken: dict[str, list[Times]] = {name: [] for name in turns}
    for i in range(rounds + 1):
        for name in list(turns)[:: -1 if i % 2 else 1]:
            times = turns[name](seconds if i else min(seconds, 2))
            print(f"round {i}: {name:14} {times.rate:8.1f}/s {times.p50:7.2f} ms {times.p99:7.2f} ms", flush=True)
            if i:
                taken[name].append(times)
    return taken


def medians(times: list[Times]) -> Times:
    return Times(*(median(column) for column in zip(*times, strict=True)))


def rows_of(size: int, taken: dict[str, list[Times]]) -> list[list[object]]:
    """A row for each contender: medians over the rounds, and the median of the ratios to the engine."""
    own = taken["engine"]
    rows = []
    for name, times in taken.items():
        typical = medians(times)
        share = median(theirs.rate / ours.rate for theirs, ours in zip(times, own, strict=True))
        bound = [1.3 * ours.p99 + 5 for ours in own]
        within = "yes" if median(t.p99 - b for t, b in zip(times, bound, strict=True)) <= 0 else "no"
        figures = [f"{typical.rate:.1f}", f"{share:.0%}", f"{typical.p50:.1f}", f"{typical.p99:.1f}"]
        rows.append([f"{size} px", name, *figures, within if name in ("classicnets", "LitServe") else "-"])
    return rows


def resident(process: int) -> float:
    """MiB of memory that a process holds."""
    text = Path(f"/proc/{process}/status").read_text("utf-8")
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def overload(port: int, process: int, files: list[Path], peak: float, seconds: float) -> list[str]:
    """Send four times as much as the server can answer, and say what it did."""
    names = [str(file) for file in files]

    def single(seconds: float) -> Outcome:
        return Load(port, "/v1/predict", names, connections=1, seconds=seconds).run()

    before, memory = single(5), resident(process)
    sending = Load(port, "/v1/predict", names, connections=512, seconds=seconds, rate=OVERLOAD * peak).start()
    highest = memory
    while sending.poll() is None and sending.stdout is not None and not _has_output(sending):
        highest = max(highest, resident(process))
        time.sleep(0.2)
    outcome = Outcome.of(sending)
    after = single(5)
    goodput = outcome.count() / outcome.seconds
    statuses = ", ".join(f"{len(times):,} with {status}" for status, times in sorted(outcome.answered.items()))
    return [
        f"{OVERLOAD:g} times as much for {seconds:.0f} s, {OVERLOAD * peak:.0f} requests a second: {statuses}; "
        f"{outcome.lost} lost, {outcome.refused} not sent for want of a connection.",
        "",
        "| at four times too much | is | should be |",
        "| --- | --- | --- |",
        f"| answers a second, of the peak | {goodput / peak:.0%} | 90% or more |",
        f"| 503 within, 99% | {outcome.milliseconds(99, 503):.0f} ms | 50 ms |",
        f"| 503 with Retry-After | {outcome.retries / outcome.count(503):.0%} | 100% |",
        f"| memory grew by | {highest / memory - 1:.1%} | less than 10% |",
        f"| p99 of single requests in the 5 s before and after | {before.milliseconds(99):.1f} and "
        f"{after.milliseconds(99):.1f} ms | alike |",
    ]


def _has_output(process: subprocess.Popen[str]) -> bool:
    """Whether it has ended its work: it prints once, at the end, more than a pipe holds."""
    import select

    assert process.stdout is not None
    return bool(select.select([process.stdout], [], [], 0)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--litserve-python", help="the Python of an environment with LitServe; without it, it is left out"
    )
    parser.add_argument("--sizes", default="224,64", help="input sizes of the network")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--seconds", type=float, default=8.0, help="of a contender in each round: saturated, and single"
    )
    parser.add_argument(
        "--overload", type=float, default=60.0, help="seconds of four times too much, at the first size"
    )
    parser.add_argument("--quick", action="store_true", help="a small network for seconds; nothing is written")
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.rounds, options.seconds, options.overload = "64", 1, 2.0, 5.0
    begun, rows, notes = time.perf_counter(), [], []
    with tempfile.TemporaryDirectory(prefix="classicnets-serve-") as name:
        folder = Path(name)
        files = sorted(make_photos(folder / "photos", 16, 1, PHOTO, noise=4).rglob("*.jpg"))
        for size in map(int, options.sizes.split(",")):
            bundle = random_bundle("resnet18", size, folder / f"bundle-{size}", auto=not options.quick)
            with contextlib.ExitStack() as stack:
                turn_of = stack.enter_context(engine_process(bundle, files))
                port, process = stack.enter_context(our_server(bundle))
                turns = {"network alone": turn_of(True), "engine": turn_of(False)}
                turns["classicnets"] = http_turn(port, "/v1/predict", files, form=False)
                if options.litserve_python:
                    other = stack.enter_context(litserve_server(options.litserve_python, bundle))
                    turns["LitServe"] = http_turn(other, "/predict", files, form=True)
                taken = in_turns(turns, options.rounds, options.seconds)
                rows += rows_of(size, taken)
                if not notes:
                    notes = overload(port, process, files, medians(taken["classicnets"]).rate, options.overload)
    columns = ["input", "what", "answers/s", "of the engine", "single p50, ms", "single p99, ms", "p99 <= 1.3x + 5 ms"]
    notes += [
        "",
        f"ResNet-18 with random weights, JPEG photos of {PHOTO[1]} x {PHOTO[0]} pixels. Medians of {options.rounds} "
        f"rounds of {options.seconds:g} s in which all took turns. The generator is a process on the same "
        f"{WORKERS} cores. It took {(time.perf_counter() - begun) / 60:.0f} minutes.",
    ]
    if options.quick:
        print(columns, *rows, *notes, sep="\n")
        return
    write_results("serve", "Serving beside the engine alone and beside LitServe", columns, rows, notes)


if __name__ == "__main__":
    main()
