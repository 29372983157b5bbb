"""What the benchmarks share: a results file that says on which machine, with which versions and by which command."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from PIL import Image

from classicnets.data.pack import Packed
from classicnets.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from classicnets.training.run import environment

RESULTS = Path(__file__).parent / "results"
SIGN_DIGITS = Path(__file__).parents[2] / "shared" / "data" / "sign-digits"
"""Photos of hands that show digits, where the folder beside the project has them; else give another folder."""

PEERS = {
    "alexnet_owt": "alexnet",
    "vgg11_bn": "vgg11_bn",
    "nin_bn": "",
    "googlenet_bn": "googlenet",
    "resnet18": "resnet18",
    "densenet121": "densenet121",
}
"""One network of each family, and torchvision's name for it; torchvision has no NiN."""


def synthetic(image_size: int, count: int, num_classes: int = 10) -> tuple[Packed, Preprocess]:
    """`count` packed images of random pixels, for what measures speed alone."""
    preprocess = Preprocess(input_size=(image_size, image_size), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, image_size, image_size), dtype=torch.uint8, generator=random)
    return Packed(pixels, torch.arange(count) % num_classes, tuple(map(str, range(count))), num_classes), preprocess


def make_photos(folder: Path, count: int, num_classes: int, size: tuple[int, int]) -> Path:
    """A folder CLASS/*.jpg of `count` JPEGs of `size` (height, width): photos of hands enlarged, or noise."""
    sources = sorted(SIGN_DIGITS.rglob("*.jpg"))
    random = torch.Generator().manual_seed(0)
    for i in range(count):
        path = folder / f"class-{i % num_classes}" / f"{i:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if sources:
            image = Image.open(sources[i * len(sources) // count]).convert("RGB")
        else:
            image = Image.fromarray(torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8, generator=random).numpy())
        image.resize(size[::-1], Image.Resampling.BICUBIC).save(path, quality=90)
    return folder


def write_results(
    name: str, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], notes: Sequence[str] = ()
) -> Path:
    """Write `results/NAME.md`: the title, the machine, one table, and notes; print it too."""
    facts = environment("")
    machine = f"{facts['cpu']}, {os.cpu_count()} cores, torch {facts['torch']}, classicnets {facts['classicnets']}"
    arguments = [Path(argument).name if os.sep in argument else argument for argument in sys.argv[1:]]
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *arguments])
    lines = [
        f"# {title}",
        "",
        f"- machine: {machine}",
        f"- made by: `{command}`, {time.strftime('%Y-%m-%d')}",
        "",
        f"| {' | '.join(columns)} |",
        f"|{' --- |' * len(columns)}",
        *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows),
        "",
        *notes,
    ]
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.md"
    path.write_text("\n".join(lines).rstrip() + "\n", "utf-8")
    print(path.read_text("utf-8"))
    return path
