"""ResNet: Deep Residual Learning for Image Recognition, He, Zhang, Ren and Sun, 2015 (arXiv:1512.03385).

Table 1, at 224 px. Blocks are of two 3x3 convolutions (basic), or of 1x1, 3x3 and 1x1 (bottleneck, 4x wider outside).

    stage   output   layers                         blocks in ResNet-18 / 34 / 50 / 101 / 152
    conv1   112      7x7, 64, stride 2
    conv2    56      3x3 max pool, stride 2; 64      2 /  3 /  3 /   3 /   3
    conv3    28      128                             2 /  4 /  4 /   4 /   8
    conv4    14      256                             2 /  6 /  6 /  23 /  36
    conv5     7      512                             2 /  3 /  3 /   3 /   3
    head      1      average pool, linear

Sec. 4.2, for CIFAR-10 at 32 px, depth 6n + 2:

    conv1    32      3x3, 16
    conv2    32      n basic blocks of 16
    conv3    16      n basic blocks of 32
    conv4     8      n basic blocks of 64
    head      1      average pool, linear

Batch norm follows every convolution, and ReLU every batch norm except a block's last. `preactivation` is the follow-up,
Identity Mappings in Deep Residual Networks, 2016 (arXiv:1603.05027): batch norm and ReLU come before each convolution,
nothing follows the addition, and a last stage `norm` closes the trunk.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classicnets.errors import ConfigError
from classicnets.models.blocks import Activation, activation, he_init, pooled_classifier
from classicnets.models.contract import ConvNet, Family, NetConfig
from classicnets.models.names import ForeignNames, Rows, TorchvisionModel, from_zero
from classicnets.models.recompute import Blocks


@dataclass(frozen=True, kw_only=True)
class ResNetConfig(NetConfig):
    """A row of Table 1.

    depths, widths      blocks in each stage, and channels of their 3x3 convolutions
    stem                "7x7": stride 2, then a max pool; "3x3": stride 1, for small images
    bottleneck          blocks of 1x1, 3x3, 1x1 instead of two 3x3
    stride_in_1x1       a bottleneck halves the size in its first 1x1 (the paper) or in its 3x3 (common since)
    shortcut            if the shape changes: "projection", a 1x1 convolution (option B of Sec. 4.1), or "pad", every
                        other pixel and zeros for the new channels (option A, no parameters)
    residual            False leaves out the shortcuts: the plain nets of Sec. 4.1
    preactivation       the order of arXiv:1603.05027
    activation          after every batch norm except a block's last, and after the addition
    conv_bias           convolutions have a bias, which the batch norm after it undoes
    zero_init_residual  the last batch norm of a block starts at 0, so that the block starts as the identity
                        (Goyal et al. 2017, arXiv:1706.02677); a pre-activation block has none there and ignores it
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem: Literal["7x7", "3x3"] = "7x7"
    bottleneck: bool = False
    stride_in_1x1: bool = False
    shortcut: Literal["projection", "pad"] = "projection"
    residual: bool = True
    preactivation: bool = False
    activation: Activation = "relu"
    conv_bias: bool = False
    zero_init_residual: bool = False
    min_size: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.depths) != len(self.widths):
            raise ConfigError(
                f"depths and widths must have the same length, one number per stage; got {self.depths} and "
                f"{self.widths}."
            )

    @property
    def expansion(self) -> int:
        """How much wider a block's output is than its 3x3 convolutions."""
        return 4 if self.bottleneck else 1


class Block(nn.Module):
    """activation(F(x) + shortcut(x)), Fig. 2: (N, in_channels, H, W) -> (N, expansion * width, H / stride, W / stride).

    Sizes are rounded up. A subclass fills in the three modules; `residual` is F.
    """

    residual: nn.Sequential
    shortcut: nn.Module | None
    activation: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.residual(x)
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        output: Tensor = self.activation(y)
        return output


class BasicBlock(Block):
    """Fig. 5, left: two 3x3 convolutions."""

    def __init__(self, config: ResNetConfig, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.residual = named(
            conv1=conv(config, in_channels, width, 3, stride),
            bn1=nn.BatchNorm2d(width),
            act1=activation(config.activation),
            conv2=conv(config, width, width, 3),
            bn2=nn.BatchNorm2d(width),
        )
        self.shortcut = shortcut(config, in_channels, width, stride)
        self.activation = activation(config.activation)


class Bottleneck(Block):
    """Fig. 5, right: a 1x1 convolution reduces the channels, a 3x3 works on them, a 1x1 restores them."""

    def __init__(self, config: ResNetConfig, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        stride_1x1, stride_3x3 = (stride, 1) if config.stride_in_1x1 else (1, stride)
        self.residual = named(
            conv1=conv(config, in_channels, width, 1, stride_1x1),
            bn1=nn.BatchNorm2d(width),
            act1=activation(config.activation),
            conv2=conv(config, width, width, 3, stride_3x3),
            bn2=nn.BatchNorm2d(width),
            act2=activation(config.activation),
            conv3=conv(config, width, 4 * width, 1),
            bn3=nn.BatchNorm2d(4 * width),
        )
        self.shortcut = shortcut(config, in_channels, width, stride)
        self.activation = activation(config.activation)


class PreactivationBlock(nn.Module):
    """shortcut(x) + F(x), Fig. 4e of 1603.05027, with the shapes of `Block`. F begins with batch norm and activation.

    If the shape changes, the shortcut starts after the first batch norm and activation, as in the authors' code.
    A subclass fills in `residual`, the rest of F, and `shortcut`.
    """

    residual: nn.Sequential
    shortcut: nn.Module | None

    def __init__(self, config: ResNetConfig, in_channels: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.act1 = activation(config.activation)

    def forward(self, x: Tensor) -> Tensor:
        active = self.act1(self.bn1(x))
        y: Tensor = self.residual(active)
        if self.shortcut is None:
            return y
        return y + (x if isinstance(self.shortcut, nn.Identity) else self.shortcut(active))


class PreactivationBasicBlock(PreactivationBlock):
    """Two 3x3 convolutions."""

    def __init__(self, config: ResNetConfig, in_channels: int, width: int, stride: int) -> None:
        super().__init__(config, in_channels)
        self.residual = named(
            conv1=conv(config, in_channels, width, 3, stride),
            bn2=nn.BatchNorm2d(width),
            act2=activation(config.activation),
            conv2=conv(config, width, width, 3),
        )
        self.shortcut = shortcut(config, in_channels, width, stride)


class PreactivationBottleneck(PreactivationBlock):
    """A 1x1 convolution reduces the channels, a 3x3 works on them, a 1x1 restores them."""

    def __init__(self, config: ResNetConfig, in_channels: int, width: int, stride: int) -> None:
        super().__init__(config, in_channels)
        stride_1x1, stride_3x3 = (stride, 1) if config.stride_in_1x1 else (1, stride)
        self.residual = named(
            conv1=conv(config, in_channels, width, 1, stride_1x1),
            bn2=nn.BatchNorm2d(width),
            act2=activation(config.activation),
            conv2=conv(config, width, width, 3, stride_3x3),
            bn3=nn.BatchNorm2d(width),
            act3=activation(config.activation),
            conv3=conv(config, width, 4 * width, 1),
        )
        self.shortcut = shortcut(config, in_channels, width, stride)


class PadShortcut(nn.Module):
    """Option A: every `stride`-th pixel, and zeros for the new channels, half of them before and half after the old.

    The paper does not say where the zeros go; the known CIFAR checkpoints have them there.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        before = (out_channels - in_channels) // 2
        self.zeros = (before, out_channels - in_channels - before)

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, *self.zeros))


def shortcut(config: ResNetConfig, in_channels: int, width: int, stride: int) -> nn.Module | None:
    """The identity if the shape stays, else option A or B; None in a plain net."""
    if not config.residual:
        return None
    out_channels = config.expansion * width
    if in_channels == out_channels and stride == 1:
        return nn.Identity()
    if config.shortcut == "pad":
        return PadShortcut(in_channels, out_channels, stride)
    projection = named(conv=conv(config, in_channels, out_channels, 1, stride))
    if not config.preactivation:
        projection.add_module("bn", nn.BatchNorm2d(out_channels))
    return projection


def conv(config: ResNetConfig, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size except for its stride."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=config.conv_bias)


def named(**layers: nn.Module) -> nn.Sequential:
    """Layers in a row, by name."""
    return nn.Sequential(OrderedDict(layers))


class ResNet(ConvNet):
    """The net of a `ResNetConfig`: stages conv1, conv2, ... as in the tables above, and `norm` after preactivation."""

    config: ResNetConfig

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__(config)
        channels = config.widths[0]
        kernel_size, stride = (7, 2) if config.stem == "7x7" else (3, 1)
        stem = named(conv=conv(config, config.in_channels, channels, kernel_size, stride))
        if not config.preactivation:
            stem.add_module("bn", nn.BatchNorm2d(channels))
            stem.add_module("act", activation(config.activation))
        self.trunk = named(conv1=stem)

        block = block_class(config)
        for i, (depth, width) in enumerate(zip(config.depths, config.widths, strict=True)):
            stage = Blocks()
            if i == 0 and config.stem == "7x7":
                stage.add_module("pool", nn.MaxPool2d(3, stride=2, padding=1))
            for b in range(depth):
                stage.add_module(f"block{b + 1}", block(config, channels, width, 2 if i > 0 and b == 0 else 1))
                channels = config.expansion * width
            self.trunk.add_module(f"conv{i + 2}", stage)

        if config.preactivation:
            self.trunk.add_module("norm", named(bn=nn.BatchNorm2d(channels), act=activation(config.activation)))
        self.head = pooled_classifier(channels, config.num_classes)

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        """Use He initialisation by fan-out, batch norms 1 and 0, biases 0, as in the authors' code."""
        he_init(self, generator)
        if self.config.zero_init_residual:
            for module in self.modules():
                if isinstance(module, Block):
                    last = module.residual[-1]
                    assert isinstance(last, nn.BatchNorm2d)
                    nn.init.zeros_(last.weight)


def block_class(config: ResNetConfig) -> Callable[[ResNetConfig, int, int, int], nn.Module]:
    """The kind of block, called with the config, the input's channels, the width and the stride."""
    if config.preactivation:
        return PreactivationBottleneck if config.bottleneck else PreactivationBasicBlock
    return Bottleneck if config.bottleneck else BasicBlock


_TABLE = "Table 1; as in torchvision and timm."
_STRIDE = "Table 1 with the stride in the 3x3; the paper has it in the first 1x1. As in torchvision and timm."
_18 = ResNetConfig(depths=(2, 2, 2, 2), note=_TABLE)
_34 = ResNetConfig(depths=(3, 4, 6, 3), note=_TABLE)
_50 = ResNetConfig(depths=(3, 4, 6, 3), bottleneck=True, note=_STRIDE)
_101 = ResNetConfig(depths=(3, 4, 23, 3), bottleneck=True, note=_STRIDE)
_152 = ResNetConfig(depths=(3, 8, 36, 3), bottleneck=True, note=_STRIDE)


def _v1(row: ResNetConfig) -> ResNetConfig:
    """Table 1 to the letter."""
    return replace(row, stride_in_1x1=True, note="The paper's net: a bottleneck strides in its first 1x1.")


def _plain(row: ResNetConfig) -> ResNetConfig:
    """The counter-example of Sec. 4.1 and 4.2."""
    return replace(row, residual=False, note="The paper's plain net: the same layers without shortcuts.")


def _cifar(n: int) -> ResNetConfig:
    """Sec. 4.2: n blocks a stage, depth 6n + 2."""
    return ResNetConfig(
        depths=(n, n, n),
        widths=(16, 32, 64),
        stem="3x3",
        shortcut="pad",
        num_classes=10,
        image_size=32,
        note="Sec. 4.2, with its shortcuts without parameters (option A).",
    )


def _preact(n: int) -> ResNetConfig:
    """1603.05027, Table 4 and the authors' code: n blocks a stage, depth 9n + 2."""
    return replace(
        _cifar(n),
        bottleneck=True,
        preactivation=True,
        shortcut="projection",
        stride_in_1x1=True,
        note="He et al. 2016, Identity Mappings (arXiv:1603.05027): batch norm and ReLU before each convolution.",
    )


def _tutorial(row: ResNetConfig) -> ResNetConfig:
    """The guide's nets."""
    return replace(row, conv_bias=True, note="The guide's net: its convolutions have biases, which batch norm undoes.")


VARIANTS: dict[str, ResNetConfig] = {
    "resnet18": _18,
    "resnet34": _34,
    "resnet50": _50,
    "resnet101": _101,
    "resnet152": _152,
    "resnet50_v1": _v1(_50),
    "resnet101_v1": _v1(_101),
    "resnet152_v1": _v1(_152),
    "plain18": _plain(_18),
    "plain34": _plain(_34),
    "resnet20_cifar": _cifar(3),
    "resnet32_cifar": _cifar(5),
    "resnet44_cifar": _cifar(7),
    "resnet56_cifar": _cifar(9),
    "resnet110_cifar": _cifar(18),
    "resnet1202_cifar": _cifar(200),
    "plain20_cifar": _plain(_cifar(3)),
    "plain56_cifar": _plain(_cifar(9)),
    "resnet18_cifar": replace(
        _18,
        stem="3x3",
        num_classes=10,
        image_size=32,
        note="Not in the paper: resnet18 with a 3x3 stem and no first pool, as in CIFAR repositories.",
    ),
    "resnet14_wide_cifar": replace(
        _cifar(2),
        widths=(32, 64, 128),
        shortcut="projection",
        note="Our own: Sec. 4.2 with n = 2 and twice the width: the most accurate here within minutes on a CPU.",
    ),
    "preact_resnet164_cifar": _preact(18),
    "preact_resnet1001_cifar": _preact(111),
    "resnet18_tutorial": _tutorial(_18),
    "resnet34_tutorial": _tutorial(_34),
    "resnet50_tutorial": _tutorial(_50),
    "resnet101_tutorial": _tutorial(_101),
    "resnet152_tutorial": _tutorial(_152),
}

# The names in torchvision and timm, and those of the well-known CIFAR repositories (akamaster's ResNet-20 to 1202,
# kuangliu's ResNet-18).
_NAMES: Rows = (
    (r"trunk\.conv1\.conv", "conv1"),
    (r"trunk\.conv1\.bn", "bn1"),
    (r"trunk\.conv(\d)\.block(\d+)\.residual", from_zero("layer{}.{}")),
    (r"trunk\.conv(\d)\.block(\d+)\.shortcut\.conv", from_zero("layer{}.{}.downsample.0")),
    (r"trunk\.conv(\d)\.block(\d+)\.shortcut\.bn", from_zero("layer{}.{}.downsample.1")),
    (r"head\.classifier", "fc"),
)
_CIFAR_NAMES: Rows = (
    (r"trunk\.conv(\d)\.block(\d+)\.shortcut\.conv", from_zero("layer{}.{}.shortcut.0")),
    (r"trunk\.conv(\d)\.block(\d+)\.shortcut\.bn", from_zero("layer{}.{}.shortcut.1")),
    (r"head\.classifier", "linear"),
    *_NAMES,
)


def foreign_names(config: ResNetConfig) -> dict[str, ForeignNames]:
    """What the weights are called elsewhere."""
    if not config.residual:
        return {}
    return {"torchvision": ForeignNames(_NAMES), "timm": ForeignNames(_NAMES), "cifar": ForeignNames(_CIFAR_NAMES)}


FAMILY = Family(
    name="resnet",
    paper="Deep Residual Learning for Image Recognition (He et al., 2015), arXiv:1512.03385",
    net=ResNet,
    config=ResNetConfig,
    variants=VARIANTS,
    torchvision={
        "resnet18": TorchvisionModel("resnet18"),
        "resnet34": TorchvisionModel("resnet34"),
        "resnet50": TorchvisionModel("resnet50"),
        "resnet101": TorchvisionModel("resnet101"),
        "resnet152": TorchvisionModel("resnet152"),
    },
    foreign_names=foreign_names,
)
