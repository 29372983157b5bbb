"""The contract of every network here: a straight line of named stages, then a head.

    images (N, C, H, W) -> trunk: stage, stage, ... -> head: pooling and classifier -> logits (N, num_classes)

At stage level all six families are a straight line, and so stage tables, receptive fields, feature taps, Grad-CAM
targets, layer-wise learning rates and detection backbones need no tracing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

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
    """

    num_classes: int = 1000
    in_channels: int = 3
    image_size: int = 224
    min_size: int = 32
    checkpointing: bool = False
    note: str = field(default="", compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The config as JSON-ready values, without the note; `type(config)(**config.to_dict()) == config`."""
        return {k: v for k, v in asdict(self).items() if k != "note"}


class ConvNet(nn.Module):
    """A network of this package: `head(trunk(images))`. Families subclass it and fill `trunk` and `head`."""

    trunk: nn.Sequential
    head: nn.Module

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, in_channels, H, W), normalised floats, to logits (N, num_classes), in every mode.

        Raises ConfigError for another number of channels, or a side below `config.min_size`.
        """
        self._check_input(x)
        for stage in self.trunk:
            x = self._run(stage, x)
        return self.head(x)

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

    def _run(self, stage: nn.Module, x: Tensor) -> Tensor:
        if self.config.checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(stage, x, use_reentrant=False)
        return stage(x)

    def _check_input(self, x: Tensor) -> None:
        channels, height, width = x.shape[-3:]
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
