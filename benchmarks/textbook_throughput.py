"""Fashion-MNIST the way a textbook trains it, beside ours: images per second of both in one run, loading included.

Dive into Deep Learning trains ResNet-18 on Fashion-MNIST resized to 96 pixels: Resize and ToTensor per image,
DataLoader, batches of 256, SGD, fp32, NCHW, 10 epochs of 60,000. Ours is `classicnets train resnet20_cifar fashion-
mnist` at its last and largest image size: `recipes/small-images.toml`. The two nets differ on purpose: the table
compares two ways to a classifier of the same quality (accuracies: results/fashion_mnist.md), not two
libraries on one net.

    python benchmarks/textbook_throughput.py
"""

from __future__ import annotations

import statistics
import time

import torch
import torch.nn.functional as F
import torchvision
from report import write_results
from timed_training import TimedTraining
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from classicnets.data import ImageSet, load_data
from classicnets.data.pipeline.pack import channel_stats, pack
from classicnets.preprocess import Preprocess
from classicnets.system.devices import Precision, choose_device
from classicnets.training import load_recipe
from classicnets.weights import create_model

IMAGES = 2048
ROUNDS = 3


class Textbook:
    """ResNet-18 at 96 pixels, one image at a time through Resize and ToTensor, fp32."""

    def __init__(self, images: ImageSet) -> None:
        self.loader = DataLoader(_Pictures(images), 256, shuffle=True, num_workers=2, persistent_workers=True)
        self.model = torchvision.models.resnet18(num_classes=10)
        self.model.conv1 = torch.nn.Conv2d(1, 64, 7, stride=2, padding=3)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05)

    def train(self) -> None:
        self.model.train()
        for images, labels in self.loader:
            self.optimizer.zero_grad()
            F.cross_entropy(self.model(images), labels).backward()
            self.optimizer.step()


class _Pictures(Dataset):
    """The images as pictures, as torchvision's data sets give them."""

    def __init__(self, images: ImageSet) -> None:
        self.images = images
        self.change = transforms.Compose([transforms.ToPILImage(), transforms.Resize(96), transforms.ToTensor()])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.change(self.images.image(index)), int(self.images.labels[index])


class Ours:
    """What `classicnets train` does for a step, at the full image size."""

    def __init__(self, images: ImageSet) -> None:
        self.recipe = load_recipe("small-images")
        plain = Preprocess(input_size=(28, 28), mean=(0.0,), std=(1.0,))
        self.packed = pack(images, plain)
        mean, std = channel_stats(self.packed)
        self.preprocess = Preprocess(input_size=(28, 28), mean=mean, std=std)
        model = create_model("resnet20_cifar", in_channels=1).to(memory_format=torch.channels_last)
        precision = Precision.choose("auto", choose_device("cpu"))
        self.training = TimedTraining(model, "resnet20_cifar", self.packed, self.preprocess, self.recipe, precision)

    def train(self) -> None:
        self.training.epoch()


def main() -> None:
    train = load_data("fashion-mnist").train
    images = train.subset(range(IMAGES))
    contenders = {"textbook": Textbook(images), "ours": Ours(images)}
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(ROUNDS + 1):
        for name, contender in contenders.items():
            begun = time.perf_counter()
            contender.train()
            if number:  # the first is a warm-up
                rates[name].append(IMAGES / (time.perf_counter() - begun))
    epochs = contenders["ours"].recipe.epochs
    textbook, ours = (statistics.median(rates[name]) for name in contenders)
    ratio = statistics.median(b / a for a, b in zip(rates["textbook"], rates["ours"], strict=True))
    write_results(
        "textbook_throughput",
        "Fashion-MNIST: the textbook's way beside ours",
        ("way", "images/s", "ratio, median of pairs", "epochs", "training minutes at that rate"),
        [
            ("ResNet-18 at 96 px, fp32", f"{textbook:.0f}", "1.0", 10, f"{10 * 60_000 / textbook / 60:.0f}"),
            (
                "`resnet20_cifar` at 28 px",
                f"{ours:.0f}",
                f"{ratio:.1f}",
                epochs,
                f"{epochs * len(train) / ours / 60:.1f}",
            ),
        ],
        ["Ours begins with smaller images, so that a real run takes less than the last column says."],
    )


if __name__ == "__main__":
    main()
