"""Muon: SGD momentum with orthogonalised updates (Jordan et al. 2024, kellerjordan.github.io/posts/muon)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from classicnets.training.step.uncompiled import Uncompiled


class Muon(Uncompiled):
    """Muon for kernels, and AdamW for all other parameters.

    A kernel is reshaped to the matrix (out, in * k * k). Its update is scaled to the size of AdamW's (Liu et al. 2025,
    arXiv:2502.16982, Sec. 2.2), so one learning rate and one decoupled weight decay serve both.

    Args:
        groups: parameter groups with `params`, `weight_decay` and `orthogonal`: True for kernels of two or more
            dimensions, which Muon updates; False for AdamW.
        lr: the learning rate, above 0.
        momentum: momentum of Muon and first beta of AdamW, 0..1.
        nesterov: whether Muon uses Nesterov momentum.

    >>> Muon([{"params": [kernel], "weight_decay": 0.1, "orthogonal": True}], lr=0.01, momentum=0.9, nesterov=True)
    """

    def __init__(self, groups: list[dict[str, Any]], *, lr: float, momentum: float, nesterov: bool) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "nesterov": nesterov})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter with a gradient, unless `found_inf` is 1; see `skipping`. `closure` is not used."""
        skip: Tensor | None = getattr(self, "found_inf", None)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    with _undone(skip, parameter, self.state[parameter]):
                        parameter.mul_(1 - group["lr"] * group["weight_decay"])
                        move = _move_kernel if group["orthogonal"] else _move_as_adam
                        move(parameter, parameter.grad, self.state[parameter], group)


@contextmanager
def _undone(skip: Tensor | None, parameter: Tensor, state: dict[str, Any]) -> Iterator[None]:
    """Undo at the end, on the device, what the block does to a parameter and its state, if `skip` is 1."""
    if skip is None:
        yield
        return
    before = parameter.clone(), {name: value.clone() for name, value in state.items() if isinstance(value, Tensor)}
    yield
    parameter.copy_(torch.where(skip > 0, before[0], parameter))
    for name, value in state.items():
        if isinstance(value, Tensor):
            old = before[1].get(name, torch.zeros_like(value))  # the first step creates the state as zeros
            value.copy_(torch.where(skip > 0, old, value))


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
    """Return approximately U V^T for the matrix U S V^T, by five Newton-Schulz iterations.

    Jordan's quintic does not converge. It moves every singular value above 0.01 of the norm to 0.7..1.2.

    Each iteration multiplies the matrix by a polynomial in x x^T. Such polynomials commute, so it is enough to iterate
    on the small square x x^T and to multiply the matrix once, with at most a third of the work.

    Args:
        matrix: floats (M, N).

    Returns:
        A new matrix (M, N).
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
    """Return the factor on x, 3.4445 - 4.7750 s + 2.0315 s^2, for the square s = x x^T."""
    factor = torch.addmm(square, square, square, beta=-4.7750, alpha=2.0315)
    factor.diagonal().add_(3.4445)
    return factor
