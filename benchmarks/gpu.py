"""On a GPU: training steps beside a plain loop of torchvision, and the time to an accuracy on CIFAR-10.

**Steps.** ResNet-50 and DenseNet-121 at 224 pixels, compiled and not. torchvision's network trains in a plain loop with
all that PyTorch recommends: autocast, channels-last, TF32, cuDNN's benchmark, torch.compile, fused SGD. Its batches are
normalised floats that lie in the GPU's memory, so it loads nothing. Ours is `fit`, as `classicnets train` runs it, from
bytes in the GPU's memory: it also picks, shifts, mirrors and normalises the images, and reports its losses. They take
turns, A B A B; the first turn of each is a warm-up, which compiles. The share is of what this GPU reaches in a product
of large matrices of the same type, and counts the multiply-adds of three forward passes.

**Time to accuracy.** `classicnets train NETWORK cifar10 --recipe cifar10-fast` with more and more epochs and several
seeds, until the mean test accuracy is 94 %.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --only cifar10 --data cifar10-jpeg/ --seeds 0 1 2 3 4
    python benchmarks/gpu.py --quick     # on any machine, in seconds: does it run? It writes no results
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
import torchvision
from report import synthetic, write_results

from classicnets.analysis import inspect
from classicnets.card import Card
from classicnets.system.devices import Precision, choose_device, fast_training, synchronize
from classicnets.training import EpochDone, start
from classicnets.training.recipe.schema import Recipe
from classicnets.training.step.loop import fit
from classicnets.training.step.session import Session
from classicnets.training.step.state import StepDone, TrainState
from classicnets.weights import create_model

NETWORKS = ("resnet50", "densenet121")  # torchvision's names, and ours
CLASSES = 1000
RATE = 1e-3
STEPS_AN_EPOCH = 40
ACCURACIES = (0.90, 0.93, 0.94)


class Contender(Protocol):
    """One of the two ways to train."""

    def steps(self, number: int) -> None:
        """Take so many optimizer steps; on a GPU they may still be queued afterwards."""


@dataclass(frozen=True)
class Job:
    """What both train."""

    name: str
    size: int
    batch: int
    compiles: bool
    precision: Precision


class Plain:
    """torchvision's network in a plain loop, with batches that lie in the GPU's memory."""

    def __init__(self, job: Job) -> None:
        self.precision = job.precision
        device = job.precision.device
        model = torchvision.models.get_model(job.name, num_classes=CLASSES).to(
            device, memory_format=torch.channels_last
        )
        self.optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=0.9, weight_decay=1e-4, fused=True)
        self.model = torch.compile(model) if job.compiles else model
        self.scaler = job.precision.scaler()
        images = torch.randn(2, job.batch, 3, job.size, job.size, device=device)
        self.images = [half.contiguous(memory_format=torch.channels_last) for half in images]
        self.labels = torch.arange(job.batch, device=device)

    def steps(self, number: int) -> None:
        for i in range(number):
            with self.precision():
                loss = F.cross_entropy(self.model(self.images[i % 2]), self.labels)
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)


class Ours:
    """`fit`, without validation, from bytes in the GPU's memory."""

    def __init__(self, job: Job) -> None:
        device = job.precision.device
        packed, preprocess = synthetic(job.size, STEPS_AN_EPOCH * job.batch, CLASSES)
        recipe = Recipe.model_validate(
            {
                "epochs": 10_000, "batch_size": job.batch, "image_size": job.size, "precision": job.precision.name,
                "optim": {"lr": RATE, "weight_decay": 1e-4, "nesterov": False}, "schedule": {"name": "constant"},
                "augment": {"crop": "pad", "padding": 4, "flip": True},
            }
        )  # fmt: skip
        model = create_model(job.name, num_classes=CLASSES).to(device, memory_format=torch.channels_last)
        card = Card(model_name=job.name, classes=tuple(map(str, range(CLASSES))), preprocess=preprocess)
        there = packed.images.to(device) if device.type == "cuda" else None
        session = Session.of(recipe, card, packed, packed, job.precision, train_there=there, compiles=job.compiles)
        self.events = fit(replace(session, validates=False), TrainState.begin(model, recipe))

    def steps(self, number: int) -> None:
        done = (event for event in self.events if isinstance(event, StepDone))
        for _ in itertools.islice(done, number):
            pass


CONTENDERS = {"torchvision": Plain, "ours": Ours}


class Raced(NamedTuple):
    """Images/s of each contender in each counted turn, and the seconds of its first turn."""

    rates: dict[str, list[float]]
    first: dict[str, float]


def race(job: Job, turns: int, steps: int) -> Raced:
    """Both train in turns of so many steps. Each turn begins with three steps that are not counted."""
    device = job.precision.device
    contenders: dict[str, Contender] = {name: make(job) for name, make in CONTENDERS.items()}
    found = Raced({name: [] for name in contenders}, {})
    with fast_training(job.precision):
        for turn in range(turns + 1):
            for name, contender in contenders.items():
                begun = time.perf_counter()
                contender.steps(3)
                synchronize(device)
                counted = time.perf_counter()
                contender.steps(steps)
                synchronize(device)
                ended = time.perf_counter()
                if turn:
                    found.rates[name].append(job.batch * steps / (ended - counted))
                else:
                    found.first[name] = ended - begun
                if device.type == "cuda":
                    torch.cuda.empty_cache()  # the other one needs the memory
    return found


def matmul_rate(precision: Precision, side: int) -> float:
    """Operations per second of a product of two square matrices, the best of ten."""
    a, b = (torch.randn(side, side, dtype=precision.dtype, device=precision.device) for _ in range(2))
    seconds = []
    for _ in range(10):
        begun = time.perf_counter()
        a @ b
        synchronize(precision.device)
        seconds.append(time.perf_counter() - begun)
    return 2 * side**3 / min(seconds)


def throughput(options: argparse.Namespace, precision: Precision) -> list[tuple[object, ...]]:
    """The rows of the table of steps."""
    peak = matmul_rate(precision, 256 if options.quick else 8192)
    rows = []
    for name, compiles in itertools.product(NETWORKS, (False,) if options.quick else (False, True)):
        job = Job(name, options.size, options.batch, compiles, precision)
        raced = race(job, options.turns, options.steps)
        theirs, ours = (statistics.median(raced.rates[contender]) for contender in CONTENDERS)
        ratio = statistics.median(b / a for a, b in zip(*raced.rates.values(), strict=True))
        operations = 3 * 2 * inspect(name, image_size=options.size).macs
        rows.append(
            (name, options.size, options.batch, precision.name, "yes" if compiles else "no", f"{theirs:.0f}",
             f"{ours:.0f}", f"{ratio:.2f}", f"{ours * operations / peak:.0%}",
             *(f"{raced.first[contender]:.0f}" for contender in CONTENDERS))
        )  # fmt: skip
        print(*rows[-1], flush=True)
    return rows


class Trained(NamedTuple):
    """A training on CIFAR-10: test accuracy, seconds of its epochs with validation, and seconds up to the report."""

    accuracy: float
    training: float
    whole: float


def train(options: argparse.Namespace, epochs: int, seed: int) -> Trained:
    """Train once with the recipe, from the images to the report."""
    begun, training = time.perf_counter(), 0.0
    settings = [f"epochs={epochs}", f"seed={seed}", *options.set]
    with tempfile.TemporaryDirectory() as folder:
        job = start(
            options.network, options.data, recipe="cifar10-fast", settings=settings, out=Path(folder) / "run",
            device=options.device,
        )  # fmt: skip
        for event in job:
            if isinstance(event, EpochDone):
                training = event.seconds
        return Trained(job.run.report.top1, training, time.perf_counter() - begun)


def time_to_accuracy(options: argparse.Namespace) -> Iterator[tuple[int, list[Trained]]]:
    """Yield numbers of epochs and their trainings, until the last accuracy is reached."""
    train(options, 1, 0)  # loads libraries, packs the images
    for epochs in options.epochs:
        found = [train(options, epochs, seed) for seed in options.seeds]
        yield epochs, found
        print(epochs, *found, flush=True)
        if statistics.mean(each.accuracy for each in found) >= ACCURACIES[-1]:
            return


def cifar10(options: argparse.Namespace) -> tuple[list[tuple[object, ...]], list[str]]:
    """The rows of the table of CIFAR-10, and a sentence for each accuracy."""
    rows: list[tuple[object, ...]] = []
    reached: dict[float, str] = {}
    for epochs, found in time_to_accuracy(options):
        accuracies, training, whole = (list(column) for column in zip(*found, strict=True))
        mean, spread = statistics.mean(accuracies), statistics.stdev(accuracies) if len(found) > 1 else 0.0
        seconds = [f"{statistics.median(column):.1f}" for column in (training, whole)]
        rows.append((epochs, len(found), f"{mean:.4f} ± {spread:.4f}", *seconds))
        for accuracy in ACCURACIES:
            if mean >= accuracy:
                reached.setdefault(accuracy, f"{epochs} epochs, {seconds[0]} s of training, {seconds[1]} s in all")
    return rows, [f"{accuracy:.0%}: {reached.get(accuracy, 'not reached')}." for accuracy in ACCURACIES]


QUICK = {
    "size": 32, "batch": 4, "turns": 1, "steps": 1, "network": "resnet20_cifar", "data": "digits", "epochs": [1],
    "seeds": [0], "set": ["model.switches.depths=[1,1,1]", "batch_size=256"],
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["steps", "cifar10"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", choices=["auto", "bf16", "fp16", "fp32"])
    parser.add_argument("--size", type=int, default=224, help="pixels")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--turns", type=int, default=5, help="counted turns of each")
    parser.add_argument("--steps", type=int, default=40, help="counted steps of a turn")
    parser.add_argument("--network", default="resnet18_cifar")
    parser.add_argument("--data", default="cifar10", help="CIFAR-10: the source of that name, or a folder of images")
    parser.add_argument("--epochs", type=int, nargs="+", default=[4, 6, 8, 12, 16, 24, 36])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="changes of the recipe")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, on any machine, no results: does it run?")
    options = parser.parse_args()
    if options.quick:
        vars(options).update(QUICK)
    precision = Precision.choose(options.precision, choose_device(options.device))
    if precision.device.type != "cuda" and not options.quick:
        raise SystemExit("This benchmark needs a GPU that PyTorch calls cuda. To see whether it runs: --quick.")
    gpu = "" if options.quick else torch.cuda.get_device_name(precision.device)
    if options.only != "cifar10":
        rows = throughput(options, precision)
        if not options.quick:
            write_results(
                "gpu_steps",
                "Training steps on a GPU beside a plain loop of torchvision",
                ("network", "px", "batch", "precision", "compiled", "torchvision, images/s", "ours, images/s",
                 "ratio, median of pairs", "share of the matmul rate", "torchvision, first turn, s",
                 "ours, first turn, s"),
                rows,
                ["torchvision's batches lie in the GPU's memory, normalised already; ours are made there, of bytes."],
                gpu=gpu,
            )  # fmt: skip
    if options.only != "steps":
        rows, notes = cifar10(options)
        if not options.quick:
            write_results(
                "gpu_cifar10",
                f"CIFAR-10 on a GPU: {options.network} with the recipe cifar10-fast",
                ("epochs", "seeds", "test accuracy", "training, s", "from the images to the report, s"),
                rows,
                [*notes, "", "Seconds are medians. The test images choose nothing."],
                gpu=gpu,
            )  # fmt: skip
    if options.quick:
        print("It runs.")


if __name__ == "__main__":
    main()
