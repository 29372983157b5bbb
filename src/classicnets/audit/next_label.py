"""`next_to_label`: which images of a pool without labels to label first.

labelled images -> features -> a head -> its guesses on the pool -> the unsure ones of each kind -> NextLabels
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from classicnets.audit.evidence import Trunk, choose_trunk, features, fold_numbers
from classicnets.audit.fold_network import SMALL_NETWORK, small_images, train_fold
from classicnets.audit.head import Head, fit_head
from classicnets.audit.images import TINY, images_of, without_damaged
from classicnets.audit.selection import Likeliest, likeliest, select
from classicnets.audit.wanted import NextLabels, Wanted
from classicnets.data.imageset import Data, ImageSet, OnError, cannot_be_read
from classicnets.data.pipeline.pack import pack
from classicnets.data.record import image_keys
from classicnets.data.words import counted
from classicnets.errors import BadImage, ConfigError, DataError
from classicnets.images import find_images
from classicnets.system.paths import expanded
from classicnets.system.progress import Report, no_report

Labelled = str | PathLike[str] | Data | ImageSet
"""What `load_data` takes or returned, or images."""

Pool = str | PathLike[str] | Sequence[str | PathLike[str]] | ImageSet
"""A folder, the paths of files, or images whose labels are ignored."""

_UNSURE = 0.5  # the margin below which the two likeliest classes are named
_USUAL = 0.95  # the share of labelled images that are nearer to another labelled image than a strange one
_MOST_ASKED = 1_000  # labelled images whose distances say what is usual


def next_to_label(
    data: Labelled,
    pool: Pool,
    *,
    weights: str | PathLike[str] | None = None,
    model: str | None = None,
    run: str | PathLike[str] | None = None,
    count: int = 100,
    seed: int = 0,
    on_error: OnError = "skip",
    progress: Report | None = None,
) -> NextLabels:
    """Choose the images of a pool whose labels would help a classifier most: unsure ones, each unlike the others.

    A head is fitted to the features of the labelled images and asked about the pool. Of the images that it is least
    sure of, one is chosen from each of `count` clusters (Zhdanov 2019, arXiv:1901.05954, Sec. 3). Images that are
    labelled already, copies within the pool, and files that cannot be read are left out. Nothing is changed or moved.

    Args:
        data: the labelled images: what `load_data` takes, the Data that it returned (its training images are used), or
            an ImageSet.
        pool: images without labels: a folder with all its subfolders, paths of files, or an ImageSet whose labels are
            ignored.
        weights: trained weights of the trunk: a run, a model folder, a checkpoint's folder, a file, or
            "torchvision[:NAME]". Without, a small network is trained on the labelled images.
        model: the network that `weights` belongs to; without weights, the network that is trained.
        run: a run whose trunk is used; the same as `weights`.
        count: how many images to choose, 1 or more; of a smaller pool all are chosen.
        seed: decides where the clusters begin, and the training of the small network.
        on_error: "skip" leaves out images that cannot be decoded and says so, "fail" raises DataError.
        progress: called with the name of the step, how much of it is done, and how much there is.

    Returns:
        The images to label, in the order in which to label them; `save` writes them.

    Raises:
        ConfigError: an argument is out of range, or two exclude each other.
        DataError: there are no such images, or none that could be labelled.
        UnknownName, WeightsError: there is no such network, or the weights do not fit.

    >>> next_to_label("photos/", "unlabelled/", weights="runs/photos").save("next")  # doctest: +SKIP
    """
    if count < 1:
        raise ConfigError(f"count must be 1 or more, got {count}.")
    report = progress or no_report
    chosen = images_of(data, "train", on_error)
    if on_error == "skip":
        chosen = without_damaged(chosen, report)
    labelled = chosen.images
    found = _without_labels(pool, labelled.classes)
    left = _left(found, _labelled_keys(data, labelled), on_error, report)
    seen = _seen(labelled, left.images, weights, model, run, seed, report)
    head = fit_head(seen.labelled, labelled.labels, len(labelled.classes))
    guesses = likeliest(head, seen.pool)
    standard = _standardised(head, seen.pool)
    order = select(standard, guesses.margins, count, seed=seed)
    strange = _strange(_standardised(head, seen.labelled), standard[order])
    wanted = tuple(
        _wanted(left.images.ids[i], guesses, i, labelled.classes, is_strange=odd)
        for i, odd in zip(order.tolist(), strange, strict=True)
    )
    return NextLabels(
        data=chosen.name,
        num_labelled=len(labelled),
        num_pool=len(found),
        wanted=wanted,
        labelled_already=left.labelled_already,
        copies=left.copies,
        unreadable=tuple(map(str, left.unreadable)),
        method=seen.method,
        notes=(*chosen.notes, *seen.notes),
        images=left.images,
    )


# ---- the pool


def _without_labels(pool: Pool, classes: tuple[str, ...]) -> ImageSet:
    """The images of the pool; their labels mean nothing. Raises DataError if there are none."""
    if isinstance(pool, ImageSet):
        images = pool
    else:
        if isinstance(pool, str | PathLike):
            folder = expanded(Path(pool))
            paths = find_images(folder)
            ids = [path.relative_to(folder).as_posix() if path != folder else path.name for path in paths]
        else:
            paths, ids = [Path(path) for path in pool], [str(path) for path in pool]
        images = ImageSet(classes, torch.zeros(len(paths), dtype=torch.int64), tuple(ids), paths=tuple(paths))
    if not len(images):
        raise DataError(f"{pool} holds no images. Give a folder with the images to label.")
    return images


def _labelled_keys(data: Labelled, labelled: ImageSet) -> set[str]:
    """The contents of all labelled images, also of those for validation and testing."""
    sets = [labelled]
    if isinstance(data, Data):
        sets = list(data.parts.values())
    elif not isinstance(data, ImageSet):
        sets = [images_of(data, "all", "skip").images]
    return {key for images in sets for key in image_keys(images)} - {""}


class _Left(NamedTuple):
    """The images of the pool that can be labelled, and those that are left out."""

    images: ImageSet
    labelled_already: tuple[str, ...]
    copies: tuple[str, ...]
    unreadable: tuple[BadImage, ...]


def _left(pool: ImageSet, known: set[str], on_error: OnError, progress: Report) -> _Left:
    """Leave out what is labelled already, copies, and what cannot be read. Raises DataError if nothing is left."""
    labelled_already: list[str] = []
    copies: list[str] = []
    kept: list[int] = []
    seen: set[str] = set()
    for i, key in enumerate(image_keys(pool)):
        if key in known:
            labelled_already.append(pool.ids[i])
        elif key and key in seen:
            copies.append(pool.ids[i])
        else:
            kept.append(i)
            seen.add(key)
    images, bad = pool.subset(kept), tuple[BadImage, ...]()
    if images.paths is not None and kept:
        images, bad = _readable(images, progress)
    if bad and on_error == "fail":
        raise cannot_be_read(bad, len(pool))
    if not len(images):
        reasons = {"are labelled already": labelled_already, "cannot be read": bad}
        said = " and ".join(f"{len(some):,} {reason}" for reason, some in reasons.items() if some)
        first = f" The first: {bad[0]}." if bad else ""
        raise DataError(
            f"None of the {counted(len(pool), 'image')} of the pool can be labelled: {said}.{first} Give other images."
        )
    return _Left(images, tuple(labelled_already), tuple(copies), bad)


def _readable(images: ImageSet, progress: Report) -> tuple[ImageSet, tuple[BadImage, ...]]:
    """The images that can be decoded, and those that cannot."""
    try:
        packed = pack(images, TINY, on_error="skip", progress=partial(progress, "Checking the pool"))
    except DataError:  # none of them can
        return images.subset([]), tuple(_why_not(images, i) for i in range(len(images)))
    kept = set(packed.ids)
    return images.subset([i for i, name in enumerate(images.ids) if name in kept]), packed.skipped


def _why_not(images: ImageSet, index: int) -> BadImage:
    try:
        images.image(index)
    except BadImage as error:
        return error
    return BadImage(images.ids[index], "it cannot be prepared")


# ---- what the trunk sees


class _Seen(NamedTuple):
    """The features of the labelled images and of the pool, where they come from, and what the user should know."""

    labelled: Tensor
    pool: Tensor
    method: str
    notes: tuple[str, ...]


def _seen(
    labelled: ImageSet,
    pool: ImageSet,
    weights: str | PathLike[str] | None,
    model: str | None,
    run: str | PathLike[str] | None,
    seed: int,
    progress: Report,
) -> _Seen:
    trunk = choose_trunk(weights, model, run, data=labelled)
    if trunk is not None:
        method, notes = f"{trunk.classifier.model_name}, frozen, from {trunk.source}", trunk.notes
    else:
        labelled = small_images(labelled, model, progress)
        pool = small_images(pool, model, progress)
        held = fold_numbers(labelled, 5, seed) == 0
        trained = train_fold(labelled, ~held, held, model, seed, partial(progress, "Training a network"))
        trunk = Trunk(trained.classifier, "the labelled images")
        method = f"{model or SMALL_NETWORK}, trained on the labelled images"
        notes = (
            f"A small network was trained on the {counted(len(labelled), 'labelled image')}. Weights that were trained "
            f"on more images (--weights) choose better.",
        )
    of_labelled, of_pool = (features(images, trunk, progress=progress) for images in (labelled, pool))
    return _Seen(of_labelled, of_pool, method, notes)


def _standardised(head: Head, inputs: Tensor) -> Tensor:
    return (inputs - head.mean) / head.std


def _strange(labelled: Tensor, chosen: Tensor) -> list[bool]:
    """Whether each chosen image is further from all labelled images than these usually are from one another."""
    if len(labelled) < 2:
        return [False] * len(chosen)
    asked = labelled[: min(_MOST_ASKED, len(labelled))]
    distances = torch.cdist(asked, labelled)
    distances[torch.arange(len(asked)), torch.arange(len(asked))] = torch.inf
    usual = distances.min(dim=1).values.quantile(_USUAL)
    return [bool(far) for far in torch.cdist(chosen, labelled).min(dim=1).values > usual]


def _wanted(path: str, guesses: Likeliest, i: int, classes: Sequence[str], *, is_strange: bool) -> Wanted:
    margin = float(guesses.margins[i])
    best, second = (classes[place] for place in guesses.classes[i, :2].tolist())
    reasons = []
    if margin < _UNSURE:
        high, low = guesses.probabilities[i, :2].tolist()
        reasons.append(f"unsure: {best} {high:.2f}, {second} {low:.2f}")
    if is_strange:
        reasons.append("unlike the labelled images")
    return Wanted(path, 1 - margin, "; ".join(reasons) or "for variety", best)
