"""Checkpointing: keep less from the forward pass, and compute it again in the backward pass (arXiv:1604.06174)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, fx, nn
from torch.utils.checkpoint import checkpoint


class Blocks(nn.Sequential):
    """A stage made of blocks in a row. Checkpointing recomputes it in groups of blocks instead of as a whole."""


def recomputes(module: nn.Module, x: Tensor) -> bool:
    """Whether checkpointing has something to save: in training mode, with gradients, and not while torch.fx traces."""
    return module.training and torch.is_grad_enabled() and not is_fx_proxy(x)


def is_fx_proxy(x: object) -> bool:
    """Whether torch.fx is tracing the network: `x` then stands for a tensor and has no shape."""
    return isinstance(x, fx.Proxy)


def recomputed(module: nn.Module, *inputs: Tensor) -> Tensor:
    """Return `module(*inputs)` and keep only the inputs; the backward pass computes the rest again (arXiv:1604.06174).

    Outputs, gradients and batch-norm statistics equal those of a plain call. `inputs` are tensors (N, C, H, W).

    >>> recomputed(nn.ReLU(), torch.tensor([-1.0, 1.0]))
    tensor([0., 1.])
    """
    output: Tensor
    if torch.compiler.is_compiling():  # a compiled graph updates the statistics once, however often it computes
        output = checkpoint(module, *inputs, use_reentrant=False)
    else:
        output = checkpoint(
            module, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), _statistics_kept(module))
        )
    return output


def parts(stage: nn.Module) -> Iterator[nn.Module]:
    """Yield what is recomputed at a time: groups of about sqrt(n) / 2 of n blocks, or any other stage as a whole.

    A group keeps one input during the forward pass, and about four times as much per block while it is recomputed.
    """
    if not isinstance(stage, Blocks):
        yield stage
        return
    size = max(1, math.isqrt(len(stage)) // 2)
    for start in range(0, len(stage), size):
        yield stage[start : start + size]


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Keep training passes from changing the running statistics: recomputing must not count a batch twice."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
