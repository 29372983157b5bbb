"""Batch norm and dropout over the whole batch, although a forward pass sees only a part of it.

A batch is processed in parts: one or more in each process. Batch norm uses the statistics of the parts that all
processes compute at the same time. Dropout draws for the whole batch and uses the values of its own part. So the
number of processes does not change the result, except for rounding. For dropout, neither does the number of parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from classicnets.data.pipeline.loader import Shard
from classicnets.training.memory.lean import replaced_forwards

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d


@contextmanager
def whole_batch(model: nn.Module, part: Shard, size: int, *, processes: int) -> Iterator[None]:
    """Inside the block, a training pass over one part of a batch gives the same results as over the whole batch.

    Only the layers' `forward` is replaced. Their names, state and types stay the same.

    Args:
        model: the network; only batch norm and dropout are changed.
        part: which part of the batch the pass sees. With one part, dropout is unchanged.
        size: the number of images in the whole batch.
        processes: the number of processes. With one process, batch norm is unchanged.
    """
    forwards: dict[nn.Module, Any] = {}
    for module in model.modules():
        if isinstance(module, BatchNorm) and processes > 1:
            forwards[module] = partial(_batch_norm, module, processes)
        elif isinstance(module, nn.Dropout) and part.world > 1:
            forwards[module] = partial(_dropout, module, part.of(size), size)
    with replaced_forwards(forwards):
        yield


def _dropout(layer: nn.Dropout, here: slice, size: int, x: Tensor) -> Tensor:
    if not layer.training or layer.p == 0:
        return x
    lies = torch.channels_last if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) else None
    ones = torch.empty(
        (size, *x.shape[1:]), dtype=x.dtype, device=x.device, memory_format=lies or torch.contiguous_format
    ).fill_(1)
    return x * F.dropout(ones, layer.p)[here]


def _batch_norm(layer: BatchNorm, processes: int, x: Tensor) -> Tensor:
    if not layer.training:
        return type(layer).forward(layer, x)
    y, mean, var, count = _BatchNorm.apply(x, layer.weight, layer.bias, layer.eps, processes)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    assert layer.momentum is not None
    with torch.no_grad():
        layer.running_mean.lerp_(mean, layer.momentum)
        layer.running_var.lerp_(var * (count / (count - 1)), layer.momentum)
        if layer.num_batches_tracked is not None:
            layer.num_batches_tracked.add_(1)
    output: Tensor = y
    return output


class _BatchNorm(torch.autograd.Function):
    """Batch norm over all processes: (N, C, ...) -> (N, C, ...), and its mean (C,), variance (C,) and count ().

    It computes what torch's SyncBatchNorm does, which does not support CPU tensors. Forward, one collective merges
    the processes' means and variances; E[x^2] - E[x]^2 would lose digits. Backward, one adds up two sums.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, processes: int) -> tuple[Tensor, ...]:
        unused = weight.detach().clone()  # with running statistics in fp32, the result is fp32 for any type of x
        mean, var = torch.batch_norm_update_stats(x, unused, unused.clone(), 0.0)
        ours = torch.cat([mean, var, mean.new_full((1,), x.numel() / x.shape[1])])
        all_ = [torch.empty_like(ours) for _ in range(processes)]
        dist.all_gather(all_, ours)
        means, variances, counts = torch.stack(all_).split([len(mean), len(mean), 1], dim=1)
        count = counts.sum()
        mean = (counts * means).sum(0) / count
        var = (counts * (variances + (means - mean).square())).sum(0) / count
        ctx.save_for_backward(x, weight, mean, var, count)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, var, count)
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps), mean, var, count

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """dx = w / std * (dy - mean(dy) - x^ mean(dy x^)). x^ is the normalised x; means are over all processes."""
        x, weight, mean, var, count = ctx.saved_tensors
        dx, dw, db = torch.ops.aten.native_batch_norm_backward(
            grads[0], x, weight, mean, var, mean, var, False, ctx.eps, [True, True, True]
        )
        sums = torch.cat([dw, db])
        dist.all_reduce(sums)
        scale = -weight * (var + ctx.eps).rsqrt() / count
        dw_all, db_all = sums.split(len(weight))
        dx = dx + F.batch_norm(x, mean, var, scale * dw_all, scale * db_all, False, 0.0, ctx.eps)
        return dx, dw, db, None, None
