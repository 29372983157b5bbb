"""Train ResNet-18 on photos as a plain torchvision script or timm's recipe does, in a number of minutes.

The minutes count from the start of Python to the answer, which is one line of JSON. The schedule follows the clock: its
position is the share of the training's minutes that has passed, so that it always ends in time.

    python benchmarks/photos_peers.py FOLDER --recipe torchvision --size 96 --minutes 3
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import timm
import timm.optim
import timm.scheduler
import torch
import torchvision
from timm.data import create_transform
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from classicnets.preprocess import IMAGENET_MEAN, IMAGENET_STD

BATCH = 32
BEGUN = time.time() - time.process_time()  # so that the imports count
UPDATES = 1_000  # how finely the schedule is tabulated


def torchvision_recipe(size: int, classes: int) -> tuple[nn.Module, object, object, torch.optim.Optimizer, list[float]]:
    """The plain script: SGD, one cycle to .05, random resized crops from .08 of the area, and a flip."""
    normalize = [transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    crop = transforms.RandomResizedCrop(size, scale=(0.08, 1.0), antialias=True)
    train = transforms.Compose([crop, transforms.RandomHorizontalFlip(), *normalize])
    test = transforms.Compose([transforms.Resize(size * 256 // 224), transforms.CenterCrop(size), *normalize])
    network = torchvision.models.resnet18(num_classes=classes)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.05, total_steps=UPDATES, cycle_momentum=False)
    rates = []
    for _ in range(UPDATES):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return network, train, test, optimizer, rates


def timm_recipe(size: int, classes: int) -> tuple[nn.Module, object, object, torch.optim.Optimizer, list[float]]:
    """timm's transforms, AdamW and cosine: `--opt adamw --lr 1e-3 --sched cosine --smoothing .1 --aa rand-m6-...`."""
    train = create_transform(size, is_training=True, auto_augment="rand-m6-mstd0.5-inc1", interpolation="random")
    test = create_transform(size, is_training=False, interpolation="bicubic")
    network = timm.create_model("resnet18", num_classes=classes)
    optimizer = timm.optim.create_optimizer_v2(network, opt="adamw", lr=1e-3, weight_decay=0.05)
    schedule = timm.scheduler.CosineLRScheduler(
        optimizer, t_initial=UPDATES, warmup_t=UPDATES // 20, warmup_lr_init=1e-6, warmup_prefix=True, t_in_epochs=False
    )
    rates = []
    for update in range(UPDATES):
        schedule.step_update(update)
        rates.append(optimizer.param_groups[0]["lr"])
    return network, train, test, optimizer, rates


RECIPES = {"torchvision": torchvision_recipe, "timm": timm_recipe}


def load_trunk(network: nn.Module, weights: Path) -> None:
    """Load weights in torchvision's names, except those of the last layer."""
    state = torch.load(weights, weights_only=True)
    trunk = {name: value for name, value in state.items() if not name.startswith("fc.")}
    missing = network.load_state_dict(trunk, strict=False)
    assert set(missing.missing_keys) == {"fc.weight", "fc.bias"}
    assert not missing.unexpected_keys


def train(folder: Path, recipe: str, size: int, minutes: float, seed: int, weights: Path | None) -> dict[str, float]:
    """Train, and measure the test images once: {"top1", "num_images", "epochs"}. Weights get a fifth of the rate."""
    torch.manual_seed(seed)
    num_classes = len(ImageFolder(folder / "train").classes)
    network, augment, plain, optimizer, rates = RECIPES[recipe](size, num_classes)
    if weights is not None:
        load_trunk(network, weights)
        rates = [rate / 5 for rate in rates]
    network.to(memory_format=torch.channels_last)
    workers = len(os.sched_getaffinity(0)) - 1
    images = ImageFolder(folder / "train", augment)
    batches = DataLoader(
        images, BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
    )
    tests = DataLoader(ImageFolder(folder / "test", plain), BATCH, num_workers=workers)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    begun, end = time.time(), float("inf")
    steps = 0
    while time.time() < end:
        for pixels, labels in batches:
            now = time.time()
            if steps == 1:  # the first step is slow; a test batch takes about half of a step
                batch_seconds = now - begun
                end = BEGUN + minutes * 60 - len(tests) * batch_seconds / 2
            if now >= end:
                break
            done = 0.0 if steps == 0 else (now - begun) / (end - begun)
            for group in optimizer.param_groups:
                group["lr"] = rates[min(UPDATES - 1, int(done * UPDATES))]
            loss = criterion(network(pixels.contiguous(memory_format=torch.channels_last)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
    right = sum(correct(network.eval(), pixels, labels) for pixels, labels in tests)
    count = len(tests.dataset)  # type: ignore[arg-type]
    return {"top1": right / count, "num_images": count, "epochs": round(steps * BATCH / len(images), 1)}


@torch.inference_mode()
def correct(network: nn.Module, pixels: Tensor, labels: Tensor) -> int:
    """The number of images that are classified correctly."""
    return int((network(pixels).argmax(1) == labels).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="with train/CLASS/* and test/CLASS/*")
    parser.add_argument("--recipe", choices=RECIPES, required=True)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--weights", type=Path, help="a .pth file of a ResNet-18 in torchvision's names")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    where = (options.folder, options.recipe, options.size)
    answer = train(*where, options.minutes, options.seed, options.weights)
    print(json.dumps({**answer, "image_size": options.size, "seconds": round(time.time() - BEGUN, 1)}))


if __name__ == "__main__":
    main()
