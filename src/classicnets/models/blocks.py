"""What at least three of the families share. A block that fewer use is written out in its family's own file."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import torch
from torch import nn

Activation = Literal["relu", "tanh"]


def activation(name: Activation) -> nn.Module:
    """A new activation module. Never in place, so that hooks, Grad-CAM and `features()` see what each layer put out."""
    return nn.Tanh() if name == "tanh" else nn.ReLU()


def pooled_classifier(channels: int, num_classes: int, *, dropout: float = 0.0) -> nn.Sequential:
    """The head (N, channels, H, W) -> (N, num_classes): average over all positions, dropout, one linear layer."""
    return nn.Sequential(
        OrderedDict(
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            dropout=nn.Dropout(dropout),
            classifier=nn.Linear(channels, num_classes),
        )
    )


@torch.no_grad()
def he_init(
    net: nn.Module, generator: torch.Generator | None, *, mode: Literal["fan_in", "fan_out"] = "fan_out"
) -> None:
    """Fill a net of convolutions, batch norms and linear layers as He et al. 2015 (arXiv:1502.01852) say.

    Convolutions N(0, 2 / fan); batch norms 1 and 0, their statistics reset; linear layers U(+-1 / sqrt(fan_in)), as in
    the authors' Torch code; biases 0.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
