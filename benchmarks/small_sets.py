"""Small sets of small images: which epoch to keep, how to shift, mirror and rotate, and what few steps need.

From scratch with the recipe `small-set`: ResNet-20 for 30 epochs, and ResNet-18 for fewer than 300 steps. The
validation images are a tenth, so they are few: the epoch with their lowest loss and the last one are both measured on
the test images. A set is a number of CIFAR-10's training images, or the photos of FOLDER (train/CLASS/*, test/CLASS/*)
with a shorter side of 32 pixels. Each run adds a line to results/small_sets.json, and runs that are there already are
left out.

    python benchmarks/small_sets.py --cifar10 CIFAR10_FOLDER --images 500 --seeds 0 1 2
    python benchmarks/small_sets.py FOLDER...
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image
from report import RESULTS, write_results

from classicnets.classifier import Classifier
from classicnets.data import Data, load_data
from classicnets.evaluation import evaluate
from classicnets.images import find_images
from classicnets.training.entry import start

ROWS = RESULTS / "small_sets.json"
SIDE = 32
FEW_TO_TEST = 2_000

FLIP, STILL, SHIFT = "augment.flip=true", "augment.rotate=0", "augment.padding=4"
SGD = ("optim.name=sgd", "batch_size=16", "optim.lr=0.025", "optim.weight_decay=5e-4")
ADAMW = ("optim.name=adamw", "batch_size=32", "optim.lr=0.001", "optim.weight_decay=0.05")
WAYS: dict[tuple[str, str], list[str]] = {
    ("resnet20_cifar", "shift 1 px, rotate"): ["augment.padding=1", "augment.flip=false", "augment.rotate=10"],
    ("resnet20_cifar", "shift 4 px, rotate"): [SHIFT, "augment.flip=false", "augment.rotate=10"],
    ("resnet20_cifar", "mirror, shift 4 px, rotate"): [SHIFT, FLIP, "augment.rotate=10"],
    ("resnet20_cifar", "mirror, shift 1 px"): ["augment.padding=1", FLIP, STILL],
    ("resnet20_cifar", "mirror, shift 4 px"): [SHIFT, FLIP, STILL],
    ("resnet18", "8 epochs, SGD, batch 16"): ["epochs=8", *SGD],
    ("resnet18", "8 epochs, AdamW, batch 16"): ["epochs=8", *ADAMW, "batch_size=16"],
    ("resnet18", "8 epochs, AdamW, batch 32"): ["epochs=8", *ADAMW],
    ("resnet18", "14 epochs, AdamW, batch 32"): ["epochs=14", *ADAMW],
}
"""What is set. Of the first five, the first is the recipe before it was fitted to size and colour, and the last is what
it is now. 8 epochs have 232 steps in batches of 16; 14 in batches of 32 take about as long."""

NOTES = (
    "Means over the seeds, in brackets their range. Kept: the epoch with the lowest loss on the validation images. The",
    "same runs, so that the two columns differ in the epoch alone.",
)


def some_of_cifar10(folder: str, images: int) -> Data:
    """So many of CIFAR-10's training images, a tenth of them for validation, and some test images."""
    data = load_data(folder)
    assert data.test is not None, "the folder has test images"
    few = images // 10
    return replace(
        data, train=data.train.sample(images - few), val=data.val.sample(few), test=data.test.sample(FEW_TO_TEST)
    )


def made_small(folder: Path, target: Path) -> Data:
    """The photos of a folder with a shorter side of `SIDE` pixels."""
    for path in find_images(folder):
        photo = Image.open(path).convert("RGB")
        scale = SIDE / min(photo.size)
        size = (max(SIDE, round(photo.width * scale)), max(SIDE, round(photo.height * scale)))
        small = (target / path.relative_to(folder)).with_suffix(".png")
        small.parent.mkdir(parents=True, exist_ok=True)
        photo.resize(size, Image.Resampling.LANCZOS).save(small)
    return load_data(target)


def measure(network: str, data: Data, settings: list[str], seed: int, threads: int) -> dict[str, float]:
    """Train, and measure the kept and the last epoch on the test images."""
    assert data.test is not None, "the set has test images"
    with tempfile.TemporaryDirectory() as scratch:
        settings = [*settings, "best=loss", f"seed={seed}"]
        job = start(network, data, settings=settings, out=f"{scratch}/run", threads=threads)
        job.measure = False
        for _ in job:
            pass
        kept = job.run.classifier
        last = Classifier.of(kept.card, job._state.validated_model)
        return {
            "kept": evaluate(kept, data.test, data="test").top1,
            "last": evaluate(last, data.test, data="test").top1,
            "epoch": kept.provenance["training"]["best_epoch"],
            "epochs": job.recipe.epochs,
        }


def read_rows() -> list[dict[str, Any]]:
    """The runs so far."""
    return json.loads(ROWS.read_text("utf-8")) if ROWS.exists() else []  # type: ignore[no-any-return]


def table(rows: list[dict[str, Any]]) -> list[list[str]]:
    """A line for each set and way."""
    lines = []
    for name, (network, way) in itertools.product(dict.fromkeys(row["set"] for row in rows), WAYS):
        runs = [row for row in rows if (row["set"], row["network"], row["way"]) == (name, network, way)]
        if runs:
            epochs = [int(run["epoch"]) for run in runs]
            columns = (_mean(runs, "kept"), _mean(runs, "last"), ", ".join(map(str, epochs)), str(len(runs)))
            lines.append([name, f"{runs[0]['images']:,}", network, way, *columns])
    return lines


def _mean(runs: list[dict[str, Any]], key: str) -> str:
    values = [run[key] for run in runs]
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER")
    parser.add_argument("--cifar10", help="the folder with CIFAR-10's images, train/CLASS/*, test/CLASS/*")
    parser.add_argument("--images", type=int, nargs="+", default=[500], help="of CIFAR-10")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        sets: dict[str, Data] = {}
        if options.cifar10:
            sets |= {f"CIFAR-10, {n:,} images": some_of_cifar10(options.cifar10, n) for n in options.images}
        for folder in options.folders:
            sets[f"{folder.name}, {SIDE} px"] = made_small(folder, Path(scratch, folder.name))
        for seed, (name, data), ((network, way), settings) in itertools.product(
            options.seeds, sets.items(), WAYS.items()
        ):
            rows = read_rows()
            key = {"set": name, "network": network, "way": way, "seed": seed}
            if any(row.items() >= key.items() for row in rows):
                continue
            found = measure(network, data, settings, seed, options.threads)
            rows.append({**key, "images": len(data.train), **found})
            ROWS.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n", "utf-8")
            print(rows[-1], flush=True)
    columns = (
        "set", "training images", "network", "way", "test accuracy of the kept epoch", "of the last", "kept epochs",
        "seeds",
    )  # fmt: skip
    write_results("small_sets", "Small sets of small images", columns, table(read_rows()), NOTES)


if __name__ == "__main__":
    main()
