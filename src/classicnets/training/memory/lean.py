"""Layers that train in less memory on a CPU and compute the same bits as PyTorch's own layers.

Wide linear layers. In AlexNet and VGG, fc6 and fc7 hold nearly all weights, and every step needs a gradient of the
same size. These layers reuse the gradient's memory in the next step. In bf16, the same memory holds the bf16 copy of
the weights between two gradients. Autocast needs extra memory for that copy and for a bf16 gradient.

ReLU. It overwrites its input. No layer of these networks needs that input for its gradient.

Max pooling in fp32. PyTorch stores the place of each maximum as a 64-bit number. These layers find the maximum again
in the backward pass, from the input, which the ReLU before it keeps anyway. In bf16 a step is much faster, and the
search would cost more time than the memory is worth.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from classicnets.system.memory import LARGE, give_memory_back

WIDE = 1 << 20
"""A linear layer with at least this many weights is wide. Its gradient takes 4 MiB or more."""

_SLICE = 1 << 20
"""The bf16 gradient is computed for this many weights at a time, so that it stays in the processor's cache."""


@contextmanager
def replaced_forwards(forwards: dict[nn.Module, Any]) -> Iterator[None]:
    """Inside the block, each module uses the given function as its `forward`. Names, state and types stay the same."""
    for module, forward in forwards.items():
        vars(module)["forward"] = forward
    try:
        yield
    finally:
        for module in forwards:
            del vars(module)["forward"]


class Lean:
    """The lean layers of a model: `forwards`, for `replaced_forwards` around a training pass, and reused gradients.

    The gradient of a wide weight belongs to the parameter, or it waits here for the next step.
    """

    def __init__(self, model: nn.Module) -> None:
        self.forwards: dict[nn.Module, Any] = {}
        self._wide: list[Tensor] = []
        self._waiting: dict[Tensor, Tensor] = {}
        for module in model.modules():
            if isinstance(module, nn.Linear) and module.weight.numel() >= WIDE:
                self.forwards[module] = partial(_linear, module, self._waiting)
                if _learns_on_cpu(module.weight):
                    self._wide.append(module.weight)
                    self._waiting[module.weight] = torch.empty_like(module.weight)
            elif isinstance(module, nn.ReLU):
                self.forwards[module] = partial(_relu, module)
            elif isinstance(module, nn.MaxPool2d) and not module.return_indices:
                self.forwards[module] = partial(_max_pool, module)

    def reclaim(self) -> None:
        """Take back the gradients of the wide weights after the optimizer has used them."""
        for weight in self._wide:
            if weight.grad is not None:
                self._waiting[weight], weight.grad = weight.grad, None


def _learns_on_cpu(weight: Tensor) -> bool:
    return weight.requires_grad and weight.device.type == "cpu"


def _linear(layer: nn.Linear, waiting: dict[Tensor, Tensor], x: Tensor) -> Tensor:
    if not _learns_on_cpu(layer.weight) or x.ndim != 2:
        return nn.Linear.forward(layer, x)
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else layer.weight.dtype
    gradient = waiting.pop(layer.weight, None)
    if gradient is None:
        gradient = torch.empty_like(layer.weight)
    output: Tensor = _WideLinear.apply(x, layer.weight, layer.bias, dtype, gradient)
    return output


class _WideLinear(torch.autograd.Function):
    """x (N, in), weight (out, in), bias (out,) or None -> (N, out) of `dtype`.

    `gradient` has the shape of `weight` and any content. It becomes the weight's gradient, so backward runs only once.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, gradient: Tensor
    ) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            x_copy, copy = x.to(dtype), weight
            if dtype is not weight.dtype:
                copy = gradient.view(dtype).flatten()[: weight.numel()].view_as(weight).copy_(weight)
            ctx.save_for_backward(x_copy, weight)
            ctx.copy, ctx.gradient, ctx.x_type = copy, gradient, x.dtype
            return F.linear(x_copy, copy, None if bias is None else bias.to(dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        dx = (dy @ ctx.copy).to(ctx.x_type) if ctx.needs_input_grad[0] else None
        dw = ctx.gradient
        del ctx.copy, ctx.gradient  # the copy is overwritten; autograd takes over a tensor without other references
        if dy.dtype is dw.dtype:
            torch.mm(dy.T, x, out=dw)
        else:
            rows = max(1, _SLICE // x.shape[1])
            for part, columns in zip(dw.split(rows), dy.split(rows, dim=1), strict=True):
                part.copy_(columns.T @ x)
        db = dy.sum(0).to(weight.dtype) if ctx.needs_input_grad[2] else None
        return dx, dw, db, None, None


def _relu(layer: nn.ReLU, x: Tensor) -> Tensor:
    output: Tensor = nn.ReLU.forward(layer, x) if x.is_leaf else F.relu_(x)
    return output


def _max_pool(layer: nn.MaxPool2d, x: Tensor) -> Tensor:
    output: Tensor
    if x.device.type == "cpu" and x.dtype is torch.float32 and x.requires_grad:
        settings = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode)
        output = _MaxPool.apply(x, settings)
    else:
        output = nn.MaxPool2d.forward(layer, x)
    return output


class _MaxPool(torch.autograd.Function):
    """x (N, C, H, W) -> (N, C, H', W'), with the `settings` of `F.max_pool2d`. Only x is kept for backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, settings: tuple[Any, ...]) -> Tensor:
        ctx.save_for_backward(x)
        ctx.settings = settings
        y: Tensor = F.max_pool2d(x, *settings)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        if x.nbytes > 2 * LARGE:
            give_memory_back()  # freed by the later layers, in pieces that are too small for the earlier ones
        _, places = torch.ops.aten.max_pool2d_with_indices(x, *ctx.settings)
        dx: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(dy, x, *ctx.settings, places)
        return dx, None
