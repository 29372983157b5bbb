"""NiN: Network in Network, Lin, Chen and Yan, 2013 (arXiv:1312.4400).

An mlpconv layer (Sec. 3.1) is a convolution and two 1x1 convolutions, a small perceptron that slides over the image; a
ReLU follows each of the three. The last one has a map per class, whose average is the logit (Sec. 3.2): no linear
layer. The paper gives no table; these are the authors' definitions, which the paper's results come from.

ImageNet, at 224 px:                                         CIFAR, at 32 px:

    stage      output   layers                                stage      output   layers
    mlpconv1    54      11x11, 96, stride 4; 96; 96           mlpconv1    32      5x5, 192; 160; 96
    pool1       27      3x3 max pool, stride 2, round up      pool1       16      3x3 max pool, stride 2, round up
    mlpconv2    27      5x5, 256; 256; 256                    mlpconv2    16      dropout; 5x5, 192; 192; 192
    pool2       13      as pool1                              pool2        8      as pool1
    mlpconv3    13      3x3, 384; 384; 384                    mlpconv3     8      dropout; 3x3, 192; 192
    pool3        6      as pool1                              head         1      1x1, a map per class; average
    mlpconv4     6      dropout; 3x3, 1024; 1024
    head         1      1x1, a map per class; average

The last 1x1 convolution of the last mlpconv is the classifier, and so it is in the head.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import torch
from torch import nn

from classicnets.models.blocks import Activation, conv_layer, he_init
from classicnets.models.contract import ConvNet, Family, NetConfig


@dataclass(frozen=True, kw_only=True)
class NiNConfig(NetConfig):
    """The mlpconv layers of a NiN.

    widths       channels of the three convolutions of each mlpconv; the last has two, its third has a map per class
    kernels      sizes of the first convolution of each mlpconv
    stride       stride of the very first convolution, which has no padding if it is above 1; all others keep the size
    batch_norm   after every convolution, the class maps included; the convolutions keep their biases
    activation   after every convolution
    round_up     pools round odd sizes up
    dropout      probability
    dropout_at   "last": the input of the last mlpconv; "pools": the input of each mlpconv after a pool;
                 "convolutions": the output of each convolution
    linear_grid  0: the average over all positions; above 0: the fully connected layer that Sec. 4.6 compares it with,
                 on class maps averaged to so many positions per side, after dropout

    The weights start as N(0, 2 / fan_in) (He et al. 2015). The authors' N(0, .05) and N(0, .01) depend on their
    schedule and on their input, pixels of 0 to 255 minus the mean.
    """

    widths: tuple[tuple[int, ...], ...]
    kernels: tuple[int, ...]
    stride: int = 1
    batch_norm: bool = False
    activation: Activation = "relu"
    round_up: bool = True
    dropout: float = 0.5
    dropout_at: Literal["last", "pools", "convolutions"] = "last"
    linear_grid: int = 0


class NiN(ConvNet):
    """The net of a `NiNConfig`: stages mlpconv1, pool1, mlpconv2, ...; the head begins with the class maps."""

    config: NiNConfig

    def __init__(self, config: NiNConfig) -> None:
        super().__init__(config)
        self.trunk = nn.Sequential()
        channels, last = config.in_channels, len(config.widths)
        for i, (widths, kernel_size) in enumerate(zip(config.widths, config.kernels, strict=True), start=1):
            stride = config.stride if i == 1 else 1
            stage = nn.Sequential()
            if i > 1 and (config.dropout_at == "pools" or (config.dropout_at == "last" and i == last)):
                stage.add_module("drop", nn.Dropout(config.dropout))
            padding = kernel_size // 2 if stride == 1 else 0
            stage.add_module("conv", layer(config, channels, widths[0], kernel_size, stride, padding))
            for j, (before, after) in enumerate(pairwise(widths), start=1):
                stage.add_module(f"cccp{j}", layer(config, before, after, 1))
            self.trunk.add_module(f"mlpconv{i}", stage)
            if i < last:
                self.trunk.add_module(f"pool{i}", nn.MaxPool2d(3, stride=2, ceil_mode=config.round_up))
            channels = widths[-1]
        self.head = head(config, channels)

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Use He initialisation by fan-in, batch norms 1 and 0, biases 0; for the class maps N(0, .01) and biases 1.

        The last ReLU makes NiN's training fail at ln(classes): a map that is 0 everywhere learns no more. Small
        weights and a bias of 1, AlexNet's remedy (2012, Sec. 5), start all maps above 0.
        """
        he_init(self, generator, mode="fan_in")
        classifier = self.head.get_submodule("classifier")
        assert isinstance(classifier, nn.Conv2d)
        assert classifier.bias is not None
        nn.init.normal_(classifier.weight, std=0.01, generator=generator)
        nn.init.ones_(classifier.bias)


def layer(
    config: NiNConfig, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0
) -> nn.Sequential:
    """A convolution of an mlpconv, and what follows each of them: batch norm, activation, dropout."""
    layer = conv_layer(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=padding,
        batch_norm=config.batch_norm,
        act=config.activation,
    )
    if config.dropout_at == "convolutions":
        layer.add_module("drop", nn.Dropout(config.dropout))
    return layer


def head(config: NiNConfig, in_channels: int) -> nn.Sequential:
    """(N, C, H, W) -> (N, num_classes): the average of a map per class (Sec. 3.2), or a linear layer on the maps."""
    layers = OrderedDict[str, nn.Module]()
    for name, module in layer(config, in_channels, config.num_classes, 1).named_children():
        layers["classifier" if name == "conv" else name] = module
    layers["pool"] = nn.AdaptiveAvgPool2d(config.linear_grid or 1)
    layers["flatten"] = nn.Flatten()
    if config.linear_grid:
        layers["dropout"] = nn.Dropout(config.dropout)
        layers["fc"] = nn.Linear(config.num_classes * config.linear_grid**2, config.num_classes)
    return nn.Sequential(layers)


_IMAGENET = NiNConfig(
    widths=((96, 96, 96), (256, 256, 256), (384, 384, 384), (1024, 1024)),
    kernels=(11, 5, 3, 3),
    stride=4,
    min_size=39,
    note="The authors' ImageNet net.",
)

_CIFAR = NiNConfig(
    widths=((192, 160, 96), (192, 192, 192), (192, 192)),
    kernels=(5, 5, 3),
    dropout_at="pools",
    num_classes=10,
    image_size=32,
    min_size=4,
    note="The authors' CIFAR-10 net; their Caffe port averages in the second pool.",
)

VARIANTS: dict[str, NiNConfig] = {
    "nin": _IMAGENET,
    "nin_bn": replace(_IMAGENET, batch_norm=True, note="nin with batch norm, which makes training from scratch easy."),
    "nin_cifar": _CIFAR,
    "nin_cifar_bn": replace(_CIFAR, batch_norm=True, note="nin_cifar with batch norm: it learns several times faster."),
    "nin_half_cifar_bn": replace(
        _CIFAR,
        widths=((96, 80, 48), (96, 96, 96), (96, 96)),
        batch_norm=True,
        note="Our own: nin_cifar_bn at half its width, three times as fast.",
    ),
    "nin_tutorial": replace(
        _IMAGENET,
        batch_norm=True,
        round_up=False,
        dropout_at="convolutions",
        min_size=67,
        note="The guide's net: batch norm and dropout after each convolution, pools round down. It hardly trains.",
    ),
}

FAMILY = Family(
    name="nin",
    paper="Network in Network (Lin et al., 2013), arXiv:1312.4400",
    net=NiN,
    config=NiNConfig,
    variants=VARIANTS,
    stuck_because=(
        "the last layer of NiN is a ReLU, and the map of a class that it has shut for every image gets no gradient"
    ),
)
