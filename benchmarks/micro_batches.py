"""Would a server be faster if it joined requests to small batches? Images a second, and whether the numbers change.

A server with many requests waiting computes one image at a time in each of two streams, or batches of 2, 4 or 8. Here a
session gets 64 images at once and divides them so: the most that joining can gain, because nobody waits for a batch to
fill, and images are prepared already. All ways take turns.

    python benchmarks/micro_batches.py             # about 5 minutes on two quiet cores
    python benchmarks/micro_batches.py --quick     # seconds: does it run?
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from report import random_bundle, write_results

from classicnets.deployment.engines import Settings, open_session
from classicnets.deployment.timing import interleaved
from classicnets.system.threads import usable_cores

CASES = (("resnet20_cifar", 32), ("resnet18", 64), ("resnet18", 224))
BATCHES = (1, 2, 4, 8)
IMAGES = 64


def measure(engine: str, name: str, size: int, seconds: float, *, images: int = IMAGES) -> list[object]:
    """A row of the table."""
    pixels = np.random.default_rng(0).integers(0, 256, (images, 3, size, size), dtype=np.uint8)
    streams = usable_cores()
    with tempfile.TemporaryDirectory(prefix="classicnets-batches-") as folder:
        bundle = random_bundle(name, size, Path(folder) / "bundle")
        sessions = {
            batch: open_session(engine, bundle, Settings(streams=streams, chunk=batch, goal="throughput"))
            for batch in BATCHES
        }
        times = interleaved({str(b): partial(session.run, pixels) for b, session in sessions.items()}, seconds=seconds)
        alone = sessions[1].run(pixels).probabilities
        gains = [f"{times[str(batch)].speedup_over(times['1']):.2f}" for batch in BATCHES[1:]]
        same = [np.array_equal(sessions[batch].run(pixels).probabilities, alone) for batch in BATCHES[1:]]
    words = ["the same" if equal else "others" for equal in same]
    return [f"{name}, {size} px", engine, f"{images / times['1'].p50:.0f}", *gains, *words]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each network with each engine")
    parser.add_argument("--quick", action="store_true", help="one small network; nothing is written")
    options = parser.parse_args()
    cases = CASES[:1] if options.quick else CASES
    seconds = 0.5 if options.quick else options.seconds
    rows = [measure(engine, *case, seconds) for case in cases for engine in ("openvino", "onnxruntime")]
    columns = ["network", "engine", "images/s one at a time", *(f"in batches of {b}" for b in BATCHES[1:])]
    columns += [f"numbers in {b}" for b in BATCHES[1:]]
    notes = [
        f"Batches are times as fast as single images, both in {usable_cores()} streams of one thread; medians over "
        f"interleaved rounds, networks with random weights in fp32. Numbers are compared bit by bit.",
    ]
    if options.quick:
        print(columns, *rows, *notes, sep="\n")
        return
    write_results("micro_batches", "Requests joined to batches", columns, rows, notes)


if __name__ == "__main__":
    main()
