"""Convolutions as matrix products, where they are faster on a CPU than oneDNN's: up to five times, for a layer in bf16.

The gradient of a kernel is the product of the output's gradient and the input's patches. oneDNN computes it without
gathering the patches, which saves memory. It is slow in two cases, and there products are taken:

- In fp32 on a CPU with AVX2, its code for channels-last images reaches 10 to 50 GFLOP/s per core, and a matrix product
  50 to 70. Gathering pays off if each patch is used by many output channels.
- In bf16, it spends several ns on each weight, however small the images are. Gathering pays off if the output has few
  places for its channels, as the last stages of a network have. With many weights, the output and the input's gradient
  are products too.

`benchmarks/convolutions.py` measures both, layer by layer. All numbers equal PyTorch's up to rounding. In all other
cases PyTorch computes them.
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
_PLACES_PER_CHANNEL = 4  # in bf16: the most places of the outputs of a batch, for each output channel
_MANY_WEIGHTS, _FEWER_PLACES = 1 << 20, 2  # in bf16: then the output and the input's gradient are products too
_PATCHES = 16 << 20  # bytes that are gathered at a time


def fast_convolutions(model: nn.Module) -> dict[nn.Module, Any]:
    """Return a `forward` for each convolution of `model` that may be faster by products here, or {}.

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
        return _convolved(layer, x, layer.weight, layer.bias, by_products=False)
    return nn.Conv2d.forward(layer, x)


def _forward_in_bf16(layer: nn.Conv2d, x: Tensor) -> Tensor:
    in_bf16 = x.dtype is torch.bfloat16 and torch.is_autocast_enabled("cpu")
    is_suitable = in_bf16 and x.is_contiguous(memory_format=torch.channels_last) and has_few_places(layer, x.shape)
    if _learns_on_cpu(layer) and is_suitable:
        bias = None if layer.bias is None else layer.bias.to(x.dtype)
        by_products = layer.weight.numel() >= _MANY_WEIGHTS and has_few_places(layer, x.shape, most=_FEWER_PLACES)
        return _convolved(layer, x, layer.weight.to(x.dtype), bias, by_products=by_products)  # rounded as by autocast
    return nn.Conv2d.forward(layer, x)


def has_few_places(layer: nn.Conv2d, shape: torch.Size, *, most: int = _PLACES_PER_CHANNEL) -> bool:
    """Return whether the output for an input (N, C, H, W) of that shape has at most `most` places for each channel."""
    assert not isinstance(layer.padding, str)
    height, width = (
        (shape[2 + i] + 2 * layer.padding[i] - layer.kernel_size[i]) // layer.stride[i] + 1 for i in range(2)
    )
    return shape[0] * height * width <= most * layer.out_channels


def _convolved(layer: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None, *, by_products: bool) -> Tensor:
    output: Tensor = _Convolution.apply(x, weight, bias, layer.stride, layer.padding, by_products)
    return output


class _Convolution(torch.autograd.Function):
    """x (N, C, H, W), weight (K, C, h, w), bias (K,) or None -> (N, K, H', W'), all of one type.

    With `by_products`, the output and the input's gradient are matrix products too.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
        by_products: bool,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding, ctx.by_products = stride, padding, by_products
        return (output_by_product if by_products else F.conv2d)(x, weight, bias, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        dx = None
        if ctx.needs_input_grad[0]:
            gradient = input_gradient if ctx.by_products else conv2d_input
            dx = gradient(x.shape, weight, dy, ctx.stride, ctx.padding)
        dw = weight_gradient(x, dy, weight.shape, ctx.stride, ctx.padding)
        db = dy.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None
        return dx, dw, db, None, None, None


def output_by_product(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """Return a convolution's output, as a matrix product of input patches and kernels.

    Args:
        x: the input (N, C, H, W); channels-last memory is fast.
        weight, bias: (K, C, h, w); (K,) or None; of the same type.
        stride, padding: for rows and columns, in pixels.

    Returns:
        (N, K, H', W'), of the same type, in channels-last memory.

    >>> output_by_product(torch.ones(1, 2, 3, 3), torch.ones(1, 2, 3, 3), None, (1, 1), (1, 1))[0, 0, 0]
    tensor([ 8., 12.,  8.])
    """
    patches = _patches(x, weight.shape, stride, padding)
    kernels = _as_matrix(weight)
    rows = patches.reshape(-1, kernels.shape[1])
    product = rows @ kernels.T if bias is None else torch.addmm(bias, rows, kernels.T)
    return product.view(*patches.shape[:3], len(weight)).permute(0, 3, 1, 2)


def input_gradient(
    shape: torch.Size, weight: Tensor, dy: Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """Return the gradient of a convolution's input: a product gives each patch's, and overlapping patches are added.

    Args:
        shape: of the input, (N, C, H, W).
        weight: (K, C, h, w).
        dy: the output's gradient (N, K, H', W'), of the same type.
        stride, padding: of the convolution, for rows and columns, in pixels.

    Returns:
        (N, C, H, W), of the same type, in channels-last memory. It is added in float32.

    >>> weight, dy = torch.ones(1, 2, 3, 3), torch.ones(1, 1, 3, 3)
    >>> input_gradient(torch.Size((1, 2, 3, 3)), weight, dy, (1, 1), (1, 1))[0, 0, 0]
    tensor([4., 6., 4.])
    """
    images, channels, height, width = shape
    (down, across), kernel = dy.shape[2:], weight.shape[2:]
    products = dy.permute(0, 2, 3, 1).reshape(-1, len(weight)) @ _as_matrix(weight)
    patches = products.view(images, down, across, *kernel, channels)
    padded = torch.zeros(images, height + 2 * padding[0], width + 2 * padding[1], channels)
    for i in range(kernel[0]):
        rows = slice(i, i + (down - 1) * stride[0] + 1, stride[0])
        for j in range(kernel[1]):
            columns = slice(j, j + (across - 1) * stride[1] + 1, stride[1])
            padded[:, rows, columns] += patches[:, :, :, i, j]
    inside = padded[:, padding[0] : padding[0] + height, padding[1] : padding[1] + width]
    return inside.to(dy.dtype, memory_format=torch.contiguous_format).permute(0, 3, 1, 2)


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
    windows = _patches(x, shape, stride, padding)
    length = in_channels * height * width
    at_once = max(1, _PATCHES // (x.element_size() * length * dy.shape[2] * dy.shape[3]))
    dw = x.new_empty(out_channels, length)
    for i, (some, grads) in enumerate(zip(windows.split(at_once), dy.permute(0, 2, 3, 1).split(at_once), strict=True)):
        dw.addmm_(grads.reshape(-1, out_channels).T, some.reshape(-1, length), beta=int(i > 0))
    return dw.view(out_channels, height, width, in_channels).permute(0, 3, 1, 2)


def _patches(x: Tensor, kernels: torch.Size, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    """A view of the padded input with the patch of each place: (N, H', W', h, w, C)."""
    _, channels, height, width = kernels
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0]))
    down, across = ((padded.shape[1 + i] - kernels[2 + i]) // stride[i] + 1 for i in range(2))
    image, row, column, channel = padded.stride()
    return padded.as_strided(
        (len(x), down, across, height, width, channels),
        (image, row * stride[0], column * stride[1], row, column, channel),
    )


def _as_matrix(weight: Tensor) -> Tensor:
    """A row for each kernel, in the order of a patch: (K, h * w * C). A view, if the memory is channels-last."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)
