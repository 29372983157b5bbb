"""What the benchmarks share: images, torchvision's way to load them, and a results file.

A results file says on which machine, with which versions and by which command it was made.
"""

from __future__ import annotations

import os
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from classicnets.data.pipeline.pack import Packed
from classicnets.images import find_images
from classicnets.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from classicnets.training.run.folder import environment

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

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


def make_photos(
    folder: Path, count: int, num_classes: int, size: tuple[int, int], *, source: Path = SIGN_DIGITS, noise: float = 0.0
) -> Path:
    """A folder CLASS/*.jpg of `count` JPEGs of `size` (height, width): the photos in `source` enlarged, or noise.

    `noise` is the standard deviation of what a sensor adds to the enlarged photos, of 255.
    """
    sources = find_images(source) if source.is_dir() else []
    random = torch.Generator().manual_seed(0)
    for i in range(count):
        path = folder / f"class-{i % num_classes}" / f"{i:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if sources:
            image = Image.open(sources[i * len(sources) // count]).convert("RGB")
        else:
            image = Image.fromarray(torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8, generator=random).numpy())
        image = image.resize(size[::-1], Image.Resampling.BICUBIC)
        if noise:
            pixels = torch.from_numpy(np.array(image)) + noise * torch.randn((*size, 3), generator=random)
            image = Image.fromarray(pixels.clamp(0, 255).to(torch.uint8).numpy())
        image.save(path, quality=90)
    return folder


def random_bundle(name: str, image_size: int, folder: Path, *, auto: bool = False, num_classes: int = 10) -> Path:
    """A bundle in fp32 of a network with random weights, for what measures speed alone.

    It is for OpenVINO, or with `auto` for the engine that is fastest here.
    """
    from classicnets.classifier import Classifier
    from classicnets.deployment.export import export
    from classicnets.models.catalog import create

    model = create(name, num_classes=num_classes, generator=torch.Generator().manual_seed(0)).eval()
    preprocess = Preprocess(input_size=(image_size, image_size), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    classes = tuple(map(str, range(num_classes)))
    classifier = Classifier(model=model, model_name=name, classes=classes, preprocess=preprocess)
    return export(classifier, folder, engine="auto" if auto else "openvino", precision="fp32").folder


def by_pillow(path: str) -> Tensor:
    """The file, decoded as ImageFolder does it by default: uint8 (3, H, W)."""
    return pil_to_tensor(Image.open(path).convert("RGB"))


def by_torchvision(path: str) -> Tensor:
    """The file, decoded by torchvision: uint8 (3, H, W). This is faster than Pillow, and deprecated."""
    from torchvision.io import decode_image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pixels: Tensor = decode_image(path, mode="RGB")
        return pixels


def torchvision_batches(
    folder: str | Path,
    size: int,
    batch: int,
    *,
    workers: int = 2,
    decoder: Callable[[str], Tensor] = by_torchvision,
) -> DataLoader:
    """torchvision at its best: ImageFolder, transforms v2 on uint8 tensors, and a DataLoader whose workers stay.

    The crop is antialiased, of 8 to 100 % of the photo, aspect 3/4 to 4/3.
    """
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    steps = v2.Compose(
        [
            v2.RandomResizedCrop(size, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    images = ImageFolder(str(folder), steps, loader=decoder)
    return DataLoader(images, batch, shuffle=True, num_workers=workers, drop_last=True, persistent_workers=True)


def peak_mebibytes() -> float:
    """The most memory that this process ever held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def write_results(
    name: str,
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    notes: Sequence[str] = (),
    *,
    gpu: str = "",
) -> Path:
    """Write `results/NAME.md`: the title, the machine with its GPU if that was used, one table, and notes; print it."""
    facts = environment("")
    parts = [gpu, facts["cpu"], f"{os.cpu_count()} cores", f"torch {facts['torch']}"]
    machine = ", ".join(part for part in [*parts, f"classicnets {facts['classicnets']}"] if part)
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
