"""How soon a server notices that its images drift, and how often it is mistaken: by both scores that it can use.

    eight digits     8x8 digits 0 to 7
    sign-digits      photos of hands (split by person)
    cifar10          small photos of ten classes, of which a small network learns little

A small network is trained on each, and calibrated as a training's end does. Then its test images are sent in random
order: as they are, corrupted, of one class only, or images of something else. A number is how many images it takes to
an alarm, the median over 20 orders, beside the number of orders that had one before the images ran out.

    python benchmarks/drift.py [--cifar10 ZIP_OR_FOLDER_OR_RUN] [--only NAME ...] [--seed N]
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from novelty import CIFAR10, MOST, Task, cifar10, eight_digits, sign_digits
from report import write_results
from torch import Tensor

import classicnets as cn
from classicnets.data import ImageSet
from classicnets.data.pipeline.pack import pack
from classicnets.data.split import balanced_sample
from classicnets.drift import DriftReference
from classicnets.evaluation.corruptions import corrupt
from classicnets.evaluation.novelty import MOST_TRAINING_IMAGES
from classicnets.evaluation.trust import calibrate
from classicnets.serving.drift import FALSE_ALARM_RATE, DriftTest
from classicnets.training import Run

COLUMNS = (
    "network", "images", "available", "accuracy", "novelty: images to an alarm", "found", "doubt: images to an alarm",
    "found",
)  # fmt: skip
CORRUPTIONS = ("gaussian_noise", "defocus_blur", "contrast", "brightness", "jpeg_compression")
ORDERS = 20
CLEAN_ORDERS = 200


def streams(
    task: Task, images: Tensor, labels: Tensor, prepare: Callable[[ImageSet], Tensor]
) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """What is sent, with its name and its classes, if it is of any; the first is not drift."""
    yield "as they are", images, labels
    for severity in (1, 3):
        for name in CORRUPTIONS:
            yield f"{name.replace('_', ' ')}, severity {severity}", corrupt(images, name, severity), labels
    for name, chosen in (
        ("of one class only", labels == labels[0]),
        ("half of the classes", labels < labels.max() / 2),
    ):
        yield name, images[chosen], labels[chosen]
    for name, others in task.unknown.items():
        yield name, prepare(others), None


def images_to_alarm(reference: DriftReference, scores: np.ndarray, orders: int) -> list[int]:
    """How many images each order took to an alarm; those without one are left out."""
    found = []
    for seed in range(orders):
        test = DriftTest(reference, random.Random(seed).random)
        for number, score in enumerate(np.random.default_rng(seed).permutation(scores).tolist(), 1):
            test.add(score)
            if test.state().alarm:
                found.append(number)
                break
    return found


def rows(task: Task, seed: int, folder: Path) -> Iterator[tuple[str, ...]]:
    """A row for each stream."""
    out = folder / task.name.replace(" ", "-")
    run = (
        Run.open(task.run) if task.run else cn.train(task.model, task.data, seed=seed, settings=task.settings, out=out)
    )
    data, classifier = task.data, run.classifier
    assert data.test is not None

    def prepare(images: ImageSet) -> Tensor:
        some = torch.linspace(0, len(images) - 1, min(MOST, len(images))).long()
        return pack(images.subset(some), classifier.preprocess).images

    chosen = data.train.subset(balanced_sample(data.train.labels, MOST_TRAINING_IMAGES))
    train, val = (pack(images, classifier.preprocess) for images in (chosen, data.val))
    of_val = classifier.classified(val.images)
    classifier = calibrate(classifier, of_val, val.labels, classifier.classified(train.images), train.labels)
    card = classifier.card
    doubt = DriftReference.of(card.probabilities(of_val.logits), None)
    assert card.drift is not None
    assert doubt is not None
    test = pack(
        data.test.subset(torch.linspace(0, len(data.test) - 1, min(MOST, len(data.test))).long()), classifier.preprocess
    )
    for i, (name, images, labels) in enumerate(streams(task, test.images, test.labels, prepare)):
        outputs = classifier.outputs(images)
        probabilities = card.probabilities(outputs.logits)
        right = "" if labels is None else f"{float((outputs.logits.argmax(dim=1) == labels).float().mean()):.0%}"
        cells = []
        orders = ORDERS if i else CLEAN_ORDERS
        for reference in (card.drift, doubt):
            scores = reference.scores_of(probabilities, outputs.novelty)
            assert scores is not None
            found = images_to_alarm(reference, scores, orders)
            cells += [f"{np.median(found):.0f}" if len(found) > orders / 2 else "none", f"{len(found)} of {orders}"]
        yield task.name, name, f"{len(images):,}", right, *cells
    print(f"{task.name}: {len(val.images):,} validation images")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, default=CIFAR10, help="photos train/CLASS/*, test/CLASS/*, or a run")
    parser.add_argument("--only", nargs="+", choices=("digits", "sign-digits", "cifar10"))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    table = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make = {
            "digits": lambda: eight_digits(given.seed),
            "sign-digits": lambda: sign_digits(given.seed),
            "cifar10": lambda: cifar10(given.seed, given.cifar10, folder / "cifar10"),
        }
        for task_name in given.only or make:
            for row in rows(make[task_name](), given.seed, folder):
                table.append(row)
                print(*row, sep=" | ", flush=True)
    notes = [
        "The first row of each network has no drift: an alarm there is a false one, and at most "
        f"{FALSE_ALARM_RATE:.0%} of such streams may have one. "
        "The orders share their images, so they are not independent. Drift begins with the first image. If "
        'less than half of the orders have an alarm, their median is "none".'
    ]
    write_results("drift", "How many images a drift test takes", COLUMNS, table, notes)


if __name__ == "__main__":
    main()
