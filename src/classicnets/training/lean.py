"""Wide linear layers that train in less memory, and no slower, where the arithmetic is bf16 and the weights are fp32.

Autocast keeps a bf16 copy of every weight until the pass is over, and makes a whole bf16 gradient before the fp32
one. In AlexNet and VGG, whose weights are nearly all in fc6 and fc7, that is more than bf16 activations save. Here
the copy goes as soon as the gradient of the input is known, and the weight's gradient becomes fp32 by slices.
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

WIDE = 1 << 20
"""Weights from which a layer is worth it: 2 MiB of copy."""

_SLICE = 1 << 20
"""Weights of which the bf16 gradient exists at a time: it stays in a processor's cache."""


@contextmanager
def replaced_forwards(forwards: dict[nn.Module, Any]) -> Iterator[None]:
    """Within, each module computes by its function here; names, state and type stay."""
    for module, forward in forwards.items():
        vars(module)["forward"] = forward
    try:
        yield
    finally:
        for module in forwards:
            del vars(module)["forward"]


def wide_linears(model: nn.Module) -> dict[nn.Module, Any]:
    """The other `forward` of every wide linear layer of the model: for `replaced_forwards` around a training pass."""
    wide = [m for m in model.modules() if isinstance(m, nn.Linear) and m.weight.numel() >= WIDE]
    return {module: partial(_forward, module) for module in wide}


def _forward(layer: nn.Linear, x: Tensor) -> Tensor:
    kind = x.device.type
    if kind != "cpu" or not torch.is_autocast_enabled(kind) or not layer.weight.requires_grad or x.ndim != 2:
        return nn.Linear.forward(layer, x)
    output: Tensor = _WideLinear.apply(x, layer.weight, layer.bias, torch.get_autocast_dtype(kind))
    return output


class _WideLinear(torch.autograd.Function):
    """x (N, in), weight (out, in), bias (out,) or None -> (N, out) of `dtype`; the weight's gradient is its own type.

    The same numbers as autocast's. It can be run backward once.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x_copy, copy = x.to(dtype), weight.to(dtype)
            ctx.save_for_backward(x_copy)
            ctx.copy, ctx.types = copy, (x.dtype, weight.dtype)
            return F.linear(x_copy, copy, None if bias is None else bias.to(dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        x_type, weight_type = ctx.types
        dx = (dy @ ctx.copy).to(x_type) if ctx.needs_input_grad[0] else None
        del ctx.copy
        dw = torch.empty(dy.shape[1], x.shape[1], dtype=weight_type, device=x.device)
        rows = max(1, _SLICE // x.shape[1])
        for part, columns in zip(dw.split(rows), dy.split(rows, dim=1), strict=True):
            part.copy_(columns.T @ x)
        db = dy.sum(0).to(weight_type) if ctx.needs_input_grad[2] else None
        return dx, dw, db, None
