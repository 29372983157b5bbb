"""Training speed while other processes use the cores: the chosen number of threads against each fixed number.

With zero, one and two competing processes, which spin in Python. Each way trains in a process of its own that waits
while another one has its turn. In a turn, each takes some steps.

    python benchmarks/busy.py --seconds 4 --turns 5
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import repeat
from statistics import median

import torch
from report import synthetic, write_results
from timed_training import TimedTraining

from classicnets.system.devices import Precision, choose_device
from classicnets.system.memory import memory_kept
from classicnets.system.threads import most_threads
from classicnets.training.recipe.schema import Recipe
from classicnets.training.scale.threads import Threads, Used
from classicnets.training.step.state import StepDone
from classicnets.weights import create_model


def train(network: str, image_size: int, batch_size: int, threads: str) -> None:
    """Train for so many seconds as each line on stdin says; answer with the number of images and the seconds."""
    precision = Precision.choose("auto", choose_device("cpu"))
    packed, preprocess = synthetic(image_size, 8 * batch_size)
    recipe = Recipe.model_validate({"batch_size": batch_size, "optim": {"lr": 0.01}})
    torch.manual_seed(0)
    model = create_model(network, num_classes=10).to(memory_format=torch.channels_last)
    training = TimedTraining(model, network, packed, preprocess, recipe, precision)
    plan = [] if threads == "auto" else [Used(0, int(threads), "fixed")]
    pace = Threads(plan, most_threads(), batch_size, lambda used: None, lambda text, warning: None)

    def steps() -> Iterator[StepDone]:
        for epoch in repeat(0):
            for batch in training.session.loader.batches(epoch):
                loss = training.step(batch)
                yield StepDone(1, training.state.step, loss, 0.0, 0.01, 0.0)

    with memory_kept(precision.dtype):
        paced = pace.paced(steps(), training.state, lambda: 1.0)
        print("ready", flush=True)
        for line in sys.stdin:
            begun, first = time.perf_counter(), training.state.step
            while time.perf_counter() < begun + float(line):
                next(paced)
            print((training.state.step - first) * batch_size, time.perf_counter() - begun, flush=True)


class Trainer:
    """A process that trains in its turns."""

    def __init__(self, options: argparse.Namespace, threads: str) -> None:
        words = ["--network", options.network, "--image-size", options.image_size, "--batch-size", options.batch_size]
        command = [sys.executable, __file__, "--train", threads, *map(str, words)]
        environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}  # as the command line sets it
        environment.pop("OMP_NUM_THREADS", None)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self._ask(None) == "ready"

    def turn(self, seconds: float) -> float:
        """Train for about so many seconds; returns images per second."""
        images, spent = self._ask(f"{seconds}\n").split()
        return float(images) / float(spent)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()

    def _ask(self, line: str | None) -> str:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        if line is not None:
            stdin.write(line)
            stdin.flush()
        return stdout.readline().strip()


@contextmanager
def competing(number: int) -> Iterator[None]:
    """Inside the block, so many other processes each use a core."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def measure(options: argparse.Namespace, number: int) -> dict[str, float]:
    """Return the median images/s of each way, beside so many competing processes; auto's is of all its turns."""
    most = most_threads()
    ways = ["auto", *(str(threads) for threads in sorted({1, max(1, most // 2), most}))]
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    with ExitStack() as stack:
        trainers = {way: Trainer(options, way) for way in ways}
        for trainer in trainers.values():
            stack.callback(trainer.end)
        stack.enter_context(competing(number))
        for _ in range(options.turns):
            for way, trainer in trainers.items():
                speeds[way].append(trainer.turn(options.seconds))
    return {way: median(found) for way, found in speeds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="resnet20_cifar")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=4.0, help="of a turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--train", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        train(options.network, options.image_size, options.batch_size, options.train)
        return
    rows = []
    for number in (0, 1, 2):
        found = measure(options, number)
        auto = found.pop("auto")
        best = max(found, key=found.__getitem__)
        fixed = ", ".join(f"{threads}: {speed:.0f}" for threads, speed in found.items())
        rows.append((number, f"{auto:.0f}", fixed, best, f"{auto / found[best]:.2f}"))
        print(rows[-1], flush=True)
    write_results(
        "busy",
        f"Training speed on a busy machine: {options.network}, {options.image_size} px, batch {options.batch_size}",
        ("competing processes", "auto, images/s", "fixed threads: images/s", "best fixed", "auto / best fixed"),
        rows,
        [
            f"Medians of {options.turns} turns of {options.seconds:g} s, interleaved; every way waits passively "
            "(OMP_WAIT_POLICY=PASSIVE). The turns of auto include the steps that measure.",
        ],
    )


if __name__ == "__main__":
    main()
