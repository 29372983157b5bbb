"""AlexNet: ImageNet Classification with Deep Convolutional Neural Networks, Krizhevsky, Sutskever and Hinton, 2012.

Sec. 3.5 and Fig. 2, at 224 px; ReLU follows every layer except the last (Sec. 3.1):

    stage    output   layers
    conv1     55      11x11, 96, stride 4
    norm1     55      local response normalisation (Sec. 3.3)
    pool1     27      3x3 max pool, stride 2: the windows overlap (Sec. 3.4)
    conv2     27      5x5, 256, in two groups
    norm2     27      local response normalisation
    pool2     13      3x3 max pool, stride 2
    conv3     13      3x3, 384
    conv4     13      3x3, 384, in two groups
    conv5     13      3x3, 256, in two groups
    pool5      6      3x3 max pool, stride 2
    head       1      fc6 4096, fc7 4096, classifier; dropout on fc6 and fc7 (Sec. 4.2)

The paper ran the groups on two GPUs. 224 px do not give 55 positions without padding: the paper's code rounded the last
window up, and Caffe's copy takes 227 px. A padding of 2 on each side gives 55, 27, 13 and 6 at 224 px.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from classicnets.models.blocks import Activation, LocalResponseNorm, activation, conv_layer, he_init
from classicnets.models.contract import ConvNet, Family, NetConfig
from classicnets.models.names import ForeignNames, TorchvisionModel


@dataclass(frozen=True, kw_only=True)
class AlexNetConfig(NetConfig):
    """The widths of the eight layers, and how the versions of the net differ.

    widths, kernels   channels and kernel sizes of the five convolutions
    stride, padding   those of conv1; the others have stride 1 and keep the size
    groups            those of conv2, conv4 and conv5: 2 for the paper's two towers
    pool_padding      padding of the pools; 1 lets 28 px become 14, 7 and 4
    hidden            widths of fc6 and fc7
    grid              positions per side that fc6 sees; other image sizes are averaged to it
    lrn               local response normalisation after conv1 and conv2, with the paper's constants
    batch_norm        after every convolution, fc6 and fc7, which then have no biases
    activation        after every layer except the last
    dropout           probability
    dropout_on        the "inputs" or the "outputs" (the paper) of fc6 and fc7
    init              "he": N(0, 2 / fan_in), biases 0. "paper": N(0, .01), fc6 and fc7 N(0, .005), biases 1 in conv2,
                      conv4, conv5, fc6 and fc7, else 0 (Sec. 5; the .005 is Caffe's). The paper's start is meant for
                      pixels of 0 to 255; with normalised images training stays at ln(classes)
    """

    widths: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256)
    kernels: tuple[int, int, int, int, int] = (11, 5, 3, 3, 3)
    stride: int = 4
    padding: int = 2
    groups: int = 1
    pool_padding: int = 0
    hidden: tuple[int, int] = (4096, 4096)
    grid: int = 6
    lrn: bool = False
    batch_norm: bool = False
    activation: Activation = "relu"
    dropout: float = 0.5
    dropout_on: Literal["inputs", "outputs"] = "inputs"
    init: Literal["he", "paper"] = "he"
    min_size: int = 63


class AlexNet(ConvNet):
    """The net of an `AlexNetConfig`, with the stages of the table above; norm1 and norm2 only with `lrn`."""

    config: AlexNetConfig

    def __init__(self, config: AlexNetConfig) -> None:
        super().__init__(config)
        self.trunk = nn.Sequential()
        channels = config.in_channels
        for i, (width, kernel_size) in enumerate(zip(config.widths, config.kernels, strict=True), start=1):
            conv = conv_layer(
                channels,
                width,
                kernel_size,
                stride=config.stride if i == 1 else 1,
                padding=config.padding if i == 1 else kernel_size // 2,
                groups=config.groups if i in (2, 4, 5) else 1,
                bias=not config.batch_norm,
                batch_norm=config.batch_norm,
                act=config.activation,
            )
            self.trunk.add_module(f"conv{i}", conv)
            if config.lrn and i in (1, 2):
                self.trunk.add_module(f"norm{i}", LocalResponseNorm(size=5, alpha=1e-4, beta=0.75, k=2.0))
            if i in (1, 2, 5):
                self.trunk.add_module(f"pool{i}", nn.MaxPool2d(3, stride=2, padding=config.pool_padding))
            channels = width
        self.head = head(config)

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Start the weights as `config.init` says."""
        if self.config.init == "paper":
            paper_init(self, generator)
        else:
            he_init(self, generator, mode="fan_in")


def head(config: AlexNetConfig) -> nn.Sequential:
    """(N, C, H, W) -> (N, num_classes): average to the grid (no change at the paper's size), then three layers."""
    layers = OrderedDict[str, nn.Module](pool=nn.AdaptiveAvgPool2d(config.grid), flatten=nn.Flatten())
    features = config.widths[-1] * config.grid**2
    for i, width in enumerate(config.hidden, start=6):
        if config.dropout_on == "inputs":
            layers[f"drop{i}"] = nn.Dropout(config.dropout)
        layers[f"fc{i}"] = nn.Linear(features, width, bias=not config.batch_norm)
        if config.batch_norm:
            layers[f"bn{i}"] = nn.BatchNorm1d(width)
        layers[f"act{i}"] = activation(config.activation)
        if config.dropout_on == "outputs":
            layers[f"drop{i}"] = nn.Dropout(config.dropout)
        features = width
    layers["classifier"] = nn.Linear(features, config.num_classes)
    return nn.Sequential(layers)


@torch.no_grad()
def paper_init(net: AlexNet, generator: torch.Generator | None) -> None:
    """Sec. 5: small normal weights, and biases of 1 that give the ReLUs of some layers positive inputs at the start."""
    for name, module in net.named_modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, nn.Conv2d | nn.Linear):
            layer = name.split(".")[1]
            nn.init.normal_(module.weight, std=0.005 if layer in ("fc6", "fc7") else 0.01, generator=generator)
            if module.bias is not None:
                nn.init.constant_(module.bias, 1.0 if layer in ("conv2", "conv4", "conv5", "fc6", "fc7") else 0.0)


VARIANTS: dict[str, AlexNetConfig] = {
    "alexnet": AlexNetConfig(note="One tower, no local response normalisation: the net of most courses."),
    "alexnet_2012": AlexNetConfig(
        groups=2,
        lrn=True,
        dropout_on="outputs",
        note="The paper's net: two towers and local response normalisation. init='paper' starts its weights as it did.",
    ),
    "alexnet_owt": AlexNetConfig(
        widths=(64, 192, 384, 256, 256),
        note="Krizhevsky 2014, One weird trick (arXiv:1404.5997): narrower, one tower; torchvision's alexnet.",
    ),
    "alexnet_cifar": AlexNetConfig(
        widths=(64, 128, 192, 192, 128),
        kernels=(5, 3, 3, 3, 3),
        stride=1,
        pool_padding=1,
        hidden=(512, 512),
        grid=4,
        batch_norm=True,
        num_classes=10,
        image_size=32,
        min_size=1,
        note="Our own: AlexNet's eight layers and overlapping pools for images of 28 to 64 pixels, with batch norm.",
    ),
}

# The names in torchvision.
_NAMES = ForeignNames((
    (r"trunk\.conv1\.conv", "features.0"),
    (r"trunk\.conv2\.conv", "features.3"),
    (r"trunk\.conv3\.conv", "features.6"),
    (r"trunk\.conv4\.conv", "features.8"),
    (r"trunk\.conv5\.conv", "features.10"),
    (r"head\.fc6", "classifier.1"),
    (r"head\.fc7", "classifier.4"),
    (r"head\.classifier", "classifier.6"),
))  # fmt: skip


def foreign_names(config: AlexNetConfig) -> dict[str, ForeignNames]:
    """What the weights are called elsewhere."""
    return {"torchvision": _NAMES}


FAMILY = Family(
    name="alexnet",
    paper="ImageNet Classification with Deep Convolutional Neural Networks (Krizhevsky et al., 2012)",
    net=AlexNet,
    config=AlexNetConfig,
    variants=VARIANTS,
    stuck_because="AlexNet has no batch norm to forgive a rate, and its ReLUs die in the first steps of a high one",
    torchvision={"alexnet_owt": TorchvisionModel("alexnet")},
    foreign_names=foreign_names,
)
