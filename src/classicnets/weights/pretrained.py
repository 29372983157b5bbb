"""Trained weights for a model: published by torchvision, in a file, or in a folder.

pretrained("resnet50", "torchvision")                    the best that torchvision publishes
pretrained("resnet50", "torchvision:IMAGENET1K_V1")      one of several
pretrained("resnet50", "somebodys.pth")                  a file, in any naming that `translate` knows
pretrained("resnet50", "runs/resnet50-birds")            a run, its model folder, or one of its checkpoints
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from classicnets.errors import ConfigError, KeysMismatch, WeightsError, unknown_name
from classicnets.models.catalog import create, find
from classicnets.models.contract import ConvNet
from classicnets.preprocess import Preprocess
from classicnets.weights.config import build, read_config
from classicnets.weights.fetch import fetch
from classicnets.weights.files import load_into
from classicnets.weights.model_folder import read_folder
from classicnets.weights.read import read
from classicnets.weights.translate import TORCHVISION, first_convolution, fitting, remarks

if TYPE_CHECKING:
    from torchvision.transforms._presets import ImageClassification

logger = logging.getLogger("classicnets")


@dataclass(frozen=True)
class Pretrained:
    """A model with trained weights, and what is known about them.

    Attributes:
        model: the model, in training mode.
        classes: the names of its outputs, in order; empty if they are not known or the classifier is new.
        preprocess: how its images were prepared; None if that is not known.
        source: where the weights come from, in words.
        notes: what was adapted or left out, one sentence each, to show to the user.
    """

    model: ConvNet
    classes: tuple[str, ...]
    preprocess: Preprocess | None
    source: str
    notes: tuple[str, ...]


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    weights: str | Path | None = None,
    generator: torch.Generator | None = None,
    **switches: Any,
) -> ConvNet:
    """Build a model of the catalog, with fresh or with trained weights, in training mode.

    Args:
        name: a name from `classicnets models`.
        num_classes: the number of outputs, 1 or more; by default the weights' own, else the paper's.
        in_channels: the number of input channels, 1 or more; by default the weights' own, else the paper's.
        weights: None for fresh weights; "torchvision", "torchvision:NAME", a file, a run, a model folder or a
            checkpoint's folder for trained ones. What was adapted is logged on the logger "classicnets".
        generator: a CPU generator that determines the fresh weights; PyTorch's global one by default.
        switches: other fields of the family's config, such as `activation="tanh"`.

    Raises UnknownName or ConfigError for arguments that cannot be used, WeightsError for weights that cannot be.

    >>> create_model("resnet18", num_classes=10, in_channels=1).head.classifier
    Linear(in_features=512, out_features=10, bias=True)
    """
    options = {"num_classes": num_classes, "in_channels": in_channels, "generator": generator, **switches}
    if weights is None:
        return create(name, **options)
    return pretrained(name, weights, **options).model


def pretrained(
    name: str,
    weights: str | Path,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    generator: torch.Generator | None = None,
    **switches: Any,
) -> Pretrained:
    """Build a model of the catalog with trained weights, and return it with what is known about them.

    Published files are kept in the cache (`$CLASSICNETS_CACHE`, else `~/.cache/classicnets`) and checked by their
    SHA-256. From the folder of a checkpoint, the averaged weights are taken if the training kept an average.

    Args:
        name: a name from `classicnets models`.
        weights: "torchvision", "torchvision:NAME", a file, a run, a model folder or a checkpoint's folder.
        num_classes: the number of outputs, 1 or more; by default the weights' own. Another number starts a new
            classifier.
        in_channels: the number of input channels, 1 or more; by default the weights' own. Another number adapts the
            first convolution: its filters are summed for one channel, else repeated and scaled to keep the response.
        generator: a CPU generator that determines fresh weights; PyTorch's global one by default.
        switches: other fields of the family's config, such as `activation="tanh"`.

    Raises UnknownName or ConfigError for arguments that cannot be used, WeightsError (KeysMismatch, ChecksumMismatch)
    for weights that are missing, damaged or differ from the model in anything else.

    Example:
        >>> pretrained("resnet18", "torchvision", num_classes=2).notes  # doctest: +SKIP
        ('Started afresh, as the weights are for another classifier: head.classifier.',)
    """
    found = find_weights(name, weights, num_classes)
    switches = found.switches | switches
    file_model, translated = fitting(name, found.state, source=found.source, **switches)
    state, given = translated.state, file_model.config
    model = create(
        name,
        num_classes=given.num_classes if num_classes is None else num_classes,
        in_channels=given.in_channels if in_channels is None else in_channels,
        generator=generator,
        **switches,
    )
    preprocess = found.preprocess
    notes = list(found.notes)
    if preprocess is None:
        notes += remarks(name, translated.naming)
    channels = model.config.in_channels
    if channels != given.in_channels:
        first = first_convolution(model)
        state[first] = _for_channels(state[first], channels)
        preprocess = preprocess and _preprocess_for_channels(preprocess, channels)
        how = "summed" if channels == 1 else "repeated and scaled"
        notes.append(
            f"Adapted from {given.in_channels} to {channels} input channels: the filters of {first} are {how}."
        )
    if found.trunk_only:
        state = {key: weight for key, weight in state.items() if not key.startswith("head.")}
    # Everything except the heads is known to fit by now.
    notes += load_into(model, state, head="replace", name=found.source)
    kept_classes = model.config.num_classes == given.num_classes and not found.trunk_only
    for note in notes:
        logger.info("%s: %s", found.source, note)
    return Pretrained(model, found.classes if kept_classes else (), preprocess, found.source, tuple(notes))


@dataclass(frozen=True)
class Found:
    """Weights in the names of their maker, and what is known about them.

    Attributes:
        state: name -> tensor.
        source: where the weights come from, in words.
        kind: what they were found in.
        classes: the names of their outputs; empty if not known.
        preprocess: how their images were prepared; None if not known.
        switches: the fields of the network's config, except its classes and channels.
        trunk_only: whether to leave out their classifier.
        notes: what was left out of the file, one sentence each.
    """

    state: dict[str, Tensor]
    source: str
    kind: str
    classes: tuple[str, ...] = ()
    preprocess: Preprocess | None = None
    switches: dict[str, Any] = field(default_factory=dict)
    trunk_only: bool = False
    notes: tuple[str, ...] = ()


def find_weights(name: str, weights: str | Path, num_classes: int | None = None) -> Found:
    """Read the weights that `pretrained` is given, without translating them. Raises what `pretrained` does."""
    provider, _, which = str(weights).partition(":")
    if provider == "torchvision":
        return _published(name, which, num_classes)
    path = Path(weights).expanduser()
    if path.is_dir():
        return _in_folder(name, path)
    if not path.exists():
        raise WeightsError(
            f"No weights {str(weights)!r}: neither a file or folder nor 'torchvision' or 'torchvision:NAME'. "
            "Check the path."
        )
    return _in_file(path, str(path))


def _in_file(path: Path, source: str, **known: Any) -> Found:
    checkpoint = read(path)
    return Found(checkpoint.state, source, checkpoint.found, notes=checkpoint.notes, **known)


def _published(name: str, which: str, num_classes: int | None) -> Found:
    find(name)
    if name not in TORCHVISION:
        raise WeightsError(f"torchvision publishes no weights for {name}. It does for {', '.join(TORCHVISION)}.")
    from torchvision.models import get_model_weights  # torchvision takes long to import

    published = get_model_weights(TORCHVISION[name])
    known = [weights.name for weights in published]
    if which and which not in known:
        raise unknown_name("torchvision weights", which, known, next_step=f"For {name} there are {', '.join(known)}.")
    weights = published[which] if which else published.DEFAULT
    categories = weights.meta["categories"]
    if categories is None and num_classes is None:
        raise WeightsError(
            f"torchvision's {weights.name} for {name} have no classifier. Give num_classes to start one."
        )
    return _in_file(
        fetch(weights.url),
        f"torchvision {weights.name} ({weights.url})",
        classes=_distinct(categories or ()),
        preprocess=_preprocess(name, weights.transforms()),
        trunk_only=categories is None,
    )


def _distinct(categories: Sequence[str]) -> tuple[str, ...]:
    """The class names; a name that several classes share gets the class's number (ImageNet has two "crane")."""
    times = Counter(categories)
    return tuple(name if times[name] == 1 else f"{name} ({i})" for i, name in enumerate(categories))


def _preprocess(name: str, transforms: ImageClassification) -> Preprocess:
    """torchvision's transforms as ours.

    Its GoogLeNet normalises the normalised image a second time (`transform_input`), from ImageNet's mean and deviation
    to 0.5 and 0.5. Both together are one normalisation by 0.5 and 0.5.
    """
    (crop,), (resize,) = transforms.crop_size, transforms.resize_size
    twice = find(name).family.torchvision[name].transform_input
    return Preprocess(
        input_size=(crop, crop),
        crop_fraction=crop / resize,
        interpolation=transforms.interpolation.value,
        mean=(0.5,) * 3 if twice else tuple(transforms.mean),
        std=(0.5,) * 3 if twice else tuple(transforms.std),
    )


def _in_folder(name: str, path: Path) -> Found:
    """The weights of a run, of a model folder, or of a folder in a run's `checkpoints`."""
    folder = next((f for f in (path, path / "model") if (f / "model.safetensors").is_file()), None)
    if folder is None:
        raise WeightsError(f"{path} holds neither model.safetensors nor model/model.safetensors. Give a run folder.")
    config: Path | None = folder / "config.json"
    if (folder / "config.json").is_file():
        saved, state, _ = read_folder(folder)
        found = Found(state, str(path), "model folder")
    else:
        found = _in_file(folder / "model.safetensors", str(path))
        config = _run_config(folder)
        if config is None:
            return found
        saved = read_config(config)
    if saved.architecture != name:
        raise WeightsError(f"{path} holds a {saved.architecture}, but a {name} was asked for.")
    try:
        values = build(saved, found.state).config.to_dict()
        preprocess = Preprocess.from_dict(saved.classicnets.preprocess)
    except (ConfigError, KeysMismatch) as error:
        raise WeightsError(f"{config}: {error}") from error
    switches = {k: v for k, v in values.items() if k not in ("num_classes", "in_channels")}
    return replace(found, classes=tuple(saved.label_names), preprocess=preprocess, switches=switches)


def _run_config(checkpoint: Path) -> Path | None:
    """The config of the run's classifier, if `checkpoint` is a folder in the run's `checkpoints`."""
    checkpoints = checkpoint.absolute().parent
    config = checkpoints.parent / "model" / "config.json"
    return config if checkpoints.name == "checkpoints" and config.is_file() else None


def _for_channels(weight: Tensor, channels: int) -> Tensor:
    """Filters (out, in, h, w) for another number of channels: summed for one, else repeated, with the same response."""
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    given = weight.shape[1]
    return weight[:, torch.arange(channels) % given] * (given / channels)


def _preprocess_for_channels(preprocess: Preprocess, channels: int) -> Preprocess:
    """The normalisation that goes with `_for_channels`: averaged for one channel, else repeated."""
    mean, std = preprocess.mean, preprocess.std
    if channels == 1:
        return replace(preprocess, mean=(fmean(mean),), std=(fmean(std),))
    repeat = [i % len(mean) for i in range(channels)]
    return replace(preprocess, mean=tuple(mean[i] for i in repeat), std=tuple(std[i] for i in repeat))
