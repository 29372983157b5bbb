"""Does a network know what it was not trained on? Novelty scores beside pytorch-ood's detectors, on the same features.

    eight digits     8x8 digits 0 to 7, against the digits 8 and 9
    sign-digits      photos of hands (split by person), against Fashion-MNIST and two kinds of noise
    cifar10          small photos of ten classes, against sign-digits

A small network is trained on the known images of each. Every detector then gets the features and logits of the same
training images, and a threshold that 95 % of the validation images do not exceed. AUROC: the probability that an
unknown image has a higher score than a known test image; 0.5 is chance. False alarms: the known test images above the
threshold. Found: the unknown images above it.

    python benchmarks/novelty.py [--cifar10 ZIP_OR_FOLDER] [--only NAME ...] [--seed N]
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from report import SIGN_DIGITS, write_results
from scipy.stats import rankdata
from torch import Tensor

import classicnets as cn
from classicnets.data import Data, ImageSet, load_data
from classicnets.data.pipeline.pack import pack
from classicnets.data.split import balanced_sample
from classicnets.evaluation.metrics import bootstrap_interval
from classicnets.evaluation.novelty import FALSE_ALARM_RATE, MOST_TRAINING_IMAGES
from classicnets.models.contract import Classified
from classicnets.novelty import NoveltyScore
from classicnets.training import Run

CIFAR10 = SIGN_DIGITS.parent / "cifar10-jpeg.zip"
COLUMNS = ("known", "unknown", "detector", "AUROC", "95% interval", "false alarms", "95% interval", "found")
PER_CLASS = 500  # training images of CIFAR-10
MOST = 1_000  # test images and unknown images


@dataclass(frozen=True)
class Task:
    """A network to train, or the run that trained it, and the images that it should find strange, by their name."""

    name: str
    model: str
    settings: tuple[str, ...]
    data: Data
    unknown: dict[str, ImageSet]
    run: Path | None = None


@dataclass(frozen=True)
class Seen:
    """What the network makes of its training, validation and test images, and of unknown ones; its last layer."""

    num_train: int
    accuracy: float
    train: Classified
    labels: Tensor
    val: Classified
    test: Classified
    unknown: dict[str, Classified]
    weight: Tensor
    bias: Tensor


def eight_digits(seed: int) -> Task:
    """The digits 0 to 7 are known, 8 and 9 are not."""
    data = load_data("digits", seed=seed, val_fraction=0.2, test_fraction=0.2)
    assert data.test is not None

    def known(images: ImageSet) -> ImageSet:
        part = images.subset(torch.nonzero(images.labels < 8)[:, 0])
        return replace(part, classes=images.classes[:8])

    parts = (data.train, data.val, data.test)
    others = [part.subset(torch.nonzero(part.labels >= 8)[:, 0]) for part in parts]
    unknown = images_only(torch.cat([part.images for part in others if part.images is not None]))
    data = replace(data, name="eight digits", train=known(parts[0]), val=known(parts[1]), test=known(parts[2]))
    return Task("eight digits", "resnet20_cifar", ("epochs=20",), data, {"digits 8 and 9": unknown})


def sign_digits(seed: int) -> Task:
    """Hands are known; clothes and noise are not."""
    fashion = load_data("fashion-mnist").test
    assert fashion is not None
    assert fashion.images is not None
    random = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 256, (MOST, 3, 32, 32), dtype=torch.uint8, generator=random)
    coarse = torch.rand((MOST, 3, 4, 4), generator=random) * 255
    clouds = torch.nn.functional.interpolate(coarse, size=32, mode="bicubic").clamp(0, 255).to(torch.uint8)
    data = load_data(f"csv:{SIGN_DIGITS / 'index.csv'}", seed=seed, val_fraction=0.15, test_fraction=0.15)
    unknown = {
        "Fashion-MNIST": images_only(fashion.images[:MOST].expand(-1, 3, -1, -1)),
        "noise in each pixel": images_only(noise),
        "smooth noise": images_only(clouds),
    }
    return Task("sign-digits", "resnet20_cifar", ("epochs=20", "image_size=32"), data, unknown)


def cifar10(seed: int, source: Path, folder: Path) -> Task:
    """Small photos are known, hands are not. `source` are the photos, or a run that was trained on some of them."""
    hands = load_data(f"csv:{SIGN_DIGITS / 'index.csv'}", seed=seed)
    if (source / "recipe.toml").is_file():
        recipe = Run.open(source).recipe
        data = load_data(str(recipe.data.source), seed=recipe.data.split_seed)
        settings = (f"epochs={recipe.epochs}", f"depths={recipe.model.switches.get('depths', '[3,3,3]')}")
        return Task("CIFAR-10", str(recipe.model.name), settings, data, {"sign-digits": hands.train}, source)
    if source.suffix == ".zip":
        with zipfile.ZipFile(source) as archive:
            wanted = [name for name in archive.namelist() if _is_wanted(name)]
            archive.extractall(folder, wanted)
        source = folder
    data = load_data(source, seed=seed)
    return Task("CIFAR-10", "resnet20_cifar", ("epochs=5",), data, {"sign-digits": hands.train})


def _is_wanted(name: str) -> bool:
    part, _, file = name.split("/")
    return int(Path(file).stem) < (PER_CLASS if part == "train" else MOST // 5)


def images_only(images: Tensor) -> ImageSet:
    """Images uint8 (N, C, H, W) without classes."""
    ids = tuple(map(str, range(len(images))))
    return ImageSet(("unknown",), torch.zeros(len(images), dtype=torch.int64), ids, images=images)


def train(task: Task, seed: int, folder: Path) -> Seen:
    """Train the task's network, and pass all images through it."""
    out = folder / task.name.replace(" ", "-")
    run = (
        Run.open(task.run) if task.run else cn.train(task.model, task.data, seed=seed, settings=task.settings, out=out)
    )
    classifier, data = run.classifier, task.data
    assert data.test is not None
    chosen = balanced_sample(data.train.labels, MOST_TRAINING_IMAGES)

    def seen(images: ImageSet) -> Classified:
        return classifier.classified(pack(images, classifier.preprocess).images)

    def some(images: ImageSet) -> Classified:
        return seen(images.subset(torch.linspace(0, len(images) - 1, min(MOST, len(images))).long()))

    head = classifier.model.head.get_submodule("classifier")
    return Seen(
        len(data.train), run.report.top1, seen(data.train.subset(chosen)), data.train.labels[chosen], some(data.val),
        some(data.test), {name: some(images) for name, images in task.unknown.items()},
        head.weight.detach().flatten(1), head.bias.detach(),
    )  # fmt: skip


def kept(task: Task, seed: int, folder: Path) -> Seen:
    """What `train` returns, from the folder if it has been there before."""
    file = folder / f"{task.name.replace(' ', '-')}-{seed}.pt"
    if not file.exists():
        seen = train(task, seed, folder)
        values = {name: tuple(part) if isinstance(part, Classified) else part for name, part in vars(seen).items()}
        values["unknown"] = {name: tuple(part) for name, part in seen.unknown.items()}
        torch.save(values, file)
    values = torch.load(file)
    for name in ("train", "val", "test"):
        values[name] = Classified(*values[name])
    values["unknown"] = {name: Classified(*part) for name, part in values["unknown"].items()}
    return Seen(**values)


Detector = Callable[[Classified], Tensor]


def detectors(seen: Seen) -> Iterator[tuple[str, Detector]]:
    """Our score, and pytorch-ood's detectors, fitted on the same features."""
    from pytorch_ood import detector

    train, labels = seen.train, seen.labels
    ours = NoveltyScore.fit(train.features, train.logits, labels)  # as a training's end does
    yield "classicnets", lambda x: ours(x.features, x.logits)
    for cls in (detector.MaxSoftmax, detector.MaxLogit, detector.EnergyBased, detector.Entropy):
        yield cls.__name__, lambda x, cls=cls: cls(None).predict_logits(x.logits)
    width, classes = train.features.shape[1], train.logits.shape[1]
    head = torch.nn.Linear(width, classes)
    head.weight.data, head.bias.data = seen.weight, seen.bias
    made = {
        "Mahalanobis": detector.Mahalanobis(None),
        "RMD": detector.RMD(None),
        "ViM": detector.ViM(None, d=min(width // 2, 4 * classes), w=seen.weight, b=seen.bias),
        "KNN": detector.KNN(None, k=min(50, len(labels) // 10)),
        "SHE": detector.SHE(None, head),
        "fDBD": detector.fDBD(None, head),
    }
    for name, made_one in made.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made_one.fit_features(train.features, labels)
        yield name, lambda x, made_one=made_one: made_one.predict_features(x.features)


def auroc(known: Tensor, unknown: Tensor, *, draws: int = 200) -> tuple[float, float, float]:
    """The AUROC, and its 95 % bootstrap interval over known and unknown images."""
    n, m = len(known), len(unknown)
    scores, random = torch.cat([known, unknown]).double().numpy(), np.random.default_rng(0)

    def area(scores: np.ndarray) -> float:
        """By the sum of the ranks of the unknown images (Mann and Whitney)."""
        return float((rankdata(scores)[n:].sum() - m * (m + 1) / 2) / (n * m))

    drawn = []
    for _ in range(draws):
        drawn.append(area(scores[np.r_[random.integers(0, n, n), n + random.integers(0, m, m)]]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return area(scores), float(low), float(high)


def rows(task: Task, seen: Seen) -> Iterator[tuple[str, ...]]:
    """A row of the table for each kind of unknown images and each detector."""
    for unknown_name, unknown in seen.unknown.items():
        for name, detect in detectors(seen):
            with torch.no_grad():
                val, test, strange = (detect(images).detach().float() for images in (seen.val, seen.test, unknown))
            rank = int(np.ceil((len(val) + 1) * (1 - FALSE_ALARM_RATE)))
            threshold = val.sort().values[min(rank, len(val)) - 1]
            alarms = int((test > threshold).sum())
            low, high = bootstrap_interval(alarms, len(test))
            area, area_low, area_high = auroc(test, strange)
            yield (
                task.name, unknown_name, f"**{name}**" if name == "classicnets" else name,
                f"{area:.3f}", f"{area_low:.3f} to {area_high:.3f}",
                f"{alarms / len(test):.1%}", f"{low:.1%} to {high:.1%}",
                f"{float((strange > threshold).float().mean()):.1%}",
            )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, default=CIFAR10, help="photos train/CLASS/*, test/CLASS/*, or a run")
    parser.add_argument("--only", nargs="+", choices=("digits", "sign-digits", "cifar10"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="keep features here, and use those that are here")
    given = parser.parse_args()
    table, notes = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = given.keep or Path(name)
        folder.mkdir(exist_ok=True)
        make = {
            "digits": lambda: eight_digits(given.seed),
            "sign-digits": lambda: sign_digits(given.seed),
            "cifar10": lambda: cifar10(given.seed, given.cifar10, folder / "cifar10"),
        }
        for task_name in given.only or make:
            task = make[task_name]()
            seen = kept(task, given.seed, folder)
            table += rows(task, seen)
            notes.append(
                f"- {task.name}: `{task.model}`, {', '.join(task.settings)}, {seen.num_train:,} training images, "
                f"{len(seen.labels):,} of them described; {len(seen.val.features):,} validation and "
                f"{len(seen.test.features):,} test images, accuracy {seen.accuracy:.1%}."
            )
    notes.append(
        "\nAUROC: the probability that an unknown image has the higher score than a known one. False alarms: known "
        "test images above a threshold that 95 % of the validation images do not exceed. Found: unknown images above. "
        "Every detector gets the features and logits of the same training images. Intervals are over images; another "
        "seed gives another network, which changes more."
    )
    write_results("novelty", "Images unlike the training images, found by features and logits", COLUMNS, table, notes)


if __name__ == "__main__":
    main()
