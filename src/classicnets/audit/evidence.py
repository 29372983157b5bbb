"""What an audit knows of images: their features by a frozen trunk, and probabilities by models that never saw them.

    weights       -> Trunk -> features -> a head for each fold  \\
                                                                 -> out-of-fold probabilities
    no weights    -> a small network for each fold              /
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from classicnets.audit.fold_network import small_images, train_fold
from classicnets.audit.head import Head, fit_head
from classicnets.classifier import Classifier
from classicnets.data.content import content_keys
from classicnets.data.imageset import ImageSet
from classicnets.data.pipeline.pack import pack
from classicnets.data.split import folds as divided
from classicnets.errors import ConfigError, DataError
from classicnets.explanation.activations import watch
from classicnets.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from classicnets.system.progress import Report, no_report
from classicnets.training.recipe.choose import natural_size
from classicnets.weights.config import SavedConfig, read_config
from classicnets.weights.pretrained import find_weights, pretrained

__all__ = ["Evidence", "Head", "Trunk", "choose_trunk", "features", "fit_head", "gather"]

_PUBLISHED = "resnet18"  # the network of "torchvision" without a name
_TRUNK_SIDE = 128  # smaller images are enlarged to this at most: at 224 pixels a trunk takes three times as long


@dataclass(frozen=True, eq=False)
class Trunk:
    """A trained network whose features are used.

    Attributes:
        classifier: the network and its preprocessing; its classes are not used.
        source: where the weights come from, in words.
        trained_on: the source of the images that they were trained on, as `load_data` takes it; "" if it is not known.
        notes: what the user should know, one sentence each.
    """

    classifier: Classifier
    source: str
    trained_on: str = ""
    notes: tuple[str, ...] = ()


def choose_trunk(
    weights: str | PathLike[str] | None = None,
    model: str | None = None,
    run: str | PathLike[str] | None = None,
    *,
    data: ImageSet,
) -> Trunk | None:
    """Load the trunk that the user names; None if no weights are named.

    Args:
        weights: a run, a model folder, a checkpoint's folder, a file, or "torchvision[:NAME]".
        model: the network that the weights belong to. A folder says it itself; "torchvision" alone is resnet18.
        run: a run folder; the same as `weights`, so give one of the two.
        data: the images, whose size decides at which size the trunk sees them.

    Raises:
        ConfigError: `weights` and `run` are both given, or a file of weights without a model.
        UnknownName, WeightsError: there are no such weights, or they do not fit the model.

    >>> choose_trunk("torchvision", "resnet18", data=images)  # doctest: +SKIP
    """
    if weights is not None and run is not None:
        raise ConfigError("Give weights or a run, not both: a run is read for its weights.")
    given = weights if run is None else run
    if given is None:
        return None
    source = given if isinstance(given, str) else Path(given)
    saved = _saved(Path(source).expanduser())
    name = model or (saved.architecture if saved else _network_of(source))
    found = pretrained(name, source)
    config = found.model.config
    preprocess = found.preprocess or _imagenet(config.in_channels, config.image_size)
    enough = max(_TRUNK_SIDE, natural_size(data, config))
    side = min(*preprocess.input_size, enough)
    classifier = Classifier(
        model=found.model,
        model_name=name,
        classes=found.classes or tuple(map(str, range(config.num_classes))),
        preprocess=replace(preprocess, input_size=(side, side), bit_depth=data.bit_depth),
    )
    known = saved.classicnets.provenance.get("data", {}) if saved else {}
    return Trunk(classifier, found.source, str(known.get("source", "")), found.notes)


def features(data: ImageSet, source: Trunk, *, progress: Report = no_report) -> Tensor:
    """Return what the trunk's last layer reads of each image: float32 (N, D).

    Args:
        data: the N images.
        source: the trunk.
        progress: called with the name of the step, how much of it is done, and how much there is.

    Raises DataError if images cannot be decoded, ConfigError if the features are not finite.

    >>> features(load_data("digits").train, trunk).shape  # doctest: +SKIP
    torch.Size([1439, 512])
    """
    return _features(source.classifier, data, progress)


def _features(classifier: Classifier, data: ImageSet, progress: Report) -> Tensor:
    packed = pack(data, classifier.preprocess, progress=partial(progress, "Reading images"))
    watched = watch(classifier, packed.images, [], most=1, progress=partial(progress, "Computing features"))
    return watched.features.clone()  # no inference tensor: it may be computed with


class Evidence(NamedTuple):
    """What models say of N images that they did not learn from.

    Attributes:
        probabilities: of each class, by a model that saw neither the image, nor a copy of it, nor its group: float32
            (N, K); each row sums to 1.
        features: of each image, float32 (N, D): the trunk's, or those of the network of the first fold.
        fold_of: the fold of each image, int64 (N,).
    """

    probabilities: Tensor
    features: Tensor
    fold_of: Tensor


def gather(
    data: ImageSet,
    *,
    trunk: Trunk | None,
    folds: int = 5,
    seed: int = 0,
    model: str | None = None,
    progress: Report = no_report,
) -> Evidence:
    """Ask of each image a model that did not learn from it.

    With a trunk, a head is fitted to the features of the other folds. Without, a small network is trained on them.

    Args:
        data: the N images of K classes.
        trunk: the frozen trunk, or None.
        folds: how many folds, 2 or more. There are fewer if there are not so many images that may be separated.
        seed: decides the folds, and the training of the networks.
        model: the network that is trained for each fold if there is no trunk; None is a ResNet-8.
        progress: called with the name of the step, how much of it is done, and how much there is.

    Returns:
        The probabilities, the features and the folds.

    Raises:
        ConfigError: `folds` is below 2.
        DataError: images cannot be decoded, or all must be kept together.

    >>> gather(load_data("digits").train, trunk=None).features.shape  # doctest: +SKIP
    torch.Size([1439, 64])
    """
    if folds < 2:
        raise ConfigError(f"folds must be 2 or more, got {folds}. 5 are usual.")
    fold_of = fold_numbers(data, folds, seed)
    number = int(fold_of.max()) + 1
    probabilities = torch.empty(len(data), len(data.classes))
    if trunk is not None:
        inputs = features(data, trunk, progress=progress)
        for fold in range(number):
            held = fold_of == fold
            head = fit_head(inputs[~held], data.labels[~held], len(data.classes))
            probabilities[held] = head.probabilities(inputs[held])
            progress("Fitting heads", fold + 1, number)
        return Evidence(probabilities, inputs, fold_of)
    small = small_images(data, model, progress)
    seen = torch.empty(0)
    for fold in range(number):
        held = fold_of == fold
        report = partial(progress, f"Training network {fold + 1} of {number}")
        trained = train_fold(small, ~held, held, model, seed * number + fold, report)
        probabilities[held] = trained.logits.softmax(dim=1)
        if fold == 0:
            seen = _features(trained.classifier, small, progress)
    return Evidence(probabilities, seen, fold_of)


def fold_numbers(data: ImageSet, folds: int, seed: int) -> Tensor:
    """Return the fold of each image, int64 (N,), with identical images and images of one group in one fold.

    Raises DataError if all images must be kept together.
    """
    together = [content_keys(data), *([data.groups] if data.groups else [])]
    fold_of = divided(data.labels, folds, seed=seed, together=together)
    if int(fold_of.max()) == 0:
        raise DataError(
            "All images are copies of one another or in one group, so none can be judged by a model that has not seen "
            "it. Give images that differ, in two groups or more."
        )
    return fold_of


def _saved(path: Path) -> SavedConfig | None:
    """The config of a run, of a model folder, or of the run that a checkpoint belongs to. Raises WeightsError."""
    folders = (path, path / "model", path.absolute().parent.parent / "model") if path.is_dir() else ()
    configs = [folder / "config.json" for folder in folders if (folder / "config.json").is_file()]
    return read_config(configs[0]) if configs else None


def _network_of(weights: str | Path) -> str:
    """The network of weights without a config. Raises WeightsError if there are none, ConfigError if it is unknown."""
    if str(weights).partition(":")[0] == "torchvision":
        return _PUBLISHED
    find_weights(_PUBLISHED, weights)  # raises if there is nothing there
    raise ConfigError(f"{weights} does not say which network it belongs to. Name it with --model, such as resnet18.")


def _imagenet(channels: int, side: int) -> Preprocess:
    """The usual preparation of images, for weights that come without one."""
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.5,) * channels, (0.25,) * channels)
    return Preprocess(input_size=(side, side), mean=mean, std=std)
