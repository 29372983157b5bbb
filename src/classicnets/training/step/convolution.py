"""Convolutions whose weight gradient is one matrix product: up to sixteen times as fast on a CPU.

The gradient of a kernel is the product of the output's gradient and the input's patches. oneDNN computes it without
gathering the patches, which saves memory. It is slow in two cases, and there the product is taken:

- In fp32 on a CPU with AVX2, its code for channels-last images reaches 10 to 50 GFLOP/s per core, and a matrix product
  50 to 70. Gathering pays off if each patch is used by many output channels.
- In bf16, it spends about 7 ns on each weight, however small the images are. Gathering pays off if the output has few
  places for its channels, as the last stages of a network have.

`benchmarks/weight_gradients.py` measures both, layer by layer. The gradients equal PyTorch's up to rounding. In all
other cases PyTorch computes them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input

from classicnets.system.devices import has_bf16

_FEWEST_IN, _FEWEST_OUT = 32, 96  # channels, in fp32
_FEWEST_WEIGHTS = 1 << 16  # in bf16: for fewer, oneDNN is fast enough
_PLACES_PER_CHANNEL = 10  # in bf16: the most places of the outputs of a batch, for each output channel
_PATCHES = 16 << 20  # bytes that are gathered at a time


def fast_convolutions(model: nn.Module) -> dict[nn.Module, Any]:
    """Return a `forward` for each convolution of `model` that may have a faster weight gradient here, or {}.

    They are for `replaced_forwards` around a training pass.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d) and _is_plain(module)]
    if torch.backends.cpu.get_cpu_capability() == "AVX2":
        return {layer: partial(_forward_in_fp32, layer) for layer in layers if _is_wide(layer)}
    if has_bf16(torch.device("cpu")):
        large = (layer for layer in layers if layer.weight.numel() >= _FEWEST_WEIGHTS)
        return {layer: partial(_forward_in_bf16, layer) for layer in large}
    return {}


def _is_plain(layer: nn.Conv2d) -> bool:
    """1x1 kernels are left to oneDNN: their products gained in isolation, and lost in a network."""
    plain = layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
    return plain and layer.kernel_size != (1, 1) and isinstance(layer.padding, tuple)


def _is_wide(layer: nn.Conv2d) -> bool:
    return layer.in_channels >= _FEWEST_IN and layer.out_channels >= _FEWEST_OUT


def _learns_on_cpu(layer: nn.Conv2d) -> bool:
    return layer.weight.requires_grad and layer.weight.device.type == "cpu"


def _forward_in_fp32(layer: nn.Conv2d, x: Tensor) -> Tensor:
    in_fp32 = x.dtype is torch.float32 and not torch.is_autocast_enabled("cpu")
    if _learns_on_cpu(layer) and in_fp32 and x.is_contiguous(memory_format=torch.channels_last):
        return _convolved(layer, x, layer.weight, layer.bias)
    return nn.Conv2d.forward(layer, x)


def _forward_in_bf16(layer: nn.Conv2d, x: Tensor) -> Tensor:
    in_bf16 = x.dtype is torch.bfloat16 and torch.is_autocast_enabled("cpu")
    is_suitable = in_bf16 and x.is_contiguous(memory_format=torch.channels_last) and has_few_places(layer, x.shape)
    if _learns_on_cpu(layer) and is_suitable:
        bias = None if layer.bias is None else layer.bias.to(x.dtype)
        return _convolved(layer, x, layer.weight.to(x.dtype), bias)  # the same rounding as autocast's
    return nn.Conv2d.forward(layer, x)


def has_few_places(layer: nn.Conv2d, shape: torch.Size) -> bool:
    """Return whether the output for an input (N, C, H, W) of that shape has few places in all for its channels."""
    assert not isinstance(layer.padding, str)
    height, width = (
        (shape[2 + i] + 2 * layer.padding[i] - layer.kernel_size[i]) // layer.stride[i] + 1 for i in range(2)
    )
    return shape[0] * height * width <= _PLACES_PER_CHANNEL * layer.out_channels


def _convolved(layer: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    output: Tensor = _Convolution.apply(x, weight, bias, layer.stride, layer.padding)
    return output


class _Convolution(torch.autograd.Function):
    """x (N, C, H, W), weight (K, C, h, w), bias (K,) or None -> (N, K, H', W'), all of one type."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], padding: tuple[int, int]
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        dx = None
        if ctx.needs_input_grad[0]:
            dx = conv2d_input(x.shape, weight, dy, ctx.stride, ctx.padding)
        dw = weight_gradient(x, dy, weight.shape, ctx.stride, ctx.padding)
        db = dy.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None
        return dx, dw, db, None, None


def weight_gradient(
    x: Tensor, dy: Tensor, shape: torch.Size, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """Return the gradient of a convolution's weight, as a matrix product of output gradients and input patches.

    Args:
        x: the input, float32 or bfloat16 (N, C, H, W); channels-last memory is fast.
        dy: the output's gradient, of the same type (N, K, H', W').
        shape: of the weight, (K, C, h, w).
        stride, padding: of the convolution, for rows and columns, in pixels.

    Returns:
        (K, C, h, w), of the same type, in channels-last memory.

    >>> x, dy = torch.ones(1, 2, 4, 4), torch.ones(1, 3, 4, 4)
    >>> weight_gradient(x, dy, torch.Size((3, 2, 3, 3)), (1, 1), (1, 1))[0, 0, 1]
    tensor([12., 16., 12.])
    """
    out_channels, in_channels, height, width = shape
    rows = padding[0], padding[0]
    columns = padding[1], padding[1]
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, *columns, *rows))
    images, down, across, channels = padded.stride()
    windows = padded.as_strided(
        (len(x), *dy.shape[2:], height, width, in_channels),
        (images, down * stride[0], across * stride[1], down, across, channels),
    )
    length = in_channels * height * width
    at_once = max(1, _PATCHES // (x.element_size() * length * dy.shape[2] * dy.shape[3]))
    dw = x.new_empty(out_channels, length)
    for i, (some, grads) in enumerate(zip(windows.split(at_once), dy.permute(0, 2, 3, 1).split(at_once), strict=True)):
        dw.addmm_(grads.reshape(-1, out_channels).T, some.reshape(-1, length), beta=int(i > 0))
    return dw.view(out_channels, height, width, in_channels).permute(0, 3, 1, 2)
