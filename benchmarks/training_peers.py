"""Training images per second and peak memory beside the peers, for a network of each family, loading included.

The same network, image size, batch size and JPEGs on disk for all, each contender in a process of its own:

- torchvision's reference manner: ImageFolder, transforms v2 on tensors, DataLoader with two workers, fp32, NCHW, SGD
- timm's loader, prefetcher and optimizer with the flags it recommends: channels-last, bf16 autocast
- ours, as `classicnets train` does it, in fp32 and in what the machine has

Contenders take turns by epochs, A B C D A B C D, so that a drift of the machine's speed meets all alike; the first
epoch of each is a warm-up, and ratios are medians over the pairs. Ours decodes and packs before its first epoch: that
is the first epoch's work, and is stated beside. timm has no AlexNet, GoogLeNet or NiN, and torchvision no NiN: there
the contender's loader and loop train torchvision's network, or ours.

What was measured is kept in results/training_peers.csv, a line for each network and size, so that a command that was
stopped goes on where it was; `--fresh` measures again.

The photos are made: sign-digits photos or noise, enlarged to 500 x 375, as JPEGs of quality 90 in a temporary folder.

    python benchmarks/training_peers.py --sizes 64 224
    python benchmarks/training_peers.py --fresh --sizes 224 --networks resnet18 --images 48 --epochs 2    # minutes
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import math
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
import torchvision
from report import PEERS, RESULTS, SIGN_DIGITS, make_photos, peak_mebibytes, torchvision_batches, write_results
from torch import Tensor, nn

from classicnets.preprocess import IMAGENET_MEAN, IMAGENET_STD
from classicnets.system.devices import has_bf16

CLASSES = 10
RATE = 1e-3  # at which all of them, AlexNet without batch norm too, stay finite
CELLS = RESULTS / "training_peers.csv"


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
    loader = torchvision_batches(job.folder, job.size, job.batch)
    model = torchvision_network(job.name).train()
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=0.9, weight_decay=1e-4)
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
    optimizer = create_optimizer_v2(model, opt="sgd", lr=RATE, momentum=0.9, weight_decay=1e-4)

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
    from timed_training import TimedTraining

    from classicnets.data import load_data
    from classicnets.data.pipeline.photos import pack_photos
    from classicnets.preprocess import Preprocess
    from classicnets.system.devices import Precision, choose_device
    from classicnets.system.memory import memory_kept
    from classicnets.training.recipe.schema import Recipe
    from classicnets.weights import create_model

    precision = Precision.choose(precision_name, choose_device("cpu"))  # type: ignore[arg-type]
    images = load_data(job.folder, val_fraction=0.02, test_fraction=0.0).train
    recipe = Recipe.model_validate(
        {
            "batch_size": job.batch,
            "optim": {"lr": RATE, "weight_decay": 1e-4},
            "augment": {"crop": "resized", "scale": (0.08, 1.0), "flip": True},
        }
    )
    preprocess = Preprocess(input_size=(job.size, job.size), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    side = recipe.augment.photo_side(job.size)
    assert side is not None
    packed = pack_photos(images, preprocess, side)
    switches = {"aux": False} if job.name == "googlenet_bn" else {}  # as the peers' network
    model = create_model(job.name, num_classes=CLASSES, **switches).to(memory_format=torch.channels_last)
    training = TimedTraining(model, job.name, packed, preprocess, recipe, precision)

    def epoch() -> int:
        with memory_kept(precision.dtype):
            return training.epoch()

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
        with watched_loaders() as loaders:
            count = epoch()
        seconds = time.perf_counter() - begun
        print(json.dumps({"rate": count / seconds, "peak": peak_mebibytes(), "loaders": max(loaders)}), flush=True)


@contextmanager
def watched_loaders() -> Iterator[list[float]]:
    """Inside the block, measure the MiB of the loader processes' own memory twice a second; 0 if it is unknown."""
    noted, over = [0.0], threading.Event()

    def note() -> None:
        while not over.wait(0.5):
            with contextlib.suppress(OSError):
                noted.append(sum(private_memory(pid) for pid in children()))

    thread = threading.Thread(target=note)
    thread.start()
    try:
        yield noted
    finally:
        over.set()
        thread.join()


def children() -> list[str]:
    tasks = Path("/proc/self/task").glob("*/children")
    return [pid for task in tasks for pid in task.read_text().split()]


def private_memory(pid: str) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


class Measured(NamedTuple):
    """Of one contender: images/s of each counted epoch, and peak memory in MiB, without and with loader processes."""

    rates: list[float]
    peak: float
    peak_of_all: float


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
    return {
        name: Measured(
            [r["rate"] for r in found], found[-1]["peak"], found[-1]["peak"] + max(r["loaders"] for r in found)
        )
        for name, found in results.items()
    }


RATIOS = {
    "ours / torchvision": ("ours", "torchvision"),
    "ours / timm": ("ours", "timm"),
    "ours, fp32 / torchvision": ("ours, fp32", "torchvision"),
}


def cell_of(job: Job, found: dict[str, Measured]) -> dict[str, str]:
    """A line of the table: median images/s, median ratios of the pairs, and peak memory."""
    cell = {"network": job.name, "px": str(job.size), "batch": str(job.batch)}
    cell |= {f"{name}: images/s": f"{statistics.median(m.rates):.1f}" for name, m in found.items()}
    for name, (a, b) in RATIOS.items():
        pairs = zip(found[a].rates, found[b].rates, strict=True)
        cell[name] = f"{statistics.median(x / y for x, y in pairs):.2f}"
    cell |= {f"{name}: MiB": f"{m.peak:.0f}" for name, m in found.items()}
    return cell | {f"{name}: MiB of all": f"{m.peak_of_all:.0f}" for name, m in found.items()}


def read_cells() -> list[dict[str, str]]:
    if not CELLS.exists():
        return []
    with CELLS.open(newline="") as file:
        return list(csv.DictReader(file))


def write_cells(cells: list[dict[str, str]]) -> None:
    with CELLS.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(cells[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(cells)


def summaries(cells: list[dict[str, str]]) -> Iterator[list[str]]:
    """The last lines of the table: over all networks and sizes, and over those of each size."""
    for label, chosen in [("all", cells)] + [(px, [c for c in cells if c["px"] == px]) for px in ("64", "224")]:
        values = {name: [float(cell[name]) for cell in chosen] for name in RATIOS}
        if not chosen:
            continue
        means = (f"{math.exp(statistics.mean(map(math.log, v))):.2f}" for v in values.values())
        yield ["geometric mean", label, "", *[""] * len(CONTENDERS), *means]
        yield ["least", label, "", *[""] * len(CONTENDERS), *(f"{min(v):.2f}" for v in values.values())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 224])
    parser.add_argument("--networks", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--epochs", type=int, default=3, help="counted epochs of each, after one warm-up")
    parser.add_argument("--images", type=int, help="photos in an epoch; by default 640 below 128 pixels, else 96")
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured before")
    parser.add_argument("--contender", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    parser.add_argument("--job", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        folder, name, size, batch = options.job
        contend(options.contender, Job(folder, name, int(size), int(batch)))
        return
    cells = [] if options.fresh else read_cells()
    with tempfile.TemporaryDirectory() as root:
        for size in options.sizes:
            batch, count = (64, 640) if size < 128 else (16, 96)
            count = options.images or count
            folder = make_photos(Path(root) / str(size), count, CLASSES, (375, 500))
            for name in options.networks:
                if not any((cell["network"], cell["px"]) == (name, str(size)) for cell in cells):
                    job = Job(str(folder), name, size, batch)
                    cells.append(cell_of(job, race(job, options.epochs)))
                    write_cells(cells)
                    print(cells[-1], flush=True)
    cells.sort(key=lambda cell: (int(cell["px"]), list(PEERS).index(cell["network"])))
    place = ("network", "px", "batch")
    source = "sign-digits photos" if SIGN_DIGITS.is_dir() else "noise"
    write_results(
        "training_peers",
        "Training throughput beside torchvision's manner and timm's, images/s with loading",
        (*place, *CONTENDERS, *RATIOS),
        [
            *([cell[k] for k in (*place, *(f"{c}: images/s" for c in CONTENDERS), *RATIOS)] for cell in cells),
            *summaries(cells),
        ],
        [f"Each trains from the same JPEGs of 500 x 375 pixels ({source}, enlarged), from the second epoch on."],
    )
    memory = {
        "torchvision": "torchvision: MiB", "with its loaders": "torchvision: MiB of all",
        "timm": "timm: MiB", "with loaders": "timm: MiB of all",
        "ours, fp32": "ours, fp32: MiB of all", "ours": "ours: MiB of all",
    }  # fmt: skip
    write_results(
        "training_memory",
        "Peak memory of training beside the peers: the whole process, MiB",
        (*place, *memory),
        [[cell[k] for k in (*place, *memory.values())] for cell in cells],
        ["The processes of the throughput benchmark. Of the peers' two loader processes counts what only they have; "
         "ours needs none, and holds the images instead."],
    )  # fmt: skip


if __name__ == "__main__":
    main()
