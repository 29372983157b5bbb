"""Find labels that were flipped on purpose: 5 % of the training labels, with a small network per fold and no weights.

The score of `audit labels` and cleanlab's scores rank the same out-of-fold probabilities. The flips are random: a label
becomes any other class with equal chance. Labels of the source that are wrong themselves count as right here.

    python benchmarks/audit_labels.py [SIGN_DIGITS] --seeds 0 1 2
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from report import SIGN_DIGITS, write_results
from sklearn.metrics import average_precision_score
from torch import Tensor

from classicnets.audit.confident import confident_learning
from classicnets.audit.evidence import gather
from classicnets.data import ImageSet, load_data
from classicnets.system.threads import limit_threads

_SHARE = 0.05


def flipped(images: ImageSet, seed: int) -> tuple[ImageSet, Tensor]:
    """The images with a share of wrong labels, and which these are, bool (N,)."""
    random = torch.Generator().manual_seed(seed)
    wrong = torch.zeros(len(images), dtype=torch.bool)
    wrong[torch.randperm(len(images), generator=random)[: round(_SHARE * len(images))]] = True
    others = torch.randint(1, len(images.classes), (len(images),), generator=random)
    labels = torch.where(wrong, (images.labels + others) % len(images.classes), images.labels)
    return replace(images, labels=labels), wrong


def measure(name: str, images: ImageSet, seed: int, keep: Path | None) -> list[object]:
    """A row of the table."""
    noisy, wrong = flipped(images, seed)
    kept = keep / f"{name}-{seed}.pt" if keep else None
    if kept and kept.exists():
        evidence = torch.load(kept, weights_only=False)[0]
    else:
        evidence = gather(noisy, trunk=None, seed=seed)
    if kept:
        torch.save((evidence, noisy.labels, wrong), kept)
    found = confident_learning(evidence.probabilities, noisy.labels)
    number = int(wrong.sum())
    half = found.suspects[: number // 2]
    labels, probabilities = noisy.labels.numpy(), evidence.probabilities.numpy()
    scores = {
        method: 1 - get_label_quality_scores(labels, probabilities, method=method)
        for method in ("self_confidence", "normalized_margin")
    }
    issues = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence")
    agreement = (evidence.probabilities.argmax(1) == images.labels).float().mean()
    return [
        name,
        seed,
        f"{len(images):,}",
        number,
        f"{agreement:.4f}",
        f"{found.expected_wrong:.0f}",
        len(found.suspects),
        f"{wrong[half].float().mean():.3f}",
        f"{average_precision_score(wrong, found.score):.4f}",
        f"{average_precision_score(wrong, scores['self_confidence']):.4f}",
        f"{average_precision_score(wrong, scores['normalized_margin']):.4f}",
        f"{wrong[torch.from_numpy(issues.copy())[: number // 2]].float().mean():.3f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sign_digits", type=Path, nargs="?", default=SIGN_DIGITS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sets", nargs="+", default=["sign-digits", "fashion-mnist"])
    parser.add_argument("--keep", type=Path, help="a folder for the probabilities; those that it has are used again")
    options = parser.parse_args()
    limit_threads()
    sources = {
        "sign-digits": lambda: load_data(f"csv:{options.sign_digits / 'index.csv'}").train,
        "fashion-mnist": lambda: load_data("fashion-mnist").train.sample(10_000),
    }
    rows = []
    for name in options.sets:
        images = sources[name]()
        for seed in options.seeds:
            rows.append(measure(name, images, seed, options.keep))
            print(*rows[-1], flush=True)
    write_results(
        "audit_labels",
        "Labels flipped on purpose, found by `audit labels` without weights",
        (
            "images", "seed", "number", "flipped", "accuracy out of fold", "expected wrong", "suspects",
            "precision, first half", "average precision", "cleanlab, self-confidence", "cleanlab, normalized margin",
            "cleanlab's issues, precision, first half",
        ),
        rows,
        [
            "The first half: the first suspects, half as many as labels were flipped. Average precision: all images in",
            "the order of their scores. cleanlab ranks the same probabilities. A person's sign-digits are in one fold.",
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
