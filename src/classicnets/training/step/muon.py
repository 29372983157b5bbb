"""Muon: momentum whose directions all count alike (Jordan et al. 2024, kellerjordan.github.io/posts/muon)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Muon(torch.optim.Optimizer):
    """Muon for the groups with `orthogonal`, kernels of two or more dimensions; AdamW for the others.

    A kernel is taken as the matrix (out, in * k * k). Its update has the size of AdamW's (Liu et al. 2025,
    arXiv:2502.16982, Sec. 2.2), so that one learning rate and one decoupled weight decay serve both.
    """

    def __init__(self, groups: list[dict[str, Any]], *, lr: float, momentum: float, nesterov: bool) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "nesterov": nesterov})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    move = _move_kernel if group["orthogonal"] else _move_as_adam
                    move(parameter, parameter.grad, self.state[parameter], group)


def _move_kernel(kernel: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    if not state:
        state |= {"mean": torch.zeros_like(kernel)}
    mean = state["mean"].lerp_(gradient, 1 - group["momentum"])
    direction = gradient.lerp(mean, group["momentum"]) if group["nesterov"] else mean
    matrix = orthogonalized(direction.flatten(1))
    kernel.add_(matrix.reshape(kernel.shape), alpha=-0.2 * max(matrix.shape) ** 0.5 * group["lr"])


def _move_as_adam(parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    if not state:
        state |= {"mean": torch.zeros_like(parameter), "square": torch.zeros_like(parameter), "steps": 0}
    state["steps"] += 1
    mean = state["mean"].lerp_(gradient, 1 - group["momentum"])
    square = state["square"].lerp_(gradient.square(), 1 - 0.999)
    deviation = (square / (1 - 0.999 ** state["steps"])).sqrt_().add_(1e-8)
    parameter.addcdiv_(mean, deviation, value=-group["lr"] / (1 - group["momentum"] ** state["steps"]))


def orthogonalized(matrix: Tensor) -> Tensor:
    """About U V^T of the matrix U S V^T: its singular values brought to about 1, by five Newton-Schulz iterations.

    The quintic is Jordan's: it does not converge, but takes every singular value above 0.01 of the norm to 0.7..1.2.
    Each iteration multiplies the matrix by a polynomial of its small square x x^T, and polynomials commute: iterating
    on the square, and multiplying the matrix once, is the same product with a third of the work and less.
    """
    wide = matrix.shape[0] <= matrix.shape[1]
    x: Tensor = matrix if wide else matrix.T
    x = x / (x.norm() + 1e-7)
    square = x @ x.T
    factor = product = _quintic(square)
    for _ in range(4):
        square = factor @ square @ factor
        factor = _quintic(square)
        product = factor @ product
    x = product @ x
    return x if wide else x.T


def _quintic(square: Tensor) -> Tensor:
    """What x is multiplied by: 3.4445 - 4.7750 s + 2.0315 s^2, of the square s."""
    factor = torch.addmm(square, square, square, beta=-4.7750, alpha=2.0315)
    factor.diagonal().add_(3.4445)
    return factor
