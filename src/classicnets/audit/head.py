"""A classifier on features: multinomial logistic regression with an L2 penalty, fitted with LBFGS."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_WORK, _FEWEST_STEPS = 1e13, 10  # arithmetic operations of a fit: fewer steps for 10,000 classes
_ROWS = 2_000_000  # logits that are computed at a time: with many classes, few images


@dataclass(frozen=True, eq=False)
class Head:
    """A linear classifier of K classes on D standardised features.

    Attributes:
        mean, std: of the features that it was fitted to, float32 (D,).
        weight: float32 (D, K).
        bias: float32 (K,).
    """

    mean: Tensor
    std: Tensor
    weight: Tensor
    bias: Tensor

    def probabilities(self, features: Tensor) -> Tensor:
        """Return the probability of each class, float32 (N, K), for features (N, D).

        >>> fit_head(features, labels, 10).probabilities(features).sum(1)  # doctest: +SKIP
        tensor([1., 1., 1.])
        """
        out = torch.empty(len(features), len(self.bias))
        for rows in _chunks(len(features), len(self.bias)):
            out[rows] = (((features[rows] - self.mean) / self.std) @ self.weight + self.bias).softmax(dim=1)
        return out


def fit_head(features: Tensor, labels: Tensor, num_classes: int, *, l2: float = 20.0, steps: int = 100) -> Head:
    """Fit a multinomial logistic regression to features.

    It minimises the sum of the cross-entropies plus l2 / 2 times the squared weights, from zero weights, so the result
    is a function of its arguments. The features are standardised first; the bias has no penalty.

    Args:
        features: float32 (N, D), N is 1 or more.
        labels: int64 (N,), values from 0 to `num_classes` - 1. A class may have no image.
        num_classes: K.
        l2: the strength of the penalty, above 0.
        steps: at most so many steps of LBFGS; fewer if there are very many images and classes.

    >>> fit_head(torch.eye(3), torch.arange(3), 3).probabilities(torch.eye(3)).argmax(1)
    tensor([0, 1, 2])
    """
    mean = features.mean(dim=0)
    std = (features - mean).square().mean(dim=0).sqrt()
    std = torch.where(
        std > 1e-6 * mean.abs().clamp(min=1e-6), std, torch.ones_like(std)
    )  # a constant feature says nothing
    inputs = (features - mean) / std
    number, width = inputs.shape
    weight = torch.zeros(width, num_classes, requires_grad=True)
    bias = torch.zeros(num_classes, requires_grad=True)
    steps = min(steps, max(_FEWEST_STEPS, int(_WORK / (4 * number * width * num_classes))))
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=steps, history_size=10, tolerance_grad=1e-5, line_search_fn="strong_wolfe"
    )

    @torch.no_grad()
    def loss() -> Tensor:
        """Return the mean loss, and set its gradient; by hand, so that few logits are held at a time."""
        penalty = l2 / number
        total = penalty / 2 * weight.square().sum()
        weight.grad, bias.grad = penalty * weight, torch.zeros_like(bias)
        for rows in _chunks(number, num_classes):
            logs = (inputs[rows] @ weight + bias).log_softmax(dim=1)
            given = labels[rows, None]
            total -= logs.gather(1, given).sum() / number
            error = logs.exp_().scatter_add_(1, given, -torch.ones_like(given, dtype=logs.dtype)) / number
            weight.grad += inputs[rows].T @ error
            bias.grad += error.sum(dim=0)
        return total

    optimizer.step(loss)
    return Head(mean, std, weight.detach(), bias.detach())


def _chunks(number: int, num_classes: int) -> list[slice]:
    size = max(1, _ROWS // num_classes)
    return [slice(start, start + size) for start in range(0, number, size)]
