"""Training images per second and peak memory beside the peers, for a network of each family, loading included.

The same network, image size, batch size and JPEGs on disk for all, each contender in a process of its own:

- torchvision's reference manner: ImageFolder, transforms, DataLoader with two workers, fp32, NCHW, SGD
- timm's loader, prefetcher and optimizer with the flags it recommends: channels-last, bf16 autocast
- ours, as `classicnets train` does it, in fp32 and in what the machine has

Contenders take turns by epochs, A B C D A B C D, so that a drift of the machine's speed meets all alike; the first
epoch of each is a warm-up, and ratios are medians over the pairs. Ours decodes and packs before its first epoch: that
is the first epoch's work, and is stated beside. timm has no AlexNet, GoogLeNet or NiN, and torchvision no NiN: there
the contender's loader and loop train torchvision's network, or ours.

The photos are made: sign-digits photos or noise, enlarged to 500 x 375, as JPEGs of quality 90 in a temporary folder.

    python benchmarks/training_peers.py --sizes 64 224
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
import torchvision
from report import PEERS, SIGN_DIGITS, make_photos, write_results
from torch import Tensor, nn

from classicnets.hardware import has_bf16
from classicnets.preprocess import IMAGENET_MEAN, IMAGENET_STD

CLASSES = 10


class Job(NamedTuple):
    """What a contender trains."""

    folder: str
    name: str
    size: int
    batch: int


def torchvision_network(name: str) -> nn.Module:
    """torchvision's network of that name, or ours where it has none."""
    if not PEERS[name]:
        from classicnets.models.catalog import create

        return create(name, num_classes=CLASSES)
    extra = {"aux_logits": False, "init_weights": False} if PEERS[name] == "googlenet" else {}
    return torchvision.models.get_model(PEERS[name], num_classes=CLASSES, **extra)


def plain(job: Job) -> Callable[[], int]:
    """torchvision's reference manner."""
    from torch.utils.data import DataLoader
    from torchvision import transforms

    steps = [transforms.RandomResizedCrop(job.size), transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
    steps += [transforms.ConvertImageDtype(torch.float), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    images = torchvision.datasets.ImageFolder(job.folder, transforms.Compose(steps))
    loader = DataLoader(images, job.batch, shuffle=True, num_workers=2, drop_last=True, persistent_workers=True)
    model = torchvision_network(job.name).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
    return lambda: steps_of(loader, lambda images, labels: F.cross_entropy(model(images), labels), optimizer)


def timm_best(job: Job) -> Callable[[], int]:
    """timm's loader and optimizer with the flags it recommends."""
    import timm
    from timm.data import create_dataset, create_loader
    from timm.optim import create_optimizer_v2

    known = timm.is_model(job.name)
    model = timm.create_model(job.name, num_classes=CLASSES) if known else torchvision_network(job.name)
    model = model.train().to(memory_format=torch.channels_last)
    loader = create_loader(
        create_dataset("", root=job.folder), (3, job.size, job.size), job.batch, is_training=True, color_jitter=None,
        num_workers=2, device=torch.device("cpu"), use_prefetcher=True, persistent_workers=True,
    )  # fmt: skip
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4)

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16(torch.device("cpu"))):
            return F.cross_entropy(model(images), labels)

    return lambda: steps_of(loader, loss, optimizer)


def steps_of(
    batches: Iterable[tuple[Tensor, Tensor]], loss: Callable[[Tensor, Tensor], Tensor], optimizer: torch.optim.Optimizer
) -> int:
    """An epoch of the peers: the number of images."""
    count = 0
    for images, labels in batches:
        value = loss(images, labels)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        count += len(labels)
    return count


def ours(job: Job, precision_name: str) -> Callable[[], int]:
    """What `classicnets train` does: packed once, augmented by the batch, channels-last."""
    from dataclasses import replace

    from classicnets.data import load_data
    from classicnets.data.loader import training_batches
    from classicnets.data.pack import pack
    from classicnets.hardware import Precision, choose_device, keep_memory
    from classicnets.preprocess import Preprocess
    from classicnets.training.loop import TrainState, train_step
    from classicnets.training.recipe import Recipe
    from classicnets.weights import create_model

    keep_memory()
    images = load_data(job.folder, val_fraction=0.02, test_fraction=0.0).train
    recipe = Recipe.model_validate(
        {
            "batch_size": job.batch,
            "optim": {"lr": 0.01, "weight_decay": 1e-4},
            "augment": {"crop": "resized", "scale": (0.08, 1.0), "flip": True},
        }
    )
    preprocess = Preprocess(input_size=(job.size, job.size), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    packing = round(job.size * recipe.augment.packing_scale)
    packed = pack(images, replace(preprocess, input_size=(packing, packing)))
    model = create_model(job.name, num_classes=CLASSES).to(memory_format=torch.channels_last)
    state = TrainState.begin(model, recipe)
    precision = Precision.choose(precision_name, choose_device("cpu"))  # type: ignore[arg-type]
    epochs = 0

    def epoch() -> int:
        nonlocal epochs
        count = 0
        for batch in training_batches(packed, preprocess, recipe.augment, batch_size=job.batch, seed=0, epoch=epochs):
            train_step(state, batch, 0.01, recipe, precision)
            count += len(batch.labels)
        epochs += 1
        return count

    return epoch


CONTENDERS: dict[str, Callable[[Job], Callable[[], int]]] = {
    "torchvision": plain,
    "timm": timm_best,
    "ours, fp32": lambda job: ours(job, "fp32"),
    "ours": lambda job: ours(job, "auto"),
}


def contend(contender: str, job: Job) -> None:
    """A contender's process: for every line on stdin an epoch, and its images, seconds and peak memory on stdout."""
    torch.manual_seed(0)
    begun = time.perf_counter()
    epoch = CONTENDERS[contender](job)
    print(json.dumps({"prepared": time.perf_counter() - begun}), flush=True)
    for _ in sys.stdin:
        begun = time.perf_counter()
        count = epoch()
        seconds = time.perf_counter() - begun
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
        print(json.dumps({"rate": count / seconds, "peak": peak}), flush=True)


class Measured(NamedTuple):
    """Of one contender: images/s of each counted epoch, and the process's peak memory in MiB."""

    rates: list[float]
    peak: float


def race(job: Job, epochs: int) -> dict[str, Measured]:
    """All contenders on one job, by turns."""
    command = [sys.executable, __file__, "--job", *map(str, job), "--contender"]
    processes = {
        name: subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in CONTENDERS
    }

    def answers(name: str) -> Iterator[dict[str, float]]:
        stdout = processes[name].stdout
        assert stdout is not None
        for line in stdout:
            yield json.loads(line)

    heard = {name: answers(name) for name in processes}
    results: dict[str, list[dict[str, float]]] = {name: [] for name in processes}
    for name in processes:
        next(heard[name])
    for number in range(epochs + 1):
        for name, process in processes.items():
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
            answer = next(heard[name])
            if number:
                results[name].append(answer)
    for process in processes.values():
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
    return {name: Measured([r["rate"] for r in found], found[-1]["peak"]) for name, found in results.items()}


def ratio(a: Measured, b: Measured) -> float:
    return statistics.median(x / y for x, y in zip(a.rates, b.rates, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 224])
    parser.add_argument("--networks", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--epochs", type=int, default=3, help="counted epochs of each, after one warm-up")
    parser.add_argument("--contender", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    parser.add_argument("--job", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        folder, name, size, batch = options.job
        contend(options.contender, Job(folder, name, int(size), int(batch)))
        return
    speed, memory = [], []
    ratios: dict[str, list[float]] = {"ours / torchvision": [], "ours / timm": [], "ours, fp32 / torchvision": []}
    with tempfile.TemporaryDirectory() as root:
        for size in options.sizes:
            batch, count = (64, 640) if size < 128 else (16, 96)
            folder = make_photos(Path(root) / str(size), count, CLASSES, (375, 500))
            for name in options.networks:
                found = race(Job(str(folder), name, size, batch), options.epochs)
                best, fp32 = found["ours"], found["ours, fp32"]
                of_cell = (
                    ratio(best, found["torchvision"]), ratio(best, found["timm"]), ratio(fp32, found["torchvision"])
                )  # fmt: skip
                for key, value in zip(ratios, of_cell, strict=True):
                    ratios[key].append(value)
                rates = (f"{statistics.median(m.rates):.1f}" for m in found.values())
                speed.append((name, size, batch, *rates, *(f"{value:.2f}" for value in of_cell)))
                memory.append((name, size, batch, *(f"{m.peak:.0f}" for m in found.values())))
                print(speed[-1], memory[-1], flush=True)
    means = (f"{math.exp(statistics.mean(map(math.log, values))):.2f}" for values in ratios.values())
    speed.append(("geometric mean", "", "", *[""] * len(CONTENDERS), *means))
    speed.append(("least", "", "", *[""] * len(CONTENDERS), *(f"{min(values):.2f}" for values in ratios.values())))
    source = "sign-digits photos" if SIGN_DIGITS.is_dir() else "noise"
    write_results(
        "training_peers",
        "Training throughput beside torchvision's manner and timm's, images/s with loading",
        ("network", "px", "batch", *CONTENDERS, *ratios),
        speed,
        [
            f"Each trains from the same JPEGs of 500 x 375 pixels ({source}, enlarged), from the second epoch on.",
            f"Load average at the end: {os.getloadavg()[0]:.1f}.",
        ],
    )
    write_results(
        "training_memory",
        "Peak memory of training beside the peers: the whole process, MiB",
        ("network", "px", "batch", *CONTENDERS),
        memory,
        ["The processes of the throughput benchmark; the peers' loader processes are not counted."],
    )


if __name__ == "__main__":
    main()
