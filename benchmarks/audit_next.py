"""How many labels `audit next` saves: rounds of 100 labels on Fashion-MNIST, chosen or drawn at random.

From 200 labelled images, 100 more are labelled in each round: those that `audit next` chooses, or the first by other
ways to choose. After each round, a head on the features of a frozen trunk is fitted to all labelled images and measured
on test images. The trunk is a run that has seen other images only, such as one on CIFAR-10:

    classicnets train resnet20_cifar cifar10 --set epochs=3 --set "model.switches.depths=[1,1,1]" --out trunk
    python benchmarks/audit_next.py trunk --seeds 10
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from report import write_results
from torch import Tensor

from classicnets.audit.evidence import choose_trunk, features
from classicnets.audit.head import Head, fit_head
from classicnets.audit.selection import likeliest, select
from classicnets.data import load_data

FIRST, ROUND, LAST = 200, 100, 800
T_95 = {5: 2.776, 10: 2.262, 20: 2.093}
"""The 97.5 % quantile of Student's t for the differences of so many seeds."""

Choose = Callable[[Head, Tensor, Tensor, int], Tensor]
"""Head, features of the labelled images and of the pool, seed -> the places of the images to label."""


def at_random(head: Head, labelled: Tensor, pool: Tensor, seed: int) -> Tensor:
    return torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))[:ROUND]


def smallest_margin(head: Head, labelled: Tensor, pool: Tensor, seed: int) -> Tensor:
    """The images that the head is least sure of (Scheffer et al. 2001)."""
    return likeliest(head, pool).margins.argsort()[:ROUND]


def core_set(head: Head, labelled: Tensor, pool: Tensor, seed: int) -> Tensor:
    """The image furthest from all others that are labelled, again and again (Sener and Savarese 2018)."""
    labelled, pool = standard(head, labelled), standard(head, pool)
    nearest = torch.cdist(pool, labelled).min(dim=1).values
    chosen = []
    for _ in range(ROUND):
        chosen.append(int(nearest.argmax()))
        nearest = nearest.minimum((pool - pool[chosen[-1]]).norm(dim=1))
    return torch.tensor(chosen)


def badge(head: Head, labelled: Tensor, pool: Tensor, seed: int) -> Tensor:
    """k-means++ on the gradients that a label would cause in the head (BADGE; Ash et al. 2020, Sec. 3)."""
    errors = head.probabilities(pool)
    errors[torch.arange(len(errors)), errors.argmax(dim=1)] -= 1
    gradients = (standard(head, pool)[:, :, None] * errors[:, None, :]).flatten(1)
    random = torch.Generator().manual_seed(seed)
    nearest = gradients.square().sum(dim=1)
    chosen = [int(nearest.argmax())]
    while len(chosen) < ROUND:
        nearest = nearest.minimum((gradients - gradients[chosen[-1]]).square().sum(dim=1))
        nearest[chosen] = 0
        chosen.append(int(torch.multinomial(nearest, 1, generator=random)))
    return torch.tensor(chosen)


def audit_next(head: Head, labelled: Tensor, pool: Tensor, seed: int) -> Tensor:
    return select(standard(head, pool), likeliest(head, pool).margins, ROUND, seed=seed)


def standard(head: Head, inputs: Tensor) -> Tensor:
    return (inputs - head.mean) / head.std


WAYS: dict[str, Choose] = {
    "random": at_random,
    "smallest margin": smallest_margin,
    "core-set": core_set,
    "BADGE": badge,
    "audit next": audit_next,
}


def accuracies(choose: Choose, pool: Tensor, labels: Tensor, test: Tensor, truth: Tensor, seed: int) -> list[float]:
    """The accuracy with 200, 300 ... 800 labels."""
    labelled = torch.randperm(len(pool), generator=torch.Generator().manual_seed(1_000 + seed))[:FIRST]
    found = []
    while True:
        head = fit_head(pool[labelled], labels[labelled], 10)
        found.append((head.probabilities(test).argmax(dim=1) == truth).double().mean().item())
        if len(labelled) >= LAST:
            return found
        is_left = torch.ones(len(pool), dtype=torch.bool)
        is_left[labelled] = False
        rest = is_left.nonzero()[:, 0]
        picks = choose(head, pool[labelled], pool[rest], 100 * seed + len(found))
        labelled = torch.cat([labelled, rest[picks]])


def labels_needed(curve: list[float], target: float) -> float:
    """With how many labels a curve reaches an accuracy, between rounds by a straight line; 800 if it never does."""
    for i, (before, after) in enumerate(itertools.pairwise(curve)):
        if before >= target:
            return FIRST + ROUND * i
        if after >= target:
            return FIRST + ROUND * (i + (target - before) / (after - before))
    return LAST


def with_interval(values: list[float], digits: int, unit: str = "") -> str:
    """The mean and its 95 % interval over the seeds (Student's t)."""
    mean = statistics.mean(values)
    reach = T_95.get(len(values), 1.96) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:.{digits}f}{unit} ({mean - reach:.{digits}f} to {mean + reach:.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trunk", type=Path, help="a run whose network has seen other images")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--pool", type=int, default=8_000, help="images of Fashion-MNIST's training part")
    parser.add_argument("--test", type=int, default=3_000, help="images of its test part")
    options = parser.parse_args()
    data = load_data("fashion-mnist")
    train, held = data.train.sample(options.pool, seed=1), data.test.sample(options.test, seed=1)
    trunk = choose_trunk(options.trunk, data=train)
    assert trunk is not None
    pool, test = features(train, trunk), features(held, trunk)
    curves = {
        name: [accuracies(choose, pool, train.labels, test, held.labels, seed) for seed in range(options.seeds)]
        for name, choose in WAYS.items()
    }
    seen = trunk.classifier.provenance.get("data", {}).get("name", "other images")
    rows = []
    for name, some in curves.items():
        saved, gained = [], []
        for curve, plain in zip(some, curves["random"], strict=True):
            saved.append(LAST - labels_needed(curve, plain[-1]))
            gained.append(100 * (curve[-1] - plain[-1]))
        means = [f"{100 * statistics.mean(one):.1f}" for one in zip(*some, strict=True)]
        needed = with_interval([LAST - one for one in saved], 0) if name != "random" else f"{LAST}"
        gain = with_interval(gained, 2) if name != "random" else ""
        rows.append((name, *(means[i] for i in (0, 2, 4, 6)), needed, gain))
    write_results(
        "audit_next",
        f"What to label next: Fashion-MNIST, a pool of {options.pool:,}, {options.seeds} seeds",
        ("way to choose", "200", "400", "600", "800 labels: accuracy, %", "labels for the accuracy of 800 random ones",
         "points above random with 800"),
        rows,
        [
            f"A head on the frozen features of {trunk.classifier.model_name}, which has seen {seen} only. Intervals:",
            "95 %, over the seeds, paired with random labels of the same seed (Student's t).",
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
