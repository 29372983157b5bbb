"""Translate weights between other libraries' names and ours, by the tables in each family's file.

fitting("resnet50", state)                 somebody's state dict -> our network, and the weights in our names
from_ours(state, model, "torchvision")     our weights, as torchvision calls them
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from classicnets.errors import ConfigError, KeysMismatch
from classicnets.models.catalog import CATALOG, FAMILIES, create, find
from classicnets.models.contract import ConvNet
from classicnets.models.facts import FACTS
from classicnets.models.names import ForeignNames, Rows
from classicnets.weights.files import require_fit

TORCHVISION = {ours: theirs.name for family in FAMILIES for ours, theirs in family.torchvision.items()}
"""Our models that compute what torchvision's do, and the names that they have there."""


def _tables(model: ConvNet) -> Mapping[str, ForeignNames]:
    """The naming of each library that has models of this family. A network of no family of the catalog has none."""
    for family in FAMILIES:
        if isinstance(model, family.net):
            return family.foreign_names(model.config)
    return {}


@dataclass(frozen=True)
class Translated:
    """A state dict in our names, and the library whose names it had before, such as "torchvision"."""

    state: dict[str, Tensor]
    naming: str


def namings(model: ConvNet) -> dict[str, dict[str, str]]:
    """Return what the weights of `model` are called: library -> our name -> their name, in the model's order.

    "classicnets" comes first and has our own names. "torchvision", "timm" and "cifar" (the well-known CIFAR
    repositories) follow if they have a name for every weight of the model, which may be on the meta device.

    >>> namings(create("resnet18", device="meta"))["timm"]["head.classifier.bias"]
    'fc.bias'
    """
    keys = list(model.state_dict())
    found = {"classicnets": {key: key for key in keys}}
    for naming, table in _tables(model).items():
        theirs = {key: _renamed(key, table.rows) for key in keys}
        if all(theirs.values()):
            found[naming] = theirs
    return found


def fitting(name: str, state: Mapping[str, Tensor], *, source: str = "", **switches: Any) -> tuple[ConvNet, Translated]:
    """Return the model that these weights fit key by key, on the meta device, and the weights in our names.

    name       a model of the catalog
    state      the weights, in the names of any library that `namings` lists
    source     what messages call the weights, such as a path
    switches   other fields of the family's config

    The number of classes, the number of input channels and `aux` are read off the weights.
    Raises UnknownName, ConfigError, and KeysMismatch, which lists every key that does not fit. If all keys fit another
    model of the catalog, the message names that model instead, and the exception's cause has the list.

    >>> model, translated = fitting("nin_cifar", create("nin_cifar", num_classes=3).state_dict())
    >>> model.config.num_classes, translated.naming
    (3, 'classicnets')
    """
    try:
        return _fit(name, state, source, switches)
    except KeysMismatch as error:
        others = [other for other in CATALOG if other != name and _fits(other, state)]
        if not others:
            raise
        raise KeysMismatch(
            f"{source or 'The weights'}: these {len(state)} weights are not {name}'s. They fit {', '.join(others)}."
        ) from error


def _fit(
    name: str, state: Mapping[str, Tensor], source: str, switches: Mapping[str, Any]
) -> tuple[ConvNet, Translated]:
    options = dict(switches)
    if hasattr(find(name).config, "aux"):
        options["aux"] = True
    widest = create(name, device="meta", **options)
    translated = to_ours(state, widest, source=source)
    options |= _ends(translated.state, widest)
    if "aux" in options:
        options["aux"] = any(key.startswith("aux_") for key in translated.state)
    model = create(name, device="meta", **options)
    require_fit(model, translated.state, source)
    return model, translated


def _fits(name: str, state: Mapping[str, Tensor]) -> bool:
    """Whether the weights fit the model `name`, by keys and shapes. The cheap checks come first."""
    numbers = sum(weight.numel() for weight in state.values())
    if not 0.5 < numbers / FACTS[name]["params"] < 2:
        return False
    auxiliary: dict[str, Any] = {}
    if hasattr(find(name).config, "aux"):
        auxiliary["aux"] = any("aux" in key for key in state)
    own = create(name, device="meta", **auxiliary).state_dict()
    if _without_counts(own) != _without_counts(state):
        return False
    try:
        _fit(name, state, "", {})
    except KeysMismatch:
        return False
    return True


def _without_counts(state: Mapping[str, Tensor]) -> int:
    """How many weights there are, without the batch counts, which old files lack."""
    return sum(not key.endswith("num_batches_tracked") for key in state)


def remarks(name: str, naming: str) -> list[str]:
    """Return what a user should know about weights of the model `name` in the names of `naming`, a sentence each.

    >>> remarks("resnet18", "torchvision")
    []
    """
    if naming not in ("torchvision", "timm"):
        return []
    theirs = find(name).family.torchvision.get(name)
    if theirs is None:
        return [
            f"{naming} has no network that computes what {name} does; only the names are {naming}'s. Weights of its "
            "networks may load here, or these there, and give wrong answers."
        ]
    if theirs.transform_input:
        return [
            f"torchvision's {theirs.name} normalises its input again (transform_input): here, use mean 0.5 and std 0.5."
        ]
    return []


def first_convolution(model: ConvNet) -> str:
    """Return the name of the weight that sees the images: (out_channels, in_channels, height, width).

    >>> first_convolution(create("alexnet", device="meta"))
    'trunk.conv1.conv.weight'
    """
    return next(f"trunk.{key}" for key, weight in model.trunk.named_parameters() if weight.ndim == 4)


def _ends(state: Mapping[str, Tensor], model: ConvNet) -> dict[str, int]:
    """The numbers of classes and of input channels, as far as weights in the names of `model` show them."""
    first, last = state.get(first_convolution(model)), state.get("head.classifier.weight")
    classes = {"num_classes": len(last)} if last is not None and last.ndim > 1 else {}
    channels = {"in_channels": first.shape[1]} if first is not None and first.ndim == 4 else {}
    return classes | channels


def to_ours(state: Mapping[str, Tensor], model: ConvNet, *, source: str = "") -> Translated:
    """Return the weights in our names, and the library whose names they had: the one that knows most of the keys.

    state    the weights, in the names of any library that `namings` lists
    model    the network that they are for; it may be on the meta device
    source   what messages call the weights, such as a path

    Nothing is dropped: unknown keys keep their names, and `load_into` refuses them. Batch norms of old files, which do
    not count batches, get counts of zero. Raises KeysMismatch if no library knows a single key, or if keys are in two
    libraries' names.
    """
    known = namings(model)
    scores = {naming: len(state.keys() & theirs.values()) for naming, theirs in known.items()}
    naming = max(scores, key=lambda n: scores[n])
    if not scores[naming]:
        raise KeysMismatch(
            f"{source or 'The weights'}: none of the {len(state)} keys is known for this {type(model).__name__}, "
            f"by the names of {' or '.join(known)}. These weights belong to another network.",
            unexpected=list(state),
        )
    ours = {theirs: own for own, theirs in known[naming].items()}
    clashing = [key for key in state if key not in ours and key in known["classicnets"]]
    if clashing:
        raise KeysMismatch(
            f"{source or 'The weights'}: most keys are {naming}'s names, but these are ours. Rename one kind.",
            unexpected=clashing,
        )
    kernels = _kernels(model, naming)
    flat = {}
    for key, value in state.items():
        flat[ours.get(key, key)] = value.flatten(1) if key in kernels and value.ndim == 4 else value
    for own in known["classicnets"]:
        layer, _, last = own.rpartition(".")
        if last == "num_batches_tracked" and f"{layer}.running_mean" in flat:
            flat.setdefault(own, torch.zeros((), dtype=torch.int64))
    return Translated(flat, naming)


def from_ours(state: Mapping[str, Tensor], model: ConvNet, naming: str) -> dict[str, Tensor]:
    """Return weights in another library's names, shapes and order.

    state    the weights, in our names
    model    the network that they are for; it may be on the meta device
    naming   a library that `namings` lists for this model

    Raises ConfigError if the model has no names there, and KeysMismatch if the keys are not the model's.
    """
    known = namings(model)
    if naming not in known:
        raise ConfigError(f"This model has no {naming!r} names. Choose from: {', '.join(known)}.")
    missing, unexpected = known[naming].keys() - state.keys(), state.keys() - known[naming].keys()
    if missing or unexpected:
        raise KeysMismatch("The weights are not this model's.", missing=sorted(missing), unexpected=sorted(unexpected))
    kernels = _kernels(model, naming)
    result = {}
    for own, theirs in known[naming].items():
        kernel = kernels.get(theirs)
        result[theirs] = state[own].reshape(len(state[own]), -1, kernel, kernel) if kernel else state[own]
    return result


def _kernels(model: ConvNet, naming: str) -> Mapping[str, int]:
    """The linear layers that this library keeps as convolutions: its name -> the window's side."""
    table = _tables(model).get(naming)
    return table.kernels if table else {}


def _renamed(key: str, rows: Rows) -> str:
    """What these rows call one of our keys, or an empty string."""
    for pattern, start in rows:
        theirs, found = re.subn(rf"^{pattern}(?![a-z])", start, key)
        if found:
            return theirs
    return ""
