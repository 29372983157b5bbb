"""Whether a network can be kept by its catalog name and config alone, as a saved classifier keeps it."""

from __future__ import annotations

import logging
from dataclasses import fields
from typing import Any

from torch import nn

from classicnets.errors import ConfigError, UnknownName
from classicnets.models.catalog import CATALOG, family_of
from classicnets.models.contract import ConvNet, NetConfig
from classicnets.models.shapes import ShapesOnly

logger = logging.getLogger("classicnets")

_ANY_ROW = ("num_classes", "in_channels", "checkpointing", "note")


def network_of(model: nn.Module) -> ConvNet:
    """Return the network that `torch.compile` wrapped, or the model itself. Raises ConfigError for other models."""
    network = getattr(model, "_orig_mod", model)
    if isinstance(network, ConvNet):
        return network
    inner = " Give the network inside it: model.module." if isinstance(getattr(model, "module", None), ConvNet) else ""
    raise ConfigError(
        f"A classifier needs a network of this package, got {type(network).__module__}.{type(network).__name__}."
        f"{inner or ' create_model(NAME, weights=FILE) builds one and loads the weights of other packages.'}"
    )


def catalog_name(network: ConvNet, name: str) -> str:
    """Return the network's name in the catalog: `name`, unless the network is exactly another row of its family.

    Raises UnknownName for a name that is not in the catalog, ConfigError for one of another family.
    """
    rows = _rows_of(network)
    if name not in CATALOG:
        known = f" This network is {' or '.join(rows)}." if rows else ""
        raise UnknownName(
            f"model_name must be a name from `classicnets models`, got {name!r}.{known} "
            "A name of your own fits into provenance."
        )
    if type(network) is not (net := family_of(name).net):
        raise ConfigError(f"model_name {name!r} is a {net.__name__}, but the model is a {type(network).__name__}.")
    if name in rows or not rows:
        return name
    logger.warning("The network is %s, so the classifier is called that, not %s.", rows[0], name)
    return rows[0]


def _rows_of(network: ConvNet) -> list[str]:
    """The names in the catalog that the network's config is exactly, except for its classes and channels."""
    return [
        name
        for name, (family, row) in CATALOG.items()
        if family.net is type(network) and _essence(row) == _essence(network.config)
    ]


def _essence(config: NetConfig) -> dict[str, Any]:
    return {f.name: getattr(config, f.name) for f in fields(config) if f.name not in _ANY_ROW}


def require_own_layers(network: ConvNet) -> None:
    """Raise ConfigError, naming the layers, unless the network has the layers and shapes that its config builds."""
    with ShapesOnly():
        built = type(network)(network.config)
    changed = _changed_layers(network, built) or _changed_weights(network, built)
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise ConfigError(
            f"The network is not the one that its config describes: {'; '.join(changed[:3])}{more}. A classifier is "
            "saved as a catalog name, a config and weights, so layers of your own cannot be kept. Supported are "
            "create_model(NAME, num_classes=N, weights=...), which starts a new head, and the config's switches."
        )


def _changed_layers(network: ConvNet, built: ConvNet) -> list[str]:
    own = dict(network.named_modules())
    return [
        f"{name} is {type(own[name]).__name__}, not {type(module).__name__}"
        for name, module in built.named_modules()
        if name in own and not isinstance(own[name], type(module)) and not _are_batch_norms(own[name], module)
    ]


def _are_batch_norms(*modules: nn.Module) -> bool:
    """Such as SyncBatchNorm in place of BatchNorm2d: in eval mode they compute the same."""
    return all(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in modules)


def _changed_weights(network: ConvNet, built: ConvNet) -> list[str]:
    own, expected = network.state_dict(), built.state_dict()
    changed = []
    for key in dict.fromkeys([*expected, *own]):
        if key not in own:
            changed.append(f"{key} is missing")
        elif key not in expected:
            changed.append(f"{key} does not belong to it")
        elif own[key].shape != expected[key].shape:
            changed.append(f"{key} is {tuple(own[key].shape)}, not {tuple(expected[key].shape)}")
    return changed
