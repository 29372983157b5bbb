"""The names of other libraries' weights, and ours: one table a family, read both ways.

A row says how the start of one of our names is called elsewhere. What follows it (`weight`, `running_mean`, ...) is
the same everywhere. Both sides are those of `re.sub`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from classicnets.errors import ConfigError, KeysMismatch
from classicnets.models.alexnet import AlexNet
from classicnets.models.catalog import CATALOG, create, find
from classicnets.models.contract import ConvNet
from classicnets.models.densenet import DenseNet
from classicnets.models.facts import FACTS
from classicnets.models.googlenet import GoogLeNet
from classicnets.models.resnet import ResNet
from classicnets.models.vgg import VGG, VGGConfig
from classicnets.weights.files import require_fit

Rows = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]


def _from_zero(template: str) -> Callable[[re.Match[str]], str]:
    """A replacement that counts from one less: `layer1` is our conv2, and its block 0 our block1."""
    return lambda match: template.format(*(int(number) - 1 for number in match.groups()))


# Our models that compute what torchvision's do, and the names that they have there.
TORCHVISION = {
    "alexnet_owt": "alexnet",
    **{name: name for depth in (11, 13, 16, 19) for name in (f"vgg{depth}", f"vgg{depth}_bn")},
    "googlenet_bn": "googlenet",
    **{f"resnet{depth}": f"resnet{depth}" for depth in (18, 34, 50, 101, 152)},
    **{f"densenet{depth}": f"densenet{depth}" for depth in (121, 161, 169, 201)},
}

_ALEXNET: Rows = (
    (r"trunk\.conv1\.conv", "features.0"),
    (r"trunk\.conv2\.conv", "features.3"),
    (r"trunk\.conv3\.conv", "features.6"),
    (r"trunk\.conv4\.conv", "features.8"),
    (r"trunk\.conv5\.conv", "features.10"),
    (r"head\.fc6", "classifier.1"),
    (r"head\.fc7", "classifier.4"),
    (r"head\.classifier", "classifier.6"),
)
_GOOGLENET: Rows = (
    (r"trunk\.conv1", "conv1"),
    (r"trunk\.conv2\.reduce", "conv2"),
    (r"trunk\.conv2\.conv3x3", "conv3"),
    (r"trunk\.inception_(\d)([a-e])\.conv1x1", r"inception\1\2.branch1"),
    (r"trunk\.inception_(\d)([a-e])\.reduce3x3", r"inception\1\2.branch2.0"),
    (r"trunk\.inception_(\d)([a-e])\.conv3x3", r"inception\1\2.branch2.1"),
    (r"trunk\.inception_(\d)([a-e])\.reduce5x5", r"inception\1\2.branch3.0"),
    (r"trunk\.inception_(\d)([a-e])\.conv5x5", r"inception\1\2.branch3.1"),
    (r"trunk\.inception_(\d)([a-e])\.pool_proj", r"inception\1\2.branch4.1"),
    (r"aux_4a\.conv", "aux1.conv"),
    (r"aux_4a\.fc", "aux1.fc1"),
    (r"aux_4a\.classifier", "aux1.fc2"),
    (r"aux_4d\.conv", "aux2.conv"),
    (r"aux_4d\.fc", "aux2.fc1"),
    (r"aux_4d\.classifier", "aux2.fc2"),
    (r"head\.classifier", "fc"),
)
_RESNET: Rows = (
    (r"trunk\.conv1\.conv", "conv1"),
    (r"trunk\.conv1\.bn", "bn1"),
    (r"trunk\.conv(\d)\.block(\d+)\.residual", _from_zero("layer{}.{}")),
    (r"trunk\.conv(\d)\.block(\d+)\.shortcut\.conv", _from_zero("layer{}.{}.downsample.0")),
    (r"trunk\.conv(\d)\.block(\d+)\.shortcut\.bn", _from_zero("layer{}.{}.downsample.1")),
    (r"head\.classifier", "fc"),
)
# The CIFAR ResNets of the well-known repositories (akamaster's ResNet-20 to 1202, kuangliu's ResNet-18).
_RESNET_CIFAR: Rows = (
    (r"trunk\.conv(\d)\.block(\d+)\.shortcut\.conv", _from_zero("layer{}.{}.shortcut.0")),
    (r"trunk\.conv(\d)\.block(\d+)\.shortcut\.bn", _from_zero("layer{}.{}.shortcut.1")),
    (r"head\.classifier", "linear"),
    *_RESNET,
)
_DENSENET: Rows = (
    (r"trunk\.stem\.conv", "features.conv0"),
    (r"trunk\.stem\.bn", "features.norm0"),
    (r"trunk\.dense(\d)\.layer(\d+)\.bn", r"features.denseblock\1.denselayer\2.norm"),
    (r"trunk\.dense(\d)\.layer(\d+)\.conv", r"features.denseblock\1.denselayer\2.conv"),
    (r"trunk\.transition(\d)\.bn", r"features.transition\1.norm"),
    (r"trunk\.transition(\d)\.conv", r"features.transition\1.conv"),
    (r"trunk\.norm\.bn", "features.norm5"),
    (r"head\.classifier", "classifier"),
)


def _vgg_features(config: VGGConfig) -> Rows:
    """All layers of the trunk in one numbered list: convolution, batch norm, ReLU, ..., pool."""
    rows: list[tuple[str, str]] = []
    number = 0
    for i, depth in enumerate(config.depths, start=1):
        for j in range(1, depth + 1):
            rows.append((rf"trunk\.conv{i}\.conv{i}_{j}\.conv", f"features.{number}"))
            rows.append((rf"trunk\.conv{i}\.conv{i}_{j}\.bn", f"features.{number + 1}"))
            number += 3 if config.batch_norm else 2
        number += 1
    return tuple(rows)


_VGG_HEADS: dict[str, Rows] = {
    "torchvision": (
        (r"head\.fc6", "classifier.0"),
        (r"head\.fc7", "classifier.3"),
        (r"head\.classifier", "classifier.6"),
    ),
    "timm": ((r"head\.fc6", "pre_logits.fc1"), (r"head\.fc7", "pre_logits.fc2"), (r"head\.classifier", "head.fc")),
    "cifar": ((r"head\.classifier", "classifier"),),  # kuangliu's, without hidden layers
}
# timm keeps fc6 and fc7 as convolutions over a window of this side; the numbers are the same.
_KERNELS = {"pre_logits.fc1.weight": 7, "pre_logits.fc2.weight": 1}


def _tables(model: ConvNet) -> dict[str, Rows]:
    """The rows for each naming that has models of this family."""
    if isinstance(model, AlexNet):
        return {"torchvision": _ALEXNET}
    if isinstance(model, VGG) and not model.config.lrn:
        wanted = ("torchvision", "timm") if model.config.hidden else ("cifar",)
        return {naming: (*_vgg_features(model.config), *_VGG_HEADS[naming]) for naming in wanted}
    if isinstance(model, GoogLeNet) and model.config.batch_norm:
        return {"torchvision": _GOOGLENET}
    if isinstance(model, ResNet) and model.config.residual:
        return {"torchvision": _RESNET, "timm": _RESNET, "cifar": _RESNET_CIFAR}
    if isinstance(model, DenseNet):
        return {"torchvision": _DENSENET, "timm": _DENSENET}
    return {}


@dataclass(frozen=True)
class Translated:
    """A state dict in our own names, and the naming that it came in."""

    state: dict[str, Tensor]
    naming: str


def namings(model: ConvNet) -> dict[str, dict[str, str]]:
    """What the weights of `model` are called: naming -> our name -> the name there, in the order there.

    "classicnets" comes first and maps to itself; "torchvision", "timm" and "cifar" follow where the naming has a place
    for every weight of the model.
    """
    keys = list(model.state_dict())
    found = {"classicnets": {key: key for key in keys}}
    for naming, rows in _tables(model).items():
        theirs = {key: name for key in keys if (name := _renamed(key, rows))}
        if len(theirs) == len(keys):
            found[naming] = theirs
    return found


def fitting(name: str, state: Mapping[str, Tensor], *, source: str = "", **switches: Any) -> tuple[ConvNet, Translated]:
    """The catalog's model `name`, on the meta device, that these weights fit key by key; and the weights, translated.

    Its number of classes, its input channels, and whether it has auxiliary heads, are what the weights have; `switches`
    are the config's other fields. `source` is what messages call the weights.
    Raises UnknownName, ConfigError, and KeysMismatch, which lists every key that does not fit. Where all of them fit
    another model of the catalog, the message names that instead, and the exception's cause has the list.
    """
    try:
        return _fit(name, state, source, switches)
    except KeysMismatch as error:
        others = [other for other in CATALOG if other != name and _fits(other, state)]
        if not others:
            raise
        raise KeysMismatch(
            f"{source or 'The weights'}: {len(state)} weights, not those of {name}. They fit {', '.join(others)}."
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
    """Whether the weights are those of the model `name`, as far as keys and shapes tell; the cheap questions first."""
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
    """The number of weights; old files have no counts of batches."""
    return sum(not key.endswith("num_batches_tracked") for key in state)


def remarks(name: str, naming: str) -> list[str]:
    """What a user should know about the weights of the model `name` in that naming, a sentence each."""
    if naming not in ("torchvision", "timm"):
        return []
    if name not in TORCHVISION:
        return [
            f"{naming} has no network that computes what {name} does, only the names are its own: weights of its "
            "networks may load here, or these there, and answer wrongly."
        ]
    if name == "googlenet_bn":
        return ["torchvision's googlenet normalises its input again (transform_input): here, use mean 0.5 and std 0.5."]
    return []


def first_convolution(model: ConvNet) -> str:
    """The name of the weight that sees the images: (out_channels, in_channels, height, width)."""
    return next(f"trunk.{key}" for key, weight in model.trunk.named_parameters() if weight.ndim == 4)


def _ends(state: Mapping[str, Tensor], model: ConvNet) -> dict[str, int]:
    """The number of classes and of input channels of weights in the names of `model`, where they can be told."""
    first, last = state.get(first_convolution(model)), state.get("head.classifier.weight")
    classes = {"num_classes": len(last)} if last is not None and last.ndim > 1 else {}
    channels = {"in_channels": first.shape[1]} if first is not None and first.ndim == 4 else {}
    return classes | channels


def to_ours(state: Mapping[str, Tensor], model: ConvNet, *, source: str = "") -> Translated:
    """`state`, in whichever naming, with the names of `model`; the naming that knows most of its keys is taken.

    Nothing is dropped: keys without a place keep their name, for `load_into` to refuse. Batch norms of old files, which
    do not count their batches, get counts of zero. `source` is what messages call the weights. `model` may be on the
    meta device. Raises KeysMismatch when no naming knows a single key.
    """
    known = namings(model)
    scores = {naming: len(state.keys() & theirs.values()) for naming, theirs in known.items()}
    naming = max(scores, key=lambda n: scores[n])
    if not scores[naming]:
        raise KeysMismatch(
            f"{source or 'The weights'}: none of the {len(state)} keys is known for this {type(model).__name__}, "
            f"by the names of {' or '.join(known)}. The weights are of another network.",
            unexpected=list(state),
        )
    ours = {theirs: own for own, theirs in known[naming].items()}
    clashing = [key for key in state if key not in ours and key in known["classicnets"]]
    if clashing:
        raise KeysMismatch(
            f"{source or 'The weights'}: the names are {naming}'s, and these are not.", unexpected=clashing
        )
    flat = {
        ours.get(key, key): value.flatten(1) if key in _KERNELS and value.ndim == 4 else value
        for key, value in state.items()
    }
    for own in known["classicnets"]:
        layer, _, last = own.rpartition(".")
        if last == "num_batches_tracked" and f"{layer}.running_mean" in flat:
            flat.setdefault(own, torch.zeros((), dtype=torch.int64))
    return Translated(flat, naming)


def from_ours(state: Mapping[str, Tensor], model: ConvNet, naming: str) -> dict[str, Tensor]:
    """`state`, which has the names of `model`, in the names, shapes and order of `naming`.

    Raises ConfigError for a naming that the model has no place in, and KeysMismatch unless the keys are the model's.
    """
    known = namings(model)
    if naming not in known:
        raise ConfigError(f"This model has no names in {naming!r}; it has them in {', '.join(known)}.")
    missing, unexpected = known[naming].keys() - state.keys(), state.keys() - known[naming].keys()
    if missing or unexpected:
        raise KeysMismatch("The weights are not this model's.", missing=sorted(missing), unexpected=sorted(unexpected))
    result = {}
    for own, theirs in known[naming].items():
        kernel = _KERNELS.get(theirs)
        result[theirs] = state[own].reshape(len(state[own]), -1, kernel, kernel) if kernel else state[own]
    return result


def _renamed(key: str, rows: Rows) -> str:
    """What one of our keys is called by these rows, or an empty string."""
    for pattern, start in rows:
        theirs, found = re.subn(rf"^{pattern}(?![a-z])", start, key)
        if found:
            return theirs
    return ""
