"""Training images per second, data loading included: ours beside the plain torchvision manner, in one run.

Both train the same network, layer by layer, each in its own library's build, from the same folder of JPEGs, at the
same image size and batch size. The plain manner is what tutorials show: ImageFolder, transforms, DataLoader with two
workers, fp32, NCHW. Ours is what `classicnets train` does. Epochs alternate, A B C A B C, so that a drift of the
machine's speed meets all alike; the first epoch of each is a warm-up. Ours decodes and packs once before it, which is
stated beside.

    python benchmarks/training_throughput.py [FOLDER] --model resnet18 --image-size 64
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from report import SIGN_DIGITS, write_results
from torch.utils.data import DataLoader
from torchvision import transforms

from classicnets.data import load_data
from classicnets.data.loader import training_batches
from classicnets.data.pack import pack
from classicnets.hardware import Precision, choose_device
from classicnets.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from classicnets.training.loop import TrainState, train_step
from classicnets.training.recipe import Recipe
from classicnets.weights import create_model


class Plain:
    """The torchvision manner: ImageFolder, transforms, DataLoader, fp32, NCHW, SGD."""

    def __init__(self, folder: Path, model: str, size: int, batch: int, classes: int) -> None:
        steps = [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
        images = torchvision.datasets.ImageFolder(
            str(folder), transforms.Compose([*steps, transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
        )
        self.loader = DataLoader(images, batch, shuffle=True, num_workers=2, drop_last=True, persistent_workers=True)
        self.model = torchvision.models.get_model(model, num_classes=classes)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)

    def epoch(self) -> int:
        self.model.train()
        count = 0
        for images, labels in self.loader:
            loss = F.cross_entropy(self.model(images), labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            count += len(labels)
        return count


class Ours:
    """What `classicnets train` does: pack once, batched augmentation, channels-last, bf16 where the CPU has it."""

    def __init__(self, folder: Path, model: str, size: int, batch: int, precision: str) -> None:
        data = load_data(folder, val_fraction=0.05, test_fraction=0.0)
        self.recipe = Recipe.model_validate(
            {
                "batch_size": batch,
                "optim": {"lr": 0.01, "nesterov": False},
                "augment": {"crop": "resized", "scale": (0.08, 1.0), "flip": True},
            }
        )
        self.preprocess = Preprocess(input_size=(size, size), mean=IMAGENET_MEAN, std=IMAGENET_STD)
        packing = round(size * self.recipe.augment.packing_scale)
        self.packed = pack(data.train, replace(self.preprocess, input_size=(packing, packing)))
        self.model = create_model(model, num_classes=len(data.classes)).to(memory_format=torch.channels_last)
        self.state = TrainState.begin(self.model, self.recipe)
        self.precision = Precision.choose(precision, choose_device("cpu"))  # type: ignore[arg-type]
        self.epochs = 0

    def epoch(self) -> int:
        count = 0
        batches = training_batches(
            self.packed, self.preprocess, self.recipe.augment, batch_size=self.recipe.batch_size, seed=0,
            epoch=self.epochs,
        )  # fmt: skip
        for batch in batches:
            train_step(self.state, batch, 0.01, self.recipe, self.precision)
            count += len(batch.labels)
        self.epochs += 1
        return count


def rate(epoch) -> float:
    """Images per second of one epoch."""
    begun = time.perf_counter()
    return epoch() / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=SIGN_DIGITS, help="CLASS/*.jpg")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3, help="counted epochs of each, after one warm-up")
    options = parser.parse_args()
    common = (options.folder, options.model, options.image_size, options.batch_size)
    begun = time.perf_counter()
    ours = Ours(*common, "auto")
    packing_seconds = time.perf_counter() - begun
    contenders = {
        "plain torchvision, fp32": Plain(*common, len(ours.packed.labels.unique())),
        "classicnets, fp32": Ours(*common, "fp32"),
    }
    if ours.precision.name != "fp32":
        contenders[f"classicnets, {ours.precision.name}"] = ours
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(options.epochs + 1):
        for name, contender in contenders.items():
            images_per_second = rate(contender.epoch)
            if number:
                rates[name].append(images_per_second)
    plain = rates["plain torchvision, fp32"]
    rows = [
        (name, f"{statistics.median(r):.0f}", f"{statistics.median(a / b for a, b in zip(r, plain, strict=True)):.2f}")
        for name, r in rates.items()
    ]
    write_results(
        "training_throughput",
        f"Training throughput, {options.model} at {options.image_size} px, batch {options.batch_size}",
        ("manner", "images/s, median", "ratio to plain, median of pairs"),
        rows,
        [
            f"Data loading is included: {len(ours.packed.labels):,} JPEGs on disk. Ours decodes them once, before the",
            f"first epoch: {packing_seconds:.1f} s here, not counted in the rates.",
        ],
    )


if __name__ == "__main__":
    main()
