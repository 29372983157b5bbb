"""`learning_curve`: are there enough images, and what would more bring?

images -> features or small networks -> error rates with fewer images -> power laws -> what more images would add
"""

from __future__ import annotations

import os
from functools import partial

import numpy as np
import torch
from torch import Tensor

from classicnets.audit.curve.fit import fit
from classicnets.audit.curve.measure import Answers, Learner, measure, resampled
from classicnets.audit.curve.outcome import MORE, Curve, LearningCurve, points_of
from classicnets.audit.evidence import Trunk, choose_trunk, features, fold_numbers
from classicnets.audit.fold_network import small_images, train_fold
from classicnets.audit.head import fit_head
from classicnets.audit.images import all_images
from classicnets.data.content import content_keys
from classicnets.data.imageset import Data, ImageSet
from classicnets.data.split import units_together
from classicnets.data.words import counted
from classicnets.errors import ConfigError, DataError
from classicnets.system.progress import Report, no_report

__all__ = ["Curve", "LearningCurve", "learning_curve"]

_FEWEST = 30  # images, and _OF_CLASS of a class that has a curve of its own
_OF_CLASS = 20
_MOST_CLASSES = 200
_FOLDS = 5


def learning_curve(
    data: str | os.PathLike[str] | Data | ImageSet,
    *,
    weights: str | os.PathLike[str] | None = None,
    model: str | None = None,
    run: str | os.PathLike[str] | None = None,
    most_images: int = 10_000,
    seed: int = 0,
    progress: Report = no_report,
) -> LearningCurve:
    """Measure the accuracy with fewer images, and estimate what more images would add.

    With weights, linear heads learn from the features of the frozen trunk: six sizes, two random parts of each, five
    folds; seconds to minutes. Without, small networks learn from four sizes, two folds; minutes. Parts have the same
    share of each class. Images that are equal, or of one group, are in one fold. The error is taken to fall as a power
    of the number of images, with or without a floor; the interval comes from resampling images and parts.

    The images are *enough* if twice as many would add less than half a point at the upper end of the 95 % interval.

    Args:
        data: a source, as for `load_data`; what that returns; or an `ImageSet`. Test images are not used.
        weights: a run, a model folder, a file, or "torchvision[:NAME]"; None trains small networks.
        model: the network that the weights belong to; without weights, the one that is trained, None for a ResNet-8.
        run: a run whose weights are used; give either `weights` or `run`.
        most_images: of more images, so many are chosen at random, 30 or more.
        seed: decides the folds, the parts and the training of networks, 0 or more.
        progress: called with the name of the step, how much of it is done, and how much there is.

    Returns a `LearningCurve`: `overall` and `classes` have the points and the gains; `save` writes a page.

    Raises:
        DataError: fewer than 30 images or two classes, or images that cannot be decoded.
        ConfigError, UnknownName, WeightsError: as for `choose_trunk`; `most_images` is below 30.

    >>> print(learning_curve("photos/", weights="torchvision"))  # doctest: +SKIP
    """
    if most_images < _FEWEST:
        raise ConfigError(f"most_images must be at least {_FEWEST}, got {most_images}.")
    given, name, source, notes = all_images(data, parts=("train", "val"))
    images, more_notes = _chosen(given, most_images, seed)
    trunk = choose_trunk(weights, model, run, data=images)
    if trunk is not None:
        more_notes += trunk.notes
        if source and trunk.trained_on == source:
            more_notes.append("the weights were trained on these images: the curve flatters them. Use other weights")
    if images.groups is not None:
        more_notes.append("more images means images of new groups: more of the known groups may add less")
    fold_of = fold_numbers(images, _FOLDS, seed)
    learn = _networks(images, model, progress) if trunk is None else _heads(images, trunk, progress)
    answers = measure(
        images.labels, fold_of, learn, seed=seed,
        progress=partial(progress, "Learning from fewer images"),
        **({"sizes": 4, "repeats": 1, "folds": 2} if trunk is None else {"sizes": 6, "repeats": 2, "folds": _FOLDS}),
    )  # fmt: skip
    overall, classes = curves_of(answers, images, len(given), seed)
    method = f"heads on the features of {trunk.source}" if trunk else f"small networks ({model or 'ResNet-8'})"
    return LearningCurve(name, overall, classes, method, (*notes, *more_notes))


def _chosen(images: ImageSet, most: int, seed: int) -> tuple[ImageSet, list[str]]:
    """At most so many images of at most so many classes, and what was left out."""
    notes = []
    if len(images) < _FEWEST:
        raise DataError(
            f"{counted(len(images), 'image')} are too few for a learning curve, which needs at least {_FEWEST}. "
            f"Collect more images first."
        )
    counts = images.labels.bincount()
    if (counts > 0).sum() > _MOST_CLASSES:
        largest = counts.argsort(descending=True, stable=True)[:_MOST_CLASSES]
        notes.append(
            f"of {int((counts > 0).sum()):,} classes, the {_MOST_CLASSES} with the most images are used: among all "
            f"classes the accuracy is lower"
        )
        images = images.subset(torch.isin(images.labels, largest).nonzero().flatten())
        if int(counts[largest].min()) < 2:
            raise DataError("Most classes have a single image, so nothing can be learned and judged. Add images.")
    if len(images) > most:
        notes.append(f"of {len(images):,} images, {most:,} are used, chosen at random")
    return images.sample(most, seed=seed), notes


def _heads(images: ImageSet, trunk: Trunk, progress: Report) -> Learner:
    """A linear classifier on the features of the trunk."""
    inputs = features(images, trunk, progress=progress)
    return head_learner(inputs, images.labels, len(images.classes))


def head_learner(inputs: Tensor, labels: Tensor, num_classes: int) -> Learner:
    """Return a learner that fits a linear classifier to features, float32 (N, D)."""

    def learn(part: Tensor, held: Tensor, seed: int) -> Tensor:
        return fit_head(inputs[part], labels[part], num_classes).probabilities(inputs[held]).argmax(dim=1)

    return learn


def _networks(images: ImageSet, model: str | None, progress: Report) -> Learner:
    """A small network that is trained from random weights."""
    small = small_images(images, model, progress)

    def learn(part: Tensor, held: Tensor, seed: int) -> Tensor:
        report = partial(progress, f"Training on {len(part):,} images")
        rest, judged = (torch.zeros(len(images), dtype=torch.bool) for _ in range(2))
        rest[part] = judged[held] = True
        answers = torch.empty(len(images), dtype=torch.int64)
        answers[judged] = train_fold(small, rest, judged, model, seed, report).logits.argmax(dim=1)
        return answers[held]

    return learn


def curves_of(answers: Answers, images: ImageSet, now: int, seed: int) -> tuple[Curve, tuple[Curve, ...]]:
    """Return the curve over all classes, and those of the classes with 20 judged images or more.

    Args:
        answers: what was measured on `images`.
        images: labelled images.
        now: how many images there are, of which `images` may be a part.
        seed: decides the resamples.
    """
    labels = images.labels.numpy()
    units = units_together(len(images), [content_keys(images), *([images.groups] if images.groups else [])])
    added = MORE * len(np.unique(labels))

    def curve(name: str, chosen: np.ndarray) -> Curve:
        rates = resampled(answers, units, chosen, seed)
        accuracies = answers.right[:, chosen & answers.judged].mean(axis=1).tolist()
        laws = fit(answers.sizes, rates, np.sqrt(answers.sizes))
        return Curve(name, points_of(answers.sizes, accuracies, rates), laws, now, added)

    classes = [
        curve(images.classes[label], labels == label)
        for label in np.unique(labels).tolist()
        if ((labels == label) & answers.judged).sum() >= _OF_CLASS
    ]
    classes.sort(key=lambda one: -one.more.value)
    return curve("all classes", np.ones(len(images), bool)), tuple(classes)
