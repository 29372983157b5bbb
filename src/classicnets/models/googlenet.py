"""GoogLeNet: Going Deeper with Convolutions, Szegedy et al., 2014 (arXiv:1409.4842).

Table 1, at 224 px; ReLU follows every convolution. An Inception module (Fig. 2b) concatenates four branches: 1x1; 1x1
reduction and 3x3; 1x1 reduction and 5x5; 3x3 max pool and 1x1 projection.

    stage          output   channels   layers: 1x1 | reduction, 3x3 | reduction, 5x5 | projection
    conv1           112        64      7x7, stride 2
    pool1            56        64      3x3 max pool, stride 2, round up; so are the others
    norm1            56        64      local response normalisation
    conv2            56       192      1x1, 64; 3x3, 192
    norm2            56       192      local response normalisation
    pool2            28       192
    inception_3a     28       256       64 |  96, 128 | 16,  32 |  32
    inception_3b     28       480      128 | 128, 192 | 32,  96 |  64
    pool3            14       480
    inception_4a     14       512      192 |  96, 208 | 16,  48 |  64     auxiliary head
    inception_4b     14       512      160 | 112, 224 | 24,  64 |  64
    inception_4c     14       512      128 | 128, 256 | 24,  64 |  64
    inception_4d     14       528      112 | 144, 288 | 32,  64 |  64     auxiliary head
    inception_4e     14       832      256 | 160, 320 | 32, 128 | 128
    pool4             7       832
    inception_5a      7       832      256 | 160, 320 | 32, 128 | 128
    inception_5b      7      1024      384 | 192, 384 | 48, 128 | 128
    head              1                average; dropout; classifier

An auxiliary head (Sec. 5): 5x5 average with stride 3, to 4x4; 1x1, 128; linear, 1024; dropout; classifier.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classicnets.errors import ConfigError
from classicnets.models.blocks import (
    Activation,
    LocalResponseNorm,
    activation,
    conv_layer,
    he_init,
    pooled_classifier,
)
from classicnets.models.contract import ConvNet, Family, NetConfig, TrainingOutputs
from classicnets.models.names import ForeignNames, TorchvisionModel


class Widths(NamedTuple):
    """Channels of an Inception module: a row of Table 1."""

    conv1x1: int
    reduce3x3: int
    conv3x3: int
    reduce5x5: int
    conv5x5: int
    pool_proj: int

    @property
    def out(self) -> int:
        """Channels of the four branches together."""
        return self.conv1x1 + self.conv3x3 + self.conv5x5 + self.pool_proj


TABLE: dict[str, Widths | None] = {
    "inception_3a": Widths(64, 96, 128, 16, 32, 32),
    "inception_3b": Widths(128, 128, 192, 32, 96, 64),
    "pool3": None,
    "inception_4a": Widths(192, 96, 208, 16, 48, 64),
    "inception_4b": Widths(160, 112, 224, 24, 64, 64),
    "inception_4c": Widths(128, 128, 256, 24, 64, 64),
    "inception_4d": Widths(112, 144, 288, 32, 64, 64),
    "inception_4e": Widths(256, 160, 320, 32, 128, 128),
    "pool4": None,
    "inception_5a": Widths(256, 160, 320, 32, 128, 128),
    "inception_5b": Widths(384, 192, 384, 48, 128, 128),
}


@dataclass(frozen=True, kw_only=True)
class GoogLeNetConfig(NetConfig):
    """What the versions of the net differ in; the modules' widths are those of Table 1.

    stem           "7x7": the table's; "3x3": conv1 is 3x3 with stride 1 and there is no pool2, for small images
    width          factor for the channels of every layer; the result is rounded to a multiple of 8
    conv2_reduce   the 1x1 convolution at the start of conv2
    reduce         the 1x1 reductions before the 3x3 and the 5x5; False is the naive module of Fig. 2a, with projection
    large_kernel   size of the kernel in the branch that the paper calls 5x5
    pool           "round-up": 3x3 windows that start at the edge, odd sizes round up; "pad": padded by 1;
                   "round-up-2x2": like "round-up", but pool4 has 2x2 windows
    lrn            local response normalisation in the stem, with Caffe's constants
    batch_norm     after every convolution, which then has no bias
    activation     after every convolution
    dropout        probability, before the classifier
    aux            auxiliary heads on 4a and 4d; `aux_dropout` is the probability there
    aux_pool       "5x5": the paper's; "4x4": average to 4x4 positions; "4x4-late": the same after the 1x1 convolution
    init           "paper": Xavier, uniform by fan-in, with biases .2 (0 in the classifiers), as in the authors' Caffe
                   definition; "he": N(0, 2 / fan_in)
    """

    stem: Literal["7x7", "3x3"] = "7x7"
    width: float = 1.0
    conv2_reduce: bool = True
    reduce: bool = True
    large_kernel: Literal[3, 5] = 5
    pool: Literal["round-up", "pad", "round-up-2x2"] = "round-up"
    lrn: bool = False
    batch_norm: bool = False
    activation: Activation = "relu"
    dropout: float = 0.4
    aux: bool = True
    aux_dropout: float = 0.7
    aux_pool: Literal["5x5", "4x4", "4x4-late"] = "5x5"
    init: Literal["paper", "he"] = "paper"

    def channels(self, channels: int) -> int:
        """Scale a number of channels of the table to this config's width."""
        return channels if self.width == 1 else max(8, round(channels * self.width / 8) * 8)


class AuxLogits(NamedTuple):
    """The logits of the head and of the auxiliary heads, each (N, num_classes)."""

    logits: Tensor
    aux_4a: Tensor
    aux_4d: Tensor


class Inception(nn.Module):
    """Fig. 2b: (N, in_channels, H, W) -> (N, widths.out, H, W), the four branches' outputs in the table's order."""

    def __init__(self, config: GoogLeNetConfig, in_channels: int, widths: Widths) -> None:
        super().__init__()
        before_3x3, before_5x5 = (widths.reduce3x3, widths.reduce5x5) if config.reduce else (in_channels, in_channels)
        self.conv1x1 = layer(config, in_channels, widths.conv1x1, 1)
        self.reduce3x3 = layer(config, in_channels, before_3x3, 1) if config.reduce else nn.Identity()
        self.conv3x3 = layer(config, before_3x3, widths.conv3x3, 3)
        self.reduce5x5 = layer(config, in_channels, before_5x5, 1) if config.reduce else nn.Identity()
        self.conv5x5 = layer(config, before_5x5, widths.conv5x5, config.large_kernel)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.pool_proj = layer(config, in_channels, widths.pool_proj, 1)

    def forward(self, x: Tensor) -> Tensor:
        branches = (
            self.conv1x1(x),
            self.conv3x3(self.reduce3x3(x)),
            self.conv5x5(self.reduce5x5(x)),
            self.pool_proj(self.pool(x)),
        )
        return torch.cat(branches, dim=1)


class AveragePool5x5(nn.Module):
    """5x5 windows with stride 3, then to 4x4 positions: (N, C, H, W) -> (N, C, 4, 4).

    The first step turns the paper's 14x14 map into 4x4, which the second keeps. A map below 5x5 skips the first.
    """

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[-2:]) >= 5:
            x = F.avg_pool2d(x, 5, stride=3)
        return F.adaptive_avg_pool2d(x, 4)


class GoogLeNet(ConvNet):
    """The net of a `GoogLeNetConfig`, with the stages of the table above; norm1 and norm2 only with `lrn`.

    With `aux` it also has the modules aux_4a and aux_4d, which `forward` does not run.
    """

    config: GoogLeNetConfig
    aux_4a: nn.Module
    aux_4d: nn.Module

    def __init__(self, config: GoogLeNetConfig) -> None:
        super().__init__(config)
        self.trunk = stem(config)
        channels = config.channels(192)
        for name, row in TABLE.items():
            if row is None:
                self.trunk.add_module(name, max_pool(config, name))
                continue
            widths = Widths(*map(config.channels, row))
            self.trunk.add_module(name, Inception(config, channels, widths))
            channels = widths.out
            if config.aux and name in ("inception_4a", "inception_4d"):
                self.add_module(name.replace("inception", "aux"), auxiliary_head(config, channels))
        self.head = pooled_classifier(channels, config.num_classes, dropout=config.dropout)

    def forward_with_aux(self, x: Tensor) -> AuxLogits:
        """Return the logits of all three classifiers, in training and eval mode alike (Sec. 6).

        `x` are images (N, in_channels, H, W) as in `forward`. Raises ConfigError if the network was built with
        aux=False, or if it does not take the images.
        """
        if not self.config.aux:
            raise ConfigError("This network was built with aux=False, without auxiliary heads. Build it with aux=True.")
        stages = self.features(x)
        return AuxLogits(
            logits=self.head(stages["inception_5b"]),
            aux_4a=self.aux_4a(stages["inception_4a"]),
            aux_4d=self.aux_4d(stages["inception_4d"]),
        )

    def training_outputs(self, x: Tensor) -> TrainingOutputs:
        """The logits, and with `aux` those of aux_4a and aux_4d."""
        if not self.config.aux:
            return super().training_outputs(x)
        logits, *auxiliary = self.forward_with_aux(x)
        return TrainingOutputs(logits, tuple(auxiliary))

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Start the weights as `config.init` says."""
        if self.config.init == "paper":
            paper_init(self, generator)
        else:
            he_init(self, generator, mode="fan_in")


def stem(config: GoogLeNetConfig) -> nn.Sequential:
    """The stages before the first Inception module: (N, in_channels, H, W) -> (N, 192, H / 8, W / 8); "3x3": H / 2."""
    large = config.stem == "7x7"
    width = config.channels(64)
    stages = OrderedDict[str, nn.Module]()
    stages["conv1"] = layer(config, config.in_channels, width, 7 if large else 3, stride=2 if large else 1)
    stages["pool1"] = max_pool(config, "pool1")
    if config.lrn:
        stages["norm1"] = LocalResponseNorm(size=5, alpha=1e-4 / 5, beta=0.75, k=1.0)
    conv2 = nn.Sequential()
    if config.conv2_reduce:
        conv2.add_module("reduce", layer(config, width, width, 1))
    conv2.add_module("conv3x3", layer(config, width, config.channels(192), 3))
    stages["conv2"] = conv2
    if config.lrn:
        stages["norm2"] = LocalResponseNorm(size=5, alpha=1e-4 / 5, beta=0.75, k=1.0)
    if large:
        stages["pool2"] = max_pool(config, "pool2")
    return nn.Sequential(stages)


def layer(
    config: GoogLeNetConfig, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1
) -> nn.Sequential:
    """A convolution that keeps the size except for its stride, and what follows each of them."""
    return conv_layer(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        bias=not config.batch_norm,
        batch_norm=config.batch_norm,
        eps=1e-3,
        act=config.activation,
    )


def max_pool(config: GoogLeNetConfig, name: str) -> nn.MaxPool2d:
    """The max pool of that name, with stride 2."""
    if config.pool == "pad":
        return nn.MaxPool2d(3, stride=2, padding=1)
    small = config.pool == "round-up-2x2" and name == "pool4"
    return nn.MaxPool2d(2 if small else 3, stride=2, ceil_mode=True)


def auxiliary_head(config: GoogLeNetConfig, in_channels: int) -> nn.Sequential:
    """(N, in_channels, H, W) -> (N, num_classes), Sec. 5."""
    channels, hidden = config.channels(128), config.channels(1024)
    head = OrderedDict[str, nn.Module]()
    head["pool"] = AveragePool5x5() if config.aux_pool == "5x5" else nn.AdaptiveAvgPool2d(4)
    head["conv"] = layer(config, in_channels, channels, 1)
    if config.aux_pool == "4x4-late":
        head.move_to_end("pool")
    head["flatten"] = nn.Flatten()
    head["fc"] = nn.Linear(channels * 4 * 4, hidden)
    head["act"] = activation(config.activation)
    head["dropout"] = nn.Dropout(config.aux_dropout)
    head["classifier"] = nn.Linear(hidden, config.num_classes)
    return nn.Sequential(head)


@torch.no_grad()
def paper_init(net: GoogLeNet, generator: torch.Generator | None) -> None:
    """Use Caffe's "xavier": U(+-sqrt(3 / fan_in)); biases .2, and 0 in the classifiers."""
    for name, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, nn.Conv2d | nn.Linear):
            bound = (3 / module.weight[0].numel()) ** 0.5
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            if module.bias is not None:
                nn.init.constant_(module.bias, 0.0 if name.endswith("classifier") else 0.2)


VARIANTS: dict[str, GoogLeNetConfig] = {
    "googlenet": GoogLeNetConfig(lrn=True, min_size=31, note="The paper's net, with its auxiliary heads."),
    "googlenet_bn": GoogLeNetConfig(
        large_kernel=3,
        pool="round-up-2x2",
        batch_norm=True,
        dropout=0.2,
        aux=False,
        aux_pool="4x4",
        init="he",
        min_size=15,
        note="torchvision's googlenet: batch norm, and 3x3 where the paper has 5x5; aux=True adds its auxiliary heads.",
    ),
    "googlenet_cifar": GoogLeNetConfig(
        stem="3x3",
        width=0.4,
        pool="pad",
        batch_norm=True,
        dropout=0.2,
        aux=False,
        aux_pool="4x4",
        init="he",
        num_classes=10,
        image_size=32,
        min_size=1,
        note="Our own: four tenths of the channels, three pools and batch norm, for images of 28 to 64 pixels.",
    ),
    "googlenet_tutorial": GoogLeNetConfig(
        conv2_reduce=False,
        pool="pad",
        dropout=0.0,
        aux_dropout=0.0,
        aux_pool="4x4-late",
        init="he",
        min_size=1,
        note="The guide's net with its channels fixed: no normalisation, no dropout, one convolution in conv2.",
    ),
}

# The names in torchvision.
_NAMES = ForeignNames((
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
))  # fmt: skip


def foreign_names(config: GoogLeNetConfig) -> dict[str, ForeignNames]:
    """What the weights are called elsewhere."""
    return {"torchvision": _NAMES} if config.batch_norm else {}


FAMILY = Family(
    name="googlenet",
    paper="Going Deeper with Convolutions (Szegedy et al., 2014), arXiv:1409.4842",
    net=GoogLeNet,
    config=GoogLeNetConfig,
    variants=VARIANTS,
    stuck_because=(
        "GoogLeNet without batch norm is deep for its rate; its auxiliary classifiers help the first layers "
        "(loss.aux_weight=0.3)"
    ),
    torchvision={"googlenet_bn": TorchvisionModel("googlenet", transform_input=True)},
    foreign_names=foreign_names,
)
