"""Every model by its name: the list of families, and `create`, which builds a model.

A new variant is a row in its family's file. A new family is a file and a line in `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

from classicnets.errors import ConfigError, did_you_mean, unknown_name
from classicnets.models import alexnet, densenet, googlenet, nin, resnet, vgg
from classicnets.models.contract import ConvNet, Family, NetConfig
from classicnets.models.shapes import ShapesOnly
from classicnets.models.start import allocate, start_weights

FAMILIES: tuple[Family, ...] = (
    alexnet.FAMILY,
    vgg.FAMILY,
    nin.FAMILY,
    googlenet.FAMILY,
    resnet.FAMILY,
    densenet.FAMILY,
)


class Entry(NamedTuple):
    """A row of the catalog: a variant's config, and the family that it belongs to."""

    family: Family
    config: NetConfig


def index(families: tuple[Family, ...]) -> Mapping[str, Entry]:
    """Return the families' variants by name. Raises ValueError if two families have a variant of the same name."""
    entries: dict[str, Entry] = {}
    for family in families:
        for name, config in family.variants.items():
            if name in entries:
                raise ValueError(f"Both {entries[name].family.name} and {family.name} have a variant named {name!r}.")
            entries[name] = Entry(family, config)
    return MappingProxyType(entries)


CATALOG = index(FAMILIES)


def find(name: str) -> Entry:
    """Return the catalog's row for the model `name`. Raises UnknownName, with suggestions, if there is none.

    >>> find("vgg16").config.image_size
    224
    """
    if name not in CATALOG:
        raise unknown_name("model", name, CATALOG, next_step="See `classicnets models`.")
    return CATALOG[name]


def family_of(name: str) -> Family:
    """Return the family of the model `name`. Raises UnknownName, with suggestions, if there is no such model.

    >>> family_of("vgg16").name
    'vgg'
    """
    return find(name).family


def create(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    **switches: Any,
) -> ConvNet:
    """Return a model with fresh weights, in training mode.

    name          a model's name, as `classicnets models` lists them
    num_classes   columns of the logits, 1 or more; None keeps the variant's
    in_channels   channels of the images, 1 or more; None keeps the variant's
    generator     a CPU generator that the weights are a function of, whatever the device; None: PyTorch's global one
    device        where the weights are; "meta" gives shapes without weights, in almost no time
    switches      other fields of the family's config, such as `activation="tanh"`

    Raises UnknownName for a name that does not exist. Raises ConfigError for an unknown switch, a value out of range,
    or a family that leaves a weight without a start.

    >>> create("resnet18", num_classes=10, in_channels=1, device="meta").head.classifier
    Linear(in_features=512, out_features=10, bias=True)
    """
    family, config = find(name)
    if num_classes is not None:
        switches["num_classes"] = num_classes
    if in_channels is not None:
        switches["in_channels"] = in_channels
    known = [f.name for f in fields(config)]
    for switch in switches:
        if switch not in known:
            near = did_you_mean(switch, known)
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            raise ConfigError(f"{name} has no switch {switch!r}.{hint} Its switches: {', '.join(known)}.")
    try:
        with ShapesOnly():
            model = family.net(replace(config, **switches))
    except (RuntimeError, ValueError, TypeError, ZeroDivisionError) as error:
        raise ConfigError(f"{name} cannot be built with {switches}: {error}. Change one of them.") from error
    if torch.device(device).type == "meta":
        return model
    allocate(model)
    start_weights(model, generator)
    return model.to(device)
