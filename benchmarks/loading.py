"""Images per second of loading alone: ours beside torchvision's pipeline, equal work, in one run.

Both turn the same folder of JPEGs into normalised float32 batches. Each image is a random resized crop of the whole
photo (8 to 100 % of its area, aspect 3/4 to 4/3), antialiased, and mirrored half of the time. Theirs is ImageFolder,
transforms v2 and a DataLoader with two worker processes; each epoch decodes each file, with Pillow, as ImageFolder does
by default, or with torchvision's own decoder, which is faster. Ours packs the whole photos in the first epoch, with a
thread per core, and crops what is packed in every epoch, in two worker threads. Epochs alternate, so that a drift of
the machine's speed meets both alike; the first of theirs is a warm-up.

The photos are made of those in FOLDER, in a temporary folder, by enlarging them to 500 x 375 and to 1200 x 1200 pixels
and adding noise as a sensor does (JPEG quality 90).

    python benchmarks/loading.py [FOLDER]
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

# Both get the cores alone: torch's own threads would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from report import SIGN_DIGITS, by_pillow, by_torchvision, make_photos, torchvision_batches, write_results

from classicnets.data import load_data
from classicnets.data.pipeline.augment import Augment
from classicnets.data.pipeline.loader import Loader
from classicnets.data.pipeline.mapped import default_cache
from classicnets.data.pipeline.photos import pack_photos
from classicnets.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from classicnets.system.memory import memory_kept

BATCH = 64
WORKERS = 2
AUGMENT = Augment(crop="resized", scale=(0.08, 1.0), flip=True)
DECODERS = {"Pillow": by_pillow, "torchvision": by_torchvision}
SHAPES = {"500 x 375": (375, 500), "1.4 megapixels": (1200, 1200)}


class Ours:
    """`pack_photos` in the first epoch, then a `Loader`'s batches."""

    def __init__(self, folder: Path, size: int) -> None:
        train = load_data(folder, val_fraction=0.05, test_fraction=0.0).train
        self.images = train.subset(range(len(train) // BATCH * BATCH))  # what is packed is also seen
        self.preprocess = Preprocess(input_size=(size, size), mean=IMAGENET_MEAN, std=IMAGENET_STD)
        self.epochs = 0

    def first_epoch(self) -> int:
        side = AUGMENT.photo_side(self.preprocess.input_size[0])
        assert side is not None
        shutil.rmtree(default_cache(), ignore_errors=True)  # every first epoch packs
        self.packed = pack_photos(self.images, self.preprocess, side)
        return self.epoch()

    def epoch(self) -> int:
        self.epochs += 1
        loader = Loader(self.packed, self.preprocess, AUGMENT, BATCH, workers=WORKERS)
        with memory_kept(torch.float32):  # as training does
            return sum(len(batch.images) for batch in loader.batches(self.epochs))

    @property
    def packed_bytes(self) -> int:
        return sum(self.packed.read(i).numel() for i in range(len(self.packed)))


def rate(epoch: Callable[[], int]) -> float:
    """Images per second of one epoch."""
    begun = time.perf_counter()
    return epoch() / (time.perf_counter() - begun)


def mebibytes(size: int) -> str:
    return f"{size / 2**20:,.0f}"


def compare(name: str, folder: Path, size: int, decoder: str, epochs: int) -> tuple[str, ...]:
    """A row of the table: median rates, median ratios of epochs that ran one after another, and MiB."""
    loader = torchvision_batches(folder, size, BATCH, workers=WORKERS, decoder=DECODERS[decoder])
    ours = Ours(folder, size)

    def plain() -> int:
        return sum(len(images) for images, _ in loader)

    plain()
    first = statistics.median(rate(ours.first_epoch) / rate(plain) for _ in range(epochs))
    pairs = [(rate(plain), rate(ours.epoch)) for _ in range(epochs)]
    theirs, mine = (statistics.median(rates) for rates in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    files = sum(path.stat().st_size for path in ours.images.paths or ())
    amounts = mebibytes(files), mebibytes(ours.packed_bytes)
    return name, str(size), decoder, f"{theirs:,.0f}", f"{mine:,.0f}", f"{first:.2f}", f"{ratio:.1f}", *amounts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=SIGN_DIGITS, help="CLASS/*.jpg")
    parser.add_argument("--photos", type=int, default=640, help="how many photos are made of each size")
    parser.add_argument("--epochs", type=int, default=3, help="counted epochs of each")
    options = parser.parse_args()
    rows = []
    for name, shape in SHAPES.items():
        with tempfile.TemporaryDirectory() as temporary:
            os.environ["CLASSICNETS_CACHE"] = str(Path(temporary) / "cache")
            folder = Path(temporary) / "photos"
            make_photos(folder, options.photos, 10, shape, source=options.folder, noise=4.0)
            for size, decoder in itertools.product((64, 224), DECODERS):
                rows.append(compare(name, folder, size, decoder, options.epochs))
                print(*rows[-1], flush=True)
    write_results(
        "loading",
        "Loading alone, from a folder of photos",
        (
            "photos", "pixels", "their decoder", "torchvision, images/s", "ours, images/s",
            "ratio, first epoch", "ratio, later epochs", "files, MiB", "packed, MiB",
        ),
        rows,
        [
            f"Batches of {BATCH}, normalised: random resized crops of the whole photo, antialiased, and flips.",
            "torchvision: ImageFolder, transforms v2 and a DataLoader with two workers. Ours: the first epoch decodes",
            "and packs, with a thread per core; later ones crop what is packed, in two threads. Packed photos are in",
            f"memory up to 512 MiB and on disk above. {options.photos} photos of each size are made of the folder's.",
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
