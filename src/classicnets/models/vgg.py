"""VGG: Very Deep Convolutional Networks for Large-Scale Image Recognition, Simonyan and Zisserman, 2014
(arXiv:1409.1556).

Table 1, at 224 px: the number of 3x3 convolutions in each stage; ReLU follows each (Sec. 2.1).

    stage    output   width    layers in column A / B / D / E (11 / 13 / 16 / 19 with weights)
    conv1     224       64      1 / 2 / 2 / 2
    pool1     112               2x2 max pool, stride 2; so are the others
    conv2     112      128      1 / 2 / 2 / 2
    pool2      56
    conv3      56      256      2 / 2 / 3 / 4
    pool3      28
    conv4      28      512      2 / 2 / 3 / 4
    pool4      14
    conv5      14      512      2 / 2 / 3 / 4
    pool5       7
    head        1               fc6 4096, fc7 4096, classifier; dropout on fc6 and fc7 (Sec. 3.1)

Column A-LRN is A with local response normalisation after its first convolution; column C is D with a 1x1 convolution
in place of the last 3x3 of conv3, conv4 and conv5.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

import torch
from torch import nn

from classicnets.models.blocks import Activation, LocalResponseNorm, activation, conv_layer, he_init
from classicnets.models.contract import ConvNet, Family, NetConfig
from classicnets.models.names import ForeignNames, Rows, TorchvisionModel


@dataclass(frozen=True, kw_only=True)
class VGGConfig(NetConfig):
    """A column of Table 1.

    depths, widths   convolutions in each stage, and their channels
    kernel_size      side of the convolutions' windows, an odd number; 5 with one convolution a stage is the shallow net
                     of Sec. 2.3 that column B is compared with
    pointwise        the last convolution of conv3, conv4 and conv5 is 1x1 (column C)
    lrn              local response normalisation after the first convolution, with AlexNet's constants (column A-LRN)
    batch_norm       after every convolution, which keeps its bias, as in the known checkpoints
    activation       after every convolution, fc6 and fc7
    hidden           widths of fc6 and fc7; () leaves both out
    grid             positions per side that the head's first layer sees; other image sizes are averaged to it
    round_up         pools round odd sizes up, so that 28 px become 14, 7, 4, 2 and 1
    dropout          probability, on the outputs of fc6 and fc7

    The weights start as N(0, 2 / fan_in) (He et al. 2015). The paper's N(0, .01) does not train the deeper columns;
    the paper started those from a trained column A (Sec. 3.1).
    """

    depths: tuple[int, int, int, int, int]
    widths: tuple[int, int, int, int, int] = (64, 128, 256, 512, 512)
    kernel_size: int = 3
    pointwise: bool = False
    lrn: bool = False
    batch_norm: bool = False
    activation: Activation = "relu"
    hidden: tuple[int, ...] = (4096, 4096)
    grid: int = 7
    round_up: bool = False
    dropout: float = 0.5


class VGG(ConvNet):
    """The net of a `VGGConfig`: stages conv1, pool1, ..., conv5, pool5; conv3 holds conv3_1, conv3_2, ..."""

    config: VGGConfig

    def __init__(self, config: VGGConfig) -> None:
        super().__init__(config)
        self.trunk = nn.Sequential()
        channels = config.in_channels
        for i, (depth, width) in enumerate(zip(config.depths, config.widths, strict=True), start=1):
            stage = nn.Sequential()
            for j in range(1, depth + 1):
                kernel_size = 1 if config.pointwise and i >= 3 and j == depth else config.kernel_size
                layer = conv_layer(
                    channels,
                    width,
                    kernel_size,
                    padding=kernel_size // 2,
                    batch_norm=config.batch_norm,
                    act=config.activation,
                )
                stage.add_module(f"conv{i}_{j}", layer)
                if config.lrn and i == j == 1:
                    stage.add_module("norm1", LocalResponseNorm(size=5, alpha=1e-4, beta=0.75, k=2.0))
                channels = width
            self.trunk.add_module(f"conv{i}", stage)
            self.trunk.add_module(f"pool{i}", nn.MaxPool2d(2, stride=2, ceil_mode=config.round_up))
        self.head = head(config)

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Use He initialisation by fan-in, which keeps the size of the activations from layer to layer; biases 0."""
        he_init(self, generator, mode="fan_in")


def head(config: VGGConfig) -> nn.Sequential:
    """(N, C, H, W) -> (N, num_classes): average to the grid (no change at the paper's size), then linear layers."""
    layers = OrderedDict[str, nn.Module](pool=nn.AdaptiveAvgPool2d(config.grid), flatten=nn.Flatten())
    features = config.widths[-1] * config.grid**2
    for i, width in enumerate(config.hidden, start=6):
        layers[f"fc{i}"] = nn.Linear(features, width)
        layers[f"act{i}"] = activation(config.activation)
        layers[f"drop{i}"] = nn.Dropout(config.dropout)
        features = width
    layers["classifier"] = nn.Linear(features, config.num_classes)
    return nn.Sequential(layers)


_A = VGGConfig(depths=(1, 1, 2, 2, 2), note="Column A.")
_B = VGGConfig(depths=(2, 2, 2, 2, 2), note="Column B.")
_D = VGGConfig(depths=(2, 2, 3, 3, 3), note="Column D.")
_E = VGGConfig(depths=(2, 2, 4, 4, 4), note="Column E.")


def _batch_norm(column: VGGConfig) -> VGGConfig:
    return replace(column, batch_norm=True, note=f"{column.note[:-1]} with batch norm, which came after the paper.")


def _cifar(column: VGGConfig) -> VGGConfig:
    """The form that the field uses on CIFAR: a single linear layer after the average over all positions."""
    return replace(
        column,
        batch_norm=True,
        hidden=(),
        grid=1,
        round_up=True,
        num_classes=10,
        image_size=32,
        min_size=1,
        note=f"{column.note[:-1]} with batch norm and one linear layer, for images of 28 to 64 pixels.",
    )


VARIANTS: dict[str, VGGConfig] = {
    "vgg11": _A,
    "vgg13": _B,
    "vgg16": _D,
    "vgg19": _E,
    "vgg11_bn": _batch_norm(_A),
    "vgg13_bn": _batch_norm(_B),
    "vgg16_bn": _batch_norm(_D),
    "vgg19_bn": _batch_norm(_E),
    "vgg11_lrn": replace(_A, lrn=True, note="Column A-LRN."),
    "vgg16_1x1": replace(_D, pointwise=True, note="Column C."),
    "vgg11_cifar": _cifar(_A),
    "vgg16_cifar": _cifar(_D),
    "vgg13_half_cifar": replace(
        _cifar(_B),
        widths=(32, 64, 128, 256, 256),
        note="Our own: like vgg11_cifar, but column B at half its width. It learns more in the same time.",
    ),
}

_TORCHVISION_HEAD: Rows = (
    (r"head\.fc6", "classifier.0"),
    (r"head\.fc7", "classifier.3"),
    (r"head\.classifier", "classifier.6"),
)
_TIMM_HEAD: Rows = (
    (r"head\.fc6", "pre_logits.fc1"),
    (r"head\.fc7", "pre_logits.fc2"),
    (r"head\.classifier", "head.fc"),
)
_CIFAR_HEAD: Rows = ((r"head\.classifier", "classifier"),)  # kuangliu's, without hidden layers


def foreign_names(config: VGGConfig) -> dict[str, ForeignNames]:
    """What the weights are called elsewhere. timm keeps fc6 and fc7 as convolutions."""
    if config.lrn:
        return {}
    trunk = _numbered(config)
    if not config.hidden:
        return {"cifar": ForeignNames(trunk + _CIFAR_HEAD)}
    kernels = {"pre_logits.fc1.weight": config.grid, "pre_logits.fc2.weight": 1}
    return {
        "torchvision": ForeignNames(trunk + _TORCHVISION_HEAD),
        "timm": ForeignNames(trunk + _TIMM_HEAD, kernels),
    }


def _numbered(config: VGGConfig) -> Rows:
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


FAMILY = Family(
    name="vgg",
    paper=(
        "Very Deep Convolutional Networks for Large-Scale Image Recognition (Simonyan and Zisserman, 2014), "
        "arXiv:1409.1556"
    ),
    net=VGG,
    config=VGGConfig,
    variants=VARIANTS,
    stuck_because=(
        "a VGG without batch norm learns only in a narrow range of learning rates; Simonyan and Zisserman (Sec. 3.1) "
        "trained a shallow one first"
    ),
    torchvision={
        "vgg11": TorchvisionModel("vgg11"),
        "vgg11_bn": TorchvisionModel("vgg11_bn"),
        "vgg13": TorchvisionModel("vgg13"),
        "vgg13_bn": TorchvisionModel("vgg13_bn"),
        "vgg16": TorchvisionModel("vgg16"),
        "vgg16_bn": TorchvisionModel("vgg16_bn"),
        "vgg19": TorchvisionModel("vgg19"),
        "vgg19_bn": TorchvisionModel("vgg19_bn"),
    },
    foreign_names=foreign_names,
)
