"""Every model by its name: the list of the families, and `create`, which builds one.

A new variant is a row in its family's file; a new family is a file and a line in `FAMILIES`.
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

FAMILIES: tuple[Family, ...] = (
    alexnet.FAMILY,
    vgg.FAMILY,
    nin.FAMILY,
    googlenet.FAMILY,
    resnet.FAMILY,
    densenet.FAMILY,
)


class Entry(NamedTuple):
    """A row of the catalog."""

    family: Family
    config: NetConfig


def index(families: tuple[Family, ...]) -> Mapping[str, Entry]:
    """The families' variants by name. Raises ValueError where two families claim one name."""
    entries: dict[str, Entry] = {}
    for family in families:
        for name, config in family.variants.items():
            if name in entries:
                raise ValueError(f"Both {entries[name].family.name} and {family.name} have a variant named {name!r}.")
            entries[name] = Entry(family, config)
    return MappingProxyType(entries)


CATALOG = index(FAMILIES)


def find(name: str) -> Entry:
    """The catalog's row of that name. Raises UnknownName, with suggestions."""
    if name not in CATALOG:
        raise unknown_name("model", name, CATALOG, next_step="See `classicnets models`.")
    return CATALOG[name]


def family_of(name: str) -> Family:
    """The family that a model belongs to. Raises UnknownName, with suggestions."""
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
    """A model with fresh weights, in training mode; what is not given stays as in the catalog's row.

    `switches` are the other fields of the family's config, say `activation="tanh"`. The weights are a function of
    `generator` (a CPU one; PyTorch's global one by default), whatever the device. On `device="meta"` the model has
    shapes and no weights, and takes no time to build. Raises UnknownName and ConfigError.

    >>> create("resnet18", num_classes=10, in_channels=1, device="meta").head.classifier
    Linear(in_features=512, out_features=10, bias=True)
    """
    family, config = find(name)
    if num_classes is not None:
        switches["num_classes"] = num_classes
    if in_channels is not None:
        switches["in_channels"] = in_channels
    for switch in switches:
        known = [f.name for f in fields(config)]
        if switch not in known:
            near = did_you_mean(switch, known)
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            raise ConfigError(f"{name} has no switch {switch!r}.{hint} It has {', '.join(known)}.")
    try:
        with torch.device("meta"):
            model = family.net(replace(config, **switches))
    except (RuntimeError, ValueError, TypeError, ZeroDivisionError) as error:
        raise ConfigError(f"{name} cannot be built with {switches}: {error}. Change one of them.") from error
    if torch.device(device).type == "meta":
        return model
    model.to_empty(device="cpu")
    model.init_weights(generator)
    return model.to(device)
