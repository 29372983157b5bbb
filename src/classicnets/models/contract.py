"""The contract of every network here: a straight line of named stages, then a head.

    images (N, C, H, W) -> trunk: stage, stage, ... -> head: pooling and classifier -> logits (N, num_classes)

All families are a straight line of stages. Stage tables, receptive fields, feature taps, Grad-CAM targets, layer-wise
learning rates and detection backbones therefore need no tracing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from types import UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn

from classicnets.errors import ConfigError
from classicnets.models.names import ForeignNames, TorchvisionModel
from classicnets.models.recompute import is_fx_proxy, parts, recomputed, recomputes
from classicnets.models.shapes import ShapesOnly


@dataclass(frozen=True, kw_only=True)
class NetConfig:
    """The fields that every variant has. A family's own config adds its widths, depths and switches.

    num_classes     columns of the logits, 1 or more
    in_channels     channels of the images, 1 or more
    image_size      side of the images in the paper's tables, in pixels
    min_size        smallest side that the network takes, in pixels
    checkpointing   recompute activations in the backward pass: the same results in less memory, but slower
    note            what a reader should know about the variant: how it differs from the paper, which checkpoint fits it

    Lists become tuples, so that a config read from JSON equals the one that was written. Raises ConfigError if a value
    has the wrong type or is out of range.

    >>> NetConfig(num_classes=10, image_size=32).to_dict()["num_classes"]
    10
    """

    num_classes: int = 1000
    in_channels: int = 3
    image_size: int = 224
    min_size: int = 32
    checkpointing: bool = False
    note: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for f in fields(self):
            value = _tuples(getattr(self, f.name))
            object.__setattr__(self, f.name, value)
            if not _fits(value, hints[f.name]):
                raise ConfigError(f"{f.name} must be {_kind(hints[f.name])}, got {value!r}.")
        for name in ("num_classes", "in_channels", "image_size", "min_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more, got {getattr(self, name)}.")

    def to_dict(self) -> dict[str, Any]:
        """Return the config as JSON-ready values, without the note: `type(config)(**config.to_dict()) == config`."""
        return {k: v for k, v in asdict(self).items() if k != "note"}


class TrainingOutputs(NamedTuple):
    """What the training objective uses: the logits (N, num_classes), and those of each auxiliary classifier."""

    logits: Tensor
    auxiliary: tuple[Tensor, ...] = ()


class Classified(NamedTuple):
    """What a head makes of the trunk's output: the logits (N, num_classes), and the features that they are made of.

    `features` (N, D) is what the last layer, `head.classifier`, reads; positions are averaged if there are several.
    """

    logits: Tensor
    features: Tensor


def through_head(head: nn.Module, x: Tensor) -> Classified:
    """Return what a head makes of the trunk's output, float (N, C, H, W), and the features on the way."""
    features = x
    for name, layer in head.named_children():
        if name == "classifier":
            features = x.mean(dim=(2, 3)) if x.ndim == 4 else x
        x = layer(x)
    return Classified(x, features)


class _Built(type):
    """Calling the class builds a network and then records its modules, for `ConvNet.__setattr__`."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        net = super().__call__(*args, **kwargs)
        net.built_modules = frozenset(net._modules)
        return net


class ConvNet(nn.Module, metaclass=_Built):
    """A network of this package: `head(trunk(images))`. Families subclass it and fill `trunk` and `head`.

    After construction it takes no module under a new name, because `forward` would never run it.
    """

    trunk: nn.Sequential
    head: nn.Module
    built_modules: frozenset[str] | None = None

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, num_classes) of images (N, in_channels, H, W), in training and eval mode alike.

        Images are normalised floats, and H and W are at least `config.min_size`. Raises ConfigError otherwise.
        """
        self._check_input(x)
        for stage in self.trunk:
            x = self._run(stage, x)
        logits: Tensor = self.head(x)
        return logits

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Return every stage's output by its name, in order: name -> (N, C, H, W).

        `x` are images (N, in_channels, H, W) as in `forward`. Raises ConfigError for other shapes or types.
        """
        self._check_input(x)
        outputs = {}
        for name, stage in self.trunk.named_children():
            outputs[name] = x = self._run(stage, x)
        return outputs

    def classified(self, x: Tensor) -> Classified:
        """Return the logits, as `forward` does, and the features behind them. `x` are images as in `forward`."""
        self._check_input(x)
        for stage in self.trunk:
            x = self._run(stage, x)
        return through_head(self.head, x)

    def training_outputs(self, x: Tensor) -> TrainingOutputs:
        """Return what the training objective uses: the logits, and those of the auxiliary classifiers if there are any.

        `x` are images (N, in_channels, H, W) as in `forward`. A family with auxiliary classifiers overrides this, names
        their modules `aux_*` and has a switch `aux` that leaves them out.
        """
        return TrainingOutputs(self(x))

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Fill every parameter and buffer as the paper (or the config's `init`) says; every family overrides this.

        `generator` is a CPU generator; None means PyTorch's global one. A layer that this leaves alone starts by its
        own `reset_parameters` (see `catalog.create`).
        """
        raise TypeError(f"{type(self).__name__} must override init_weights")

    def add_module(self, name: str, module: nn.Module | None) -> None:
        """As `nn.Module.add_module`. Raises ConfigError for a new name after construction."""
        self._refuse_new(name, module)
        super().add_module(name, module)

    def __setattr__(self, name: str, value: Any) -> None:
        self._refuse_new(name, value)
        super().__setattr__(name, value)

    def _refuse_new(self, name: str, value: Any) -> None:
        """Raise ConfigError if `value` is a module under a name that the network was not built with."""
        if not isinstance(value, nn.Module) or self.built_modules is None or name in self.built_modules:
            return
        classes = value.out_features if isinstance(value, nn.Linear) else "N"
        raise ConfigError(
            f"{type(self).__name__} has no module {name!r}: forward would never run it. The classifier is "
            f"model.head.classifier. Assign to that, or build the network with num_classes={classes}."
        )

    def __prepare_scriptable__(self) -> None:
        """What torch.jit.script calls first."""
        raise ConfigError(
            "torch.jit.script does not support these networks. Use torch.jit.trace, torch.export.export or "
            "torch.compile; torch.onnx.export and torch.fx work too."
        )

    @property
    def stage_names(self) -> list[str]:
        """The names of the trunk's stages, in order."""
        return [name for name, _ in self.trunk.named_children()]

    @property
    def out_channels(self) -> dict[str, int]:
        """Channels of every stage's output, by the stage's name. Computed from the config on the meta device."""
        return {name: shape[1] for name, shape in self._shapes(self.config.image_size).items()}

    @property
    def out_strides(self) -> dict[str, int]:
        """Image pixels per position of every stage's output, by the stage's name."""
        # 224 / 55 is no integer because sizes are rounded. How much an output grows with the image is exact.
        more = 512
        small = self._shapes(self.config.image_size)
        large = self._shapes(self.config.image_size + more)
        return {name: more // (large[name][2] - small[name][2]) for name in small}

    def _shapes(self, side: int) -> dict[str, torch.Size]:
        with ShapesOnly():
            twin = type(self)(self.config).eval()
            return {k: v.shape for k, v in twin.features(torch.empty(1, self.config.in_channels, side, side)).items()}

    def _run(self, stage: nn.Module, x: Tensor) -> Tensor:
        if self.config.checkpointing and recomputes(self, x):
            for part in parts(stage):
                x = recomputed(part, x)
            return x
        output: Tensor = stage(x)
        return output

    def _check_input(self, x: Tensor) -> None:
        if is_fx_proxy(x):
            return
        if x.ndim != 4 or not x.is_floating_point():
            raise ConfigError(
                f"Images must be floats of shape (N, {self.config.in_channels}, H, W), got {x.dtype} of shape "
                f"{tuple(x.shape)}. `Preprocess` makes them from image files."
            )
        channels, height, width = x.shape[1:]
        if channels != self.config.in_channels:
            raise ConfigError(
                f"Images must have {self.config.in_channels} channels for this network, got {channels}. "
                f"Build it with in_channels={channels}."
            )
        if min(height, width) < self.config.min_size:
            raise ConfigError(
                f"Images must be at least {self.config.min_size}x{self.config.min_size} for this network, got "
                f"{height}x{width}. Resize them, or choose a variant for small images (`*_cifar`)."
            )


def _no_foreign_names(config: Any) -> Mapping[str, ForeignNames]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Family:
    """One paper, and everything that the rest of the package must know about its networks.

    name            short name, in lower case
    paper           the paper's title, authors and year
    net, config     the classes of the networks and of their configs
    variants        name -> config
    stuck_because   the likely cause when a network without batch norm stays at ln(classes): the middle of a sentence
    torchvision     our variant -> torchvision's model that computes the same
    foreign_names   config -> the names that its weights have elsewhere, by library: "torchvision", "timm", "cifar"
    old_names       patterns of names in old files of these libraries, and what replaces them, as for `re.sub`
    """

    name: str
    paper: str
    net: type[ConvNet]
    config: type[NetConfig]
    variants: Mapping[str, NetConfig]
    stuck_because: str = ""
    torchvision: Mapping[str, TorchvisionModel] = field(default_factory=dict)
    foreign_names: Callable[[Any], Mapping[str, ForeignNames]] = _no_foreign_names
    old_names: tuple[tuple[str, str], ...] = ()


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def _fits(value: Any, kind: Any) -> bool:
    """Whether a config's value has the type that its field states."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return any(value == a and type(value) is type(a) for a in args)
    if origin in (Union, UnionType):
        return any(_fits(value, a) for a in args)
    if origin is tuple:
        kinds = args[:1] * len(value) if isinstance(value, tuple) and args[-1] is ... else args
        return isinstance(value, tuple) and len(value) == len(kinds) and all(map(_fits, value, kinds))
    return type(value) is kind or (kind is float and type(value) is int)


def _kind(kind: Any) -> str:
    """A field's type in words, or its allowed values if it lists them."""
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)
