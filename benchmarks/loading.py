"""Images per second of loading alone: ours beside torchvision's pipeline, in one run.

Both turn the same folder of JPEGs into normalised float32 batches with a random resized crop and a random flip.
Theirs is ImageFolder, transforms and a DataLoader with two workers; each epoch decodes each file. Ours packs in the
first epoch and makes batches from what is packed in every later one, in one thread of the process that trains. Epochs
alternate, so that a drift of the machine's speed meets both alike; the first of theirs is a warm-up.

Two kinds of photos: those of the folder, and larger ones that are made of some of them, in a temporary folder, by
enlarging them to 1200 x 1200 pixels and adding noise as a sensor does (JPEG quality 90).

    python benchmarks/loading.py [FOLDER]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from report import SIGN_DIGITS, make_photos, torchvision_batches, write_results

from classicnets.data import load_data
from classicnets.data.pipeline.augment import Augment
from classicnets.data.pipeline.loader import Loader
from classicnets.data.pipeline.pack import pack
from classicnets.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess

BATCH = 64
AUGMENT = Augment(crop="resized", scale=(0.08, 1.0), flip=True)  # as RandomResizedCrop and RandomHorizontalFlip


class Ours:
    """`pack` in the first epoch, then a `Loader`'s batches."""

    def __init__(self, folder: Path, size: int) -> None:
        self.images = load_data(folder, val_fraction=0.05, test_fraction=0.0).train
        self.preprocess = Preprocess(input_size=(size, size), mean=IMAGENET_MEAN, std=IMAGENET_STD)
        self.epochs = 0

    def first_epoch(self) -> int:
        side = round(self.preprocess.input_size[0] * AUGMENT.packing_scale)
        self.packed = pack(self.images, replace(self.preprocess, input_size=(side, side)))
        return self.epoch()

    def epoch(self) -> int:
        self.epochs += 1
        loader = Loader(self.packed, self.preprocess, AUGMENT, BATCH)
        return sum(len(batch.images) for batch in loader.batches(self.epochs))


def rate(epoch: Callable[[], int]) -> float:
    """Images per second of one epoch."""
    begun = time.perf_counter()
    return epoch() / (time.perf_counter() - begun)


def compare(name: str, folder: Path, size: int, epochs: int) -> tuple[str, ...]:
    """A row of the table: median rates, and the median ratio of epochs that ran one after another."""
    loader, ours = torchvision_batches(folder, size, BATCH), Ours(folder, size)

    def plain() -> int:
        return sum(len(images) for images, _ in loader)

    plain()
    first = rate(ours.first_epoch) / rate(plain)
    pairs = [(rate(plain), rate(ours.epoch)) for _ in range(epochs)]
    theirs, mine = (statistics.median(rates) for rates in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    return name, str(size), f"{theirs:,.0f}", f"{mine:,.0f}", f"{first:.2f}", f"{ratio:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=SIGN_DIGITS, help="CLASS/*.jpg")
    parser.add_argument("--photos", type=int, default=320, help="how many large photos are made")
    parser.add_argument("--epochs", type=int, default=3, help="counted epochs of each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        large = make_photos(Path(temporary), options.photos, 10, (1200, 1200), source=options.folder, noise=4.0)
        rows = [
            compare(name, folder, size, options.epochs)
            for name, folder in (("as they are", options.folder), ("about 1.4 megapixels", large))
            for size in (64, 224)
        ]
    write_results(
        "loading",
        "Loading alone, from a folder of photos",
        ("photos", "pixels", "torchvision, images/s", "ours, images/s", "ratio, first epoch", "ratio, later epochs"),
        rows,
        [
            f"Batches of {BATCH}, normalised, with a random resized crop and flip. torchvision: ImageFolder and a",
            "DataLoader with two workers. Ours: the first epoch decodes and packs, with a thread per core; later ones",
            f"make batches in one thread. The large photos are {options.photos} of the folder's, enlarged, with noise.",
        ],
    )


if __name__ == "__main__":
    main()
