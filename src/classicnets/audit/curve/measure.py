"""Error rates with fewer images: models that learn from a part of the other folds, judged on each fold."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_RESAMPLES = 400
_SMALLEST = 2  # images of each class, on average, in the smallest part

Learner = Callable[[Tensor, Tensor, int], Tensor]
"""Called with the images to learn from and to judge, int64 indices, and a seed; returns the predicted labels."""


class Answers(NamedTuple):
    """Which images were answered rightly by models that learned from parts of the others.

    Attributes:
        sizes: how many images each part had, on average over the folds: float64 (S,), rising.
        right: float64 (S, N): the share of the repeats in which an image was answered rightly.
        noise: float64 (S,): the standard error of the mean error rate that comes from which images were in the part.
        judged: bool (N,): the images that were judged.
    """

    sizes: np.ndarray
    right: np.ndarray
    noise: np.ndarray
    judged: np.ndarray


def measure(
    labels: Tensor,
    fold_of: Tensor,
    learn: Learner,
    *,
    sizes: int,
    repeats: int,
    folds: int,
    seed: int,
    progress: Callable[[int, int], None],
) -> Answers:
    """Learn from parts of several sizes, and judge the images that were held out.

    Args:
        labels: int64 (N,).
        fold_of: the fold of each image, int64 (N,).
        learn: fits a model to some images and answers for others.
        sizes: how many sizes, from two images of each class to all of the other folds; each is a constant multiple of
            the one before.
        repeats: how many parts of each size are drawn for each fold, 1 or more. The largest has one.
        folds: how many folds are held out, one after the other, 1 or more.
        seed: decides the parts.
        progress: called with how many models are done and how many there are.
    """
    folds = min(folds, int(fold_of.max()) + 1)
    classes = len(labels.unique())
    largest = len(labels) - len(labels) / (int(fold_of.max()) + 1)
    shares = np.geomspace(min(0.5, _SMALLEST * classes / largest), 1, sizes)
    right = np.zeros((sizes, len(labels)))
    errors = np.zeros((sizes, folds, repeats))
    learned = np.zeros((sizes, folds))
    total, done = folds * ((sizes - 1) * repeats + 1), 0
    for fold in range(folds):
        held = (fold_of == fold).nonzero().flatten()
        others = (fold_of != fold).nonzero().flatten()
        for repeat in range(repeats):
            order = others[_stratified(labels[others], np.random.default_rng([seed, fold, repeat]))]
            for size, share in enumerate(shares):
                if size == sizes - 1 and repeat:  # all of the others: the same part each time
                    errors[size, fold, repeat] = errors[size, fold, 0]
                    continue
                part = order[: max(2, round(share * len(others)))]
                hits = (learn(part, held, seed * 1000 + fold * repeats + repeat) == labels[held]).double().numpy()
                errors[size, fold, repeat] = 1 - hits.mean()
                right[size, held.numpy()] += hits / (1 if size == sizes - 1 else repeats)
                learned[size, fold] = len(part)
                done += 1
                progress(done, total)
    noise = _noise(errors)
    judged = np.isin(fold_of.numpy(), np.arange(folds))
    return Answers(learned.mean(axis=1), right, noise, judged)


def _stratified(labels: Tensor, random: np.random.Generator) -> Tensor:
    """An order of images in which every beginning has about the same share of each class."""
    places = np.empty(len(labels))
    for label in labels.unique().tolist():
        own = (labels == label).nonzero().flatten().numpy()
        places[own] = (random.permutation(len(own)) + random.random(len(own))) / len(own)
    return torch.from_numpy(np.argsort(places, kind="stable"))


def _noise(errors: np.ndarray) -> np.ndarray:
    """The standard error over the parts, (S,): from the differences of repeats, for the largest from its neighbour."""
    sizes, folds, repeats = errors.shape
    if repeats == 1:
        rest = errors.mean(axis=2) - errors.mean(axis=(0, 2))  # what a fold is off by at all sizes is not noise
        of_one: np.ndarray = rest.std(axis=1, ddof=1) if folds > 1 else np.zeros(sizes)
        parts = np.ones(sizes)
    else:
        of_one = np.sqrt(errors.var(axis=2, ddof=1).mean(axis=1))
        of_one[-1] = of_one[-2]
        parts = np.r_[np.full(sizes - 1, repeats), 1]
    noise: np.ndarray = np.maximum(of_one, 1e-4) / np.sqrt(folds * parts)
    return noise


def resampled(answers: Answers, units: list[list[int]], chosen: np.ndarray, seed: int) -> np.ndarray:
    """Return error rates of `chosen` images as they might have come out: float64 (B, S).

    Units of images are drawn with replacement, and each rate gets the noise of which images were learned from.

    Args:
        answers: what was measured.
        units: the indices of images that stay together.
        chosen: which images count, bool (N,).
        seed: decides the resamples.
    """
    counted = chosen & answers.judged
    some = [unit for unit in units if counted[unit].any()]
    own = [[i for i in unit if counted[i]] for unit in some]
    wrong = np.stack([(1 - answers.right[:, unit]).sum(axis=1) for unit in own])  # units x S
    number = np.array([float(len(unit)) for unit in own])
    random = np.random.default_rng([seed, 7])
    drawn = random.multinomial(len(own), np.full(len(own), 1 / len(own)), _RESAMPLES).astype(float)
    rates = drawn @ wrong / (drawn @ number)[:, None]
    share = np.sqrt(answers.judged.sum() / counted.sum())  # a class has fewer images, so its rate is noisier
    noisy: np.ndarray = np.clip(rates + share * answers.noise * random.standard_normal(rates.shape), 0, 1)
    return noisy
