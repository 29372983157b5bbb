"""The layers and the initialiser that at least three families share. Other blocks are in their family's own file."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["relu", "tanh"]


def activation(name: Activation) -> nn.Module:
    """Return an activation module, never in place: hooks, Grad-CAM and `features` see each layer's output.

    >>> activation("tanh")
    Tanh()
    """
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
    """Return `conv`, `bn` if asked for, and `act`, the activation: (N, C, H, W) -> (N, C', H', W').

    in_channels, out_channels   C and C'; `groups` divides both
    kernel_size                 side of the window, in pixels
    stride, padding             in pixels: H' = (H + 2 * padding - kernel_size) // stride + 1
    groups                      parts that the channels are divided into; each sees only its own
    bias                        the convolution has a bias
    batch_norm, eps             a batch norm follows, with that number added to the variance
    act                         the activation's name

    >>> conv_layer(3, 8, 5, padding=2)(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 8, 32, 32])
    """
    layer = OrderedDict[str, nn.Module]()
    layer["conv"] = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=bias)
    if batch_norm:
        layer["bn"] = nn.BatchNorm2d(out_channels, eps)
    layer["act"] = activation(act)
    return nn.Sequential(layer)


class LocalResponseNorm(nn.Module):
    """x / (k + alpha * sum of x^2 over `size` neighbouring channels)^beta, Krizhevsky et al. 2012, Sec. 3.3.

    (N, C, H, W) -> (N, C, H, W), any float type. The paper's alpha multiplies the sum. `nn.LocalResponseNorm`, like
    Caffe, divides alpha by `size` first; on CPUs it refuses bfloat16 and is slower.
    """

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        # In channels-last memory the squares of a position lie side by side: 1-d pooling sums them without a copy.
        squares = x.square().permute(0, 2, 3, 1)
        means = F.avg_pool1d(squares.flatten(1, 2), self.size, stride=1, padding=self.size // 2)
        sums = self.size * means.view(squares.shape).permute(0, 3, 1, 2)
        return x * (self.k + self.alpha * sums).pow(-self.beta)

    def extra_repr(self) -> str:
        return f"size={self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


def pooled_classifier(channels: int, num_classes: int, *, dropout: float = 0.0) -> nn.Sequential:
    """Return a head (N, channels, H, W) -> (N, num_classes): average over all positions, dropout, one linear layer.

    `dropout` is a probability. The linear layer is called `classifier`.

    >>> pooled_classifier(8, 5)(torch.zeros(2, 8, 7, 7)).shape
    torch.Size([2, 5])
    """
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
    """Fill the convolutions, linear layers and batch norms of `net` as in He et al. 2015 (arXiv:1502.01852).

    generator   a CPU generator, or None for PyTorch's global one
    mode        what N(0, 2 / fan) counts: the inputs ("fan_in") or the outputs ("fan_out") of a unit

    Convolutions and hidden linear layers start as N(0, 2 / fan), biases as 0. A linear layer called `classifier` starts
    as U(+-1 / sqrt(fan_in)), as in the authors' Torch code. Batch norms start as 1 and 0, with fresh statistics.
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
