"""DenseNet: Densely Connected Convolutional Networks, Huang, Liu, van der Maaten, Weinberger, 2016 (arXiv:1608.06993).

Table 1, at 224 px. A layer takes the outputs of all layers before it in its block, concatenated, and adds k channels.

    stage         output   layers                                  121 / 169 / 201 / 264 (k = 32) / 161 (k = 48)
    stem            56      7x7, 2k, stride 2; 3x3 max pool, stride 2
    dense1          56      layers of 1x1, 4k and 3x3, k              6 /   6 /   6 /   6 /   6
    transition1     28      1x1, half of the channels; 2x2 average pool
    dense2          28                                               12 /  12 /  12 /  12 /  12
    transition2     14
    dense3          14                                               24 /  32 /  48 /  64 /  36
    transition3      7
    dense4           7                                               16 /  32 /  32 /  48 /  24
    norm             7      batch norm, ReLU
    head             1      average pool, linear

Batch norm and ReLU come before every convolution. For CIFAR at 32 px (Sec. 3, Implementation Details): a 3x3 stem,
then three blocks of (depth - 4) / 3 layers of one 3x3 convolution; "BC" is the form of Table 1, bottleneck (B) and
compression (C), with half as many layers.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from classicnets.errors import ConfigError
from classicnets.models.blocks import Activation, activation, he_init, pooled_classifier
from classicnets.models.contract import ConvNet, Family, NetConfig
from classicnets.models.names import ForeignNames, TorchvisionModel
from classicnets.models.recompute import recomputed, recomputes


@dataclass(frozen=True, kw_only=True)
class DenseNetConfig(NetConfig):
    """A row of Table 1.

    depths         layers in each dense block
    growth_rate    k, the channels that each layer adds
    stem_channels  channels that enter the first block
    stem           "7x7": stride 2, batch norm, ReLU, max pool; "3x3": one convolution of stride 1, for small images
    bottleneck     a layer reduces its input to 4k channels by a 1x1 convolution first
    compression    the share of the channels that a transition keeps, from 0 to 1
    dropout        probability, after each layer; the paper has 0.2 on CIFAR without augmentation
    activation     before every convolution
    final_norm     the stage `norm` before the head
    conv_bias      convolutions have a bias
    checkpointing  keep only the k new channels of each layer, and compute concatenation, norms and convolutions again
                   in the backward pass: memory grows linearly with a block's depth, instead of with its square
                   (Pleiss et al. 2017, arXiv:1707.06990)
    """

    depths: tuple[int, ...]
    growth_rate: int
    stem_channels: int
    stem: Literal["7x7", "3x3"] = "7x7"
    bottleneck: bool = True
    compression: float = 0.5
    dropout: float = 0.0
    activation: Activation = "relu"
    final_norm: bool = True
    conv_bias: bool = False
    min_size: int = 29

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("compression", "dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must be from 0 to 1, got {getattr(self, name)}.")


class DenseLayer(nn.Sequential):
    """BN-ReLU-1x1 (4k)-BN-ReLU-3x3 (k), or the second half alone, Sec. 3: all features so far -> (N, k, H, W)."""

    def __init__(self, config: DenseNetConfig, in_channels: int) -> None:
        super().__init__()
        convolutions = [(config.growth_rate, 3)]
        if config.bottleneck:
            convolutions.insert(0, (4 * config.growth_rate, 1))
        for i, (out_channels, kernel_size) in enumerate(convolutions, start=1):
            self.add_module(f"bn{i}", nn.BatchNorm2d(in_channels))
            self.add_module(f"act{i}", activation(config.activation))
            self.add_module(f"conv{i}", conv(config, in_channels, out_channels, kernel_size))
            in_channels = out_channels
        self.add_module("dropout", nn.Dropout(config.dropout))

    def forward(self, *features: Tensor) -> Tensor:
        x = concatenated(*features)
        for module in self:
            x = module(x)
        return x


class DenseBlock(nn.Sequential):
    """Layers that each see all earlier ones: (N, in_channels, H, W) -> (N, in_channels + depth * k, H, W)."""

    def __init__(self, config: DenseNetConfig, in_channels: int, depth: int) -> None:
        super().__init__()
        self.checkpointing = config.checkpointing
        for i in range(depth):
            self.add_module(f"layer{i + 1}", DenseLayer(config, in_channels + i * config.growth_rate))

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self:
            if self.checkpointing and recomputes(self, x):
                features.append(recomputed(layer, *features))
            else:  # one tensor: n long additions in the backward pass, instead of n^2 / 2 short ones
                features = [concatenated(*features, layer(*features))]
        return concatenated(*features)


def concatenated(*features: Tensor) -> Tensor:
    """Concatenate along the channels; a single tensor is returned as it is."""
    return torch.cat(features, 1) if len(features) > 1 else features[0]


def transition(config: DenseNetConfig, in_channels: int, out_channels: int) -> nn.Sequential:
    """BN-ReLU-1x1 and an average pool that halves the size, Sec. 3."""
    return nn.Sequential(
        OrderedDict(
            bn=nn.BatchNorm2d(in_channels),
            act=activation(config.activation),
            conv=conv(config, in_channels, out_channels, 1),
            pool=nn.AvgPool2d(2),
        )
    )


def stem(config: DenseNetConfig) -> nn.Sequential:
    """The stage before the first block."""
    channels = config.stem_channels
    if config.stem == "3x3":
        return nn.Sequential(OrderedDict(conv=conv(config, config.in_channels, channels, 3)))
    return nn.Sequential(
        OrderedDict(
            conv=conv(config, config.in_channels, channels, 7, stride=2),
            bn=nn.BatchNorm2d(channels),
            act=activation(config.activation),
            pool=nn.MaxPool2d(3, stride=2, padding=1),
        )
    )


def conv(config: DenseNetConfig, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size except for its stride."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=config.conv_bias)


class DenseNet(ConvNet):
    """The net of a `DenseNetConfig`: stages stem, dense1, transition1, dense2, ..., norm."""

    config: DenseNetConfig

    def __init__(self, config: DenseNetConfig) -> None:
        super().__init__(config)
        self.trunk = nn.Sequential(OrderedDict(stem=stem(config)))
        channels = config.stem_channels
        for i, depth in enumerate(config.depths, start=1):
            self.trunk.add_module(f"dense{i}", DenseBlock(config, channels, depth))
            channels += depth * config.growth_rate
            if i < len(config.depths):
                kept = int(channels * config.compression)
                self.trunk.add_module(f"transition{i}", transition(config, channels, kept))
                channels = kept
        if config.final_norm:
            norm = nn.Sequential(OrderedDict(bn=nn.BatchNorm2d(channels), act=activation(config.activation)))
            self.trunk.add_module("norm", norm)
        self.head = pooled_classifier(channels, config.num_classes)

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Use He initialisation by fan-out, batch norms 1 and 0, biases 0, as in the authors' code."""
        he_init(self, generator)

    def _run(self, stage: nn.Module, x: Tensor) -> Tensor:
        if isinstance(stage, DenseBlock):  # recomputes its layers one by one
            output: Tensor = stage(x)
            return output
        return super()._run(stage, x)


def _imagenet(*depths: int, growth_rate: int = 32, note: str) -> DenseNetConfig:
    """A column of Table 1. DenseNet-161 came later, in the authors' repository."""
    return DenseNetConfig(depths=depths, growth_rate=growth_rate, stem_channels=2 * growth_rate, note=note)


def _cifar(layers: int, growth_rate: int, *, bc: bool) -> DenseNetConfig:
    """Sec. 3: three blocks of `layers` layers."""
    return DenseNetConfig(
        depths=(layers, layers, layers),
        growth_rate=growth_rate,
        stem="3x3",
        stem_channels=2 * growth_rate if bc else 16,
        bottleneck=bc,
        compression=0.5 if bc else 1.0,
        num_classes=10,
        image_size=32,
        min_size=4,
        note=f"Table 2, {'with bottlenecks and compression (BC)' if bc else 'the basic form'}.",
    )


_TABLE = "Table 1; as in torchvision and timm."

VARIANTS: dict[str, DenseNetConfig] = {
    "densenet121": _imagenet(6, 12, 24, 16, note=_TABLE),
    "densenet169": _imagenet(6, 12, 32, 32, note=_TABLE),
    "densenet201": _imagenet(6, 12, 48, 32, note=_TABLE),
    "densenet264": _imagenet(6, 12, 64, 48, note="Table 1; torchvision has none, timm's densenet264d another stem."),
    "densenet161": _imagenet(
        6, 12, 36, 24, growth_rate=48, note="From the authors' repository (k = 48); as in torchvision and timm."
    ),
    "densenet40_k12_cifar": _cifar((40 - 4) // 3, 12, bc=False),
    "densenet_bc40_k12_cifar": replace(
        _cifar((40 - 4) // 6, 12, bc=True),
        note="Not in the paper: its BC form at a depth of 40, several times as fast as densenet40_k12_cifar.",
    ),
    "densenet_bc100_k12_cifar": _cifar((100 - 4) // 6, 12, bc=True),
    "densenet_bc250_k24_cifar": _cifar((250 - 4) // 6, 24, bc=True),
    "densenet_bc190_k40_cifar": _cifar((190 - 4) // 6, 40, bc=True),
    "densenet_tutorial": DenseNetConfig(
        depths=(6, 12, 24, 16),
        growth_rate=32,
        stem_channels=64,
        bottleneck=False,
        final_norm=False,
        conv_bias=True,
        note="The guide's net: the blocks of 121 without its bottlenecks, and no batch norm before the head.",
    ),
}

# The names in torchvision and timm.
_NAMES = ForeignNames((
    (r"trunk\.stem\.conv", "features.conv0"),
    (r"trunk\.stem\.bn", "features.norm0"),
    (r"trunk\.dense(\d)\.layer(\d+)\.bn", r"features.denseblock\1.denselayer\2.norm"),
    (r"trunk\.dense(\d)\.layer(\d+)\.conv", r"features.denseblock\1.denselayer\2.conv"),
    (r"trunk\.transition(\d)\.bn", r"features.transition\1.norm"),
    (r"trunk\.transition(\d)\.conv", r"features.transition\1.conv"),
    (r"trunk\.norm\.bn", "features.norm5"),
    (r"head\.classifier", "classifier"),
))  # fmt: skip


def foreign_names(config: DenseNetConfig) -> dict[str, ForeignNames]:
    """What the weights are called elsewhere."""
    return {"torchvision": _NAMES, "timm": _NAMES}


FAMILY = Family(
    name="densenet",
    paper="Densely Connected Convolutional Networks (Huang et al., 2016), arXiv:1608.06993",
    net=DenseNet,
    config=DenseNetConfig,
    variants=VARIANTS,
    torchvision={
        "densenet121": TorchvisionModel("densenet121"),
        "densenet161": TorchvisionModel("densenet161"),
        "densenet169": TorchvisionModel("densenet169"),
        "densenet201": TorchvisionModel("densenet201"),
    },
    foreign_names=foreign_names,
    old_names=((r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2"),),  # "norm.1" until torchvision 0.2
)
