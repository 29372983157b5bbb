"""What `audit curve` says of more images, against really adding them: how often its 95 % interval holds the truth.

Three kinds of data: mixtures of Gaussians, whose true curve is measured with fresh draws; sign digits (new persons) and
Fashion-MNIST, on simple features (random convolutions). Images are held back, the audit predicts from the rest, and
then they are added; the accuracy is measured on other images, and averaged over several draws.

    python benchmarks/audit_curve.py [--sets 20]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from report import SIGN_DIGITS, write_results
from torch import Tensor

from classicnets.audit.curve import curves_of, head_learner
from classicnets.audit.curve.measure import measure
from classicnets.data.imageset import ImageSet
from classicnets.data.load import load_data, read_source
from classicnets.data.split import folds
from classicnets.evaluation.metrics import Interval
from classicnets.preprocess import Preprocess

_DRAWS = 5


class Outcome(NamedTuple):
    """One audit: the gain that it expects, its interval, and what was really gained."""

    expected: float
    interval: Interval
    real: float


Draw = Callable[[int, int], tuple[Tensor, Tensor]]
"""Features and labels of so many images, drawn by a seed."""


def audit(inputs: Tensor, labels: Tensor, end: int, groups: list[str] | None, seed: int) -> tuple[float, Interval]:
    """The gain that the audit expects from growing to `end` images."""
    classes = int(labels.max()) + 1
    ids = tuple(map(str, range(len(labels))))
    numbered = torch.arange(len(labels)).view(-1, 1, 1, 1).expand(-1, 4, 1, 1)
    pixels = torch.stack([(numbered[:, i] >> (8 * i)) & 255 for i in range(4)], dim=1).to(torch.uint8).squeeze(2)
    images = ImageSet(tuple(map(str, range(classes))), labels, ids, images=pixels, groups=groups and tuple(groups))
    fold_of = folds(labels, 5, seed=seed, together=[groups] if groups else [])
    learn = head_learner(inputs, labels, classes)
    answers = measure(labels, fold_of, learn, sizes=6, repeats=2, folds=5, seed=seed, progress=lambda done, total: None)
    overall, _ = curves_of(answers, images, len(labels), seed)
    return overall.laws.gain(len(labels), end)


def real_gain(draw: Draw, start: int, end: int, test: tuple[Tensor, Tensor], seed: int) -> float:
    """The mean gain on the test images over several draws of the training images."""
    gains = []
    for number in range(_DRAWS):
        inputs, labels = draw(end, seed * 100 + number)
        classes = int(test[1].max()) + 1
        everything = torch.cat([inputs, test[0]])
        learn = head_learner(everything, torch.cat([labels, test[1]]), classes)
        held = torch.arange(end, end + len(test[1]))
        few, all_ = ((learn(torch.arange(n), held, 0) == test[1]).double().mean().item() for n in (start, end))
        gains.append(all_ - few)
    return float(np.mean(gains))


def mixture(seed: int) -> tuple[Draw, tuple[Tensor, Tensor]]:
    """A mixture of 2 to 8 Gaussians in 8 to 32 dimensions, and 4,000 images to test on."""
    random = np.random.default_rng([seed, 1])
    classes, width = int(random.integers(2, 9)), int(random.integers(8, 33))
    means = torch.tensor(random.normal(0, random.uniform(0.2, 0.8), (classes, width)), dtype=torch.float32)

    def draw(number: int, seed: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randperm(number, generator=generator) % classes
        return means[labels] + torch.randn(number, width, generator=generator), labels

    return draw, draw(4000, 10**6 + seed)


def features(images: Tensor) -> Tensor:
    """64 random filters of 5x5, the largest and the mean answer in each quarter: float32 (N, 512)."""
    generator = torch.Generator().manual_seed(0)
    filters = torch.randn(64, images.shape[1], 5, 5, generator=generator)
    found = []
    for some in images.split(256):
        answers = torch.nn.functional.conv2d(some.float() / 255 - 0.5, filters, stride=2)
        pools = (
            torch.nn.functional.adaptive_max_pool2d(answers, 2),
            torch.nn.functional.adaptive_avg_pool2d(answers, 2),
        )
        found.append(torch.cat([pool.flatten(1) for pool in pools], dim=1))
    return torch.cat(found)


def fashion() -> tuple[Tensor, Tensor, list[str] | None, tuple[Tensor, Tensor]]:
    """6,000 training images and 4,000 test images."""
    data = load_data("fashion-mnist")
    train, test = data.train.sample(6000), data.test.sample(4000)
    assert train.images is not None
    assert test.images is not None
    return features(train.images), train.labels, None, (features(test.images), test.labels)


def sign_digits() -> tuple[Tensor, Tensor, list[str] | None, tuple[Tensor, Tensor]]:
    """Two thirds of the persons to learn from, and one third to test on, at 32 pixels."""
    images = read_source(SIGN_DIGITS / "index.csv").train
    preprocess = Preprocess(input_size=(32, 32), resize="squash", mean=(0.5,) * 3, std=(0.5,) * 3)
    pixels = torch.stack([preprocess.geometry(images.image(i)) for i in range(len(images))])
    inputs, labels = features(pixels.flatten(0, -4)), images.labels
    fold_of = folds(labels, 3, seed=0, together=[images.groups])
    kept, held = fold_of != 0, fold_of == 0
    groups = [group for group, keep in zip(images.groups, kept.tolist(), strict=True) if keep]
    return inputs[kept], labels[kept], groups, (inputs[held], labels[held])


def subsets(inputs: Tensor, labels: Tensor, groups: list[str] | None) -> Callable[[int, int], Tensor]:
    """A function that draws the indices of so many images by a seed; whole groups, one after the other."""
    names = groups or list(map(str, range(len(labels))))
    unique = list(dict.fromkeys(names))

    def draw(number: int, seed: int) -> Tensor:
        order = torch.randperm(len(unique), generator=torch.Generator().manual_seed(seed)).tolist()
        rank = {unique[i]: place for place, i in enumerate(order)}
        return torch.tensor(sorted(range(len(names)), key=lambda i: rank[names[i]])[:number])

    return draw


def on_mixtures(sets: int) -> list[Outcome]:
    outcomes = []
    for seed in range(sets):
        draw, test = mixture(seed)
        start = int(np.random.default_rng([seed, 2]).choice([100, 200, 400]))
        end = start * 2
        inputs, labels = draw(start, seed)
        outcomes.append(Outcome(*audit(inputs, labels, end, None, seed), real_gain(draw, start, end, test, seed)))
    return outcomes


def on_images(
    loaded: tuple[Tensor, Tensor, list[str] | None, tuple[Tensor, Tensor]], start: int, sets: int
) -> list[Outcome]:
    inputs, labels, groups, test = loaded
    choose = subsets(inputs, labels, groups)

    def draw(number: int, seed: int) -> tuple[Tensor, Tensor]:
        rows = choose(number, seed)
        return inputs[rows], labels[rows]

    outcomes = []
    for seed in range(sets):
        rows = choose(start, seed)
        some = [groups[i] for i in rows.tolist()] if groups else None
        expected = audit(inputs[rows], labels[rows], 2 * start, some, seed)
        outcomes.append(Outcome(*expected, real_gain(draw, start, 2 * start, test, seed)))
    return outcomes


def row(name: str, start: str, outcomes: list[Outcome]) -> tuple[object, ...]:
    held = sum(o.interval.low <= o.real <= o.interval.high for o in outcomes)
    return (
        name, start, len(outcomes), f"{held} of {len(outcomes)}",
        f"{100 * np.mean([o.expected for o in outcomes]):.1f}", f"{100 * np.mean([o.real for o in outcomes]):.1f}",
        f"{100 * np.mean([abs(o.expected - o.real) for o in outcomes]):.1f}",
        f"{100 * np.mean([o.interval.high - o.interval.low for o in outcomes]):.1f}",
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=20, help="mixtures, and half as many draws of images")
    options = parser.parse_args()
    rows = [row("Gaussian mixtures", "100, 200 or 400", on_mixtures(options.sets))]
    draws = max(1, options.sets // 2)
    rows.append(row("Fashion-MNIST", "500", on_images(fashion(), 500, draws)))
    if Path(SIGN_DIGITS).is_dir():
        rows.append(row("sign digits, new persons", "500", on_images(sign_digits(), 500, draws)))
    write_results(
        "audit_curve",
        "`audit curve`: what doubling the images adds, expected and measured",
        ("data", "images", "audits", "interval holds the truth", "expected gain", "real gain", "mean error", "width"),
        rows,
        [
            "Gains, errors and widths of the 95 % intervals in points of accuracy. The real gain is the mean over "
            f"{_DRAWS} draws of the training images, on 4,000 test images (sign digits: those of a third of the "
            "persons), which no audit saw. Heads on the features of the Gaussians, and of random convolutions.",
        ],
    )


if __name__ == "__main__":
    main()
