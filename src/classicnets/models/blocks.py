"""What at least three of the families share. A block that fewer use is written out in its family's own file."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["relu", "tanh"]


def activation(name: Activation) -> nn.Module:
    """A new activation module. Never in place, so that hooks, Grad-CAM and `features()` see what each layer put out."""
    return nn.Tanh() if name == "tanh" else nn.ReLU()


def conv_layer(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
    bias: bool = True,
    batch_norm: bool = False,
    eps: float = 1e-5,
    act: Activation = "relu",
) -> nn.Sequential:
    """A convolution, batch norm where asked for, and the activation; `eps` is the batch norm's."""
    layer = OrderedDict[str, nn.Module]()
    layer["conv"] = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=bias)
    if batch_norm:
        layer["bn"] = nn.BatchNorm2d(out_channels, eps)
    layer["act"] = activation(act)
    return nn.Sequential(layer)


class LocalResponseNorm(nn.Module):
    """x / (k + alpha * sum of x^2 over `size` neighbouring channels)^beta, Krizhevsky et al. 2012, Sec. 3.3.

    The paper's alpha multiplies the sum; `nn.LocalResponseNorm` (like Caffe) divides it by `size` first, refuses
    bfloat16 on CPUs and is slower there. (N, C, H, W) -> (N, C, H, W), any float type.
    """

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        # Channels last, the squares of a position lie side by side: a 1-d pooling over them, without a copy.
        squares = x.square().permute(0, 2, 3, 1)
        means = F.avg_pool1d(squares.flatten(1, 2), self.size, stride=1, padding=self.size // 2)
        sums = self.size * means.view(squares.shape).permute(0, 3, 1, 2)
        return x * (self.k + self.alpha * sums).pow(-self.beta)

    def extra_repr(self) -> str:
        return f"size={self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


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

    Convolutions and hidden linear layers N(0, 2 / fan); a linear `classifier` U(+-1 / sqrt(fan_in)), as in the authors'
    Torch code; batch norms 1 and 0, their statistics reset; biases 0.
    """
    for name, module in net.named_modules():
        if isinstance(module, nn.Linear) and name.endswith("classifier"):
            bound = module.in_features**-0.5
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_parameters()
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
