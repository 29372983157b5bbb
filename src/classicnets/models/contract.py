"""The contract of every network here: a straight line of named stages, then a head.

    images (N, C, H, W) -> trunk: stage, stage, ... -> head: pooling and classifier -> logits (N, num_classes)

At stage level all six families are a straight line, and so stage tables, receptive fields, feature taps, Grad-CAM
targets, layer-wise learning rates and detection backbones need no tracing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, fields
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from classicnets.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class NetConfig:
    """What every variant states. A family's own config adds its widths, depths and switches.

    `image_size` is the input of the paper's tables, in pixels; `min_size` the smallest side that still reaches the
    head; `checkpointing` recomputes activations in the backward pass: the same result in less memory, slower.
    `note` says what a reader should know about the row (a difference from the paper, a checkpoint it fits).

    Lists become tuples, so that a config read from JSON equals the one that was written. Raises ConfigError for a
    value of the wrong type or outside the allowed ones.
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
                raise ConfigError(f"{f.name} cannot be {value!r}: it takes {_kind(hints[f.name])}.")
        for name in ("num_classes", "in_channels", "image_size", "min_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} cannot be {getattr(self, name)}: it must be 1 or more.")

    def to_dict(self) -> dict[str, Any]:
        """The config as JSON-ready values, without the note; `type(config)(**config.to_dict()) == config`."""
        return {k: v for k, v in asdict(self).items() if k != "note"}


class Blocks(nn.Sequential):
    """A stage made of blocks in a row. Checkpointing recomputes it in groups of blocks, not as a whole."""


class ConvNet(nn.Module):
    """A network of this package: `head(trunk(images))`. Families subclass it and fill `trunk` and `head`."""

    trunk: nn.Sequential
    head: nn.Module

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W), normalised floats, to logits (N, num_classes), in every mode.

        Raises ConfigError for anything else, and for a side below `config.min_size`.
        """
        self._check_input(x)
        for stage in self.trunk:
            x = self._run(stage, x)
        logits: Tensor = self.head(x)
        return logits

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Every stage's output by the stage's name, in order: name -> (N, C, H, W)."""
        self._check_input(x)
        outputs = {}
        for name, stage in self.trunk.named_children():
            outputs[name] = x = self._run(stage, x)
        return outputs

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Fill every parameter and buffer as the paper says (or as the config's named fix says)."""
        raise TypeError(f"{type(self).__name__} does not say how its weights start")

    @property
    def out_channels(self) -> dict[str, int]:
        """Channels of every stage's output, by the stage's name; computed from the config, on the meta device."""
        return {name: shape[1] for name, shape in self._shapes(self.config.image_size).items()}

    @property
    def out_strides(self) -> dict[str, int]:
        """Pixels of the image per position of every stage's output, by the stage's name."""
        # Rounding makes 224 / 55 no integer, but how much an output grows with the image is exact.
        more = 512
        small = self._shapes(self.config.image_size)
        large = self._shapes(self.config.image_size + more)
        return {name: more // (large[name][2] - small[name][2]) for name in small}

    def _shapes(self, side: int) -> dict[str, torch.Size]:
        with torch.device("meta"):
            twin = type(self)(self.config).eval()
            return {k: v.shape for k, v in twin.features(torch.empty(1, self.config.in_channels, side, side)).items()}

    def _run(self, stage: nn.Module, x: Tensor) -> Tensor:
        if self.config.checkpointing and self.training and torch.is_grad_enabled():
            for part in _parts(stage):
                x = recomputed(part, x)
            return x
        output: Tensor = stage(x)
        return output

    def _check_input(self, x: Tensor) -> None:
        if x.ndim != 4 or not x.is_floating_point():
            raise ConfigError(
                f"A network takes floats of shape (N, {self.config.in_channels}, H, W), and got {x.dtype} of shape "
                f"{tuple(x.shape)}. `Preprocess` makes them from images."
            )
        channels, height, width = x.shape[1:]
        if channels != self.config.in_channels:
            raise ConfigError(
                f"This network takes {self.config.in_channels} channels, and the images have {channels}. "
                f"Build it with in_channels={channels}."
            )
        if min(height, width) < self.config.min_size:
            raise ConfigError(
                f"Images of {height}x{width} are too small for this network: the smallest side it takes is "
                f"{self.config.min_size} pixels. Resize them, or choose a variant for small images (`*_cifar`)."
            )


@dataclass(frozen=True)
class Family:
    """One paper: its title and place, its network class, and its variants by name."""

    name: str
    paper: str
    net: type[ConvNet]
    config: type[NetConfig]
    variants: Mapping[str, NetConfig]


def recomputed(module: nn.Module, *inputs: Tensor) -> Tensor:
    """`module(*inputs)`, keeping only the inputs: the backward pass computes the rest again (arXiv:1604.06174).

    Outputs, gradients and batch-norm statistics equal those of a plain call.
    """
    output: Tensor = checkpoint(
        module, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), _statistics_kept(module))
    )
    return output


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Within, training passes leave the running statistics alone: the recomputation must not count a batch twice."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def _parts(stage: nn.Module) -> Iterator[nn.Module]:
    """What checkpointing recomputes at a time: n blocks in groups of about sqrt(n) / 2, any other stage as a whole.

    A group keeps one input for the whole forward pass, and about four times as much per block while it is recomputed.
    """
    if not isinstance(stage, Blocks):
        yield stage
        return
    size = max(1, math.isqrt(len(stage)) // 2)
    for start in range(0, len(stage), size):
        yield stage[start : start + size]


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
    """A field's type in words: the allowed values where they are listed."""
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)
