"""Local response normalisation, against its formula and against PyTorch's, whose alpha is divided by the size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from classicnets.models.blocks import LocalResponseNorm


def noise(*shape: int) -> Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_it_is_the_formula_of_the_paper() -> None:
    x = noise(1, 7, 1, 1)
    values = x.flatten().tolist()
    expected = [
        value / (2.0 + 1e-2 * sum(v * v for v in values[max(0, i - 2) : i + 3])) ** 0.75
        for i, value in enumerate(values)
    ]
    result = LocalResponseNorm(size=5, alpha=1e-2, beta=0.75, k=2.0)(x).flatten()
    torch.testing.assert_close(result, torch.tensor(expected))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [1, 4, 96])
def test_it_equals_pytorchs_with_alpha_times_size(channels: int, layout: torch.memory_format) -> None:
    x = noise(2, channels, 5, 3).contiguous(memory_format=layout).requires_grad_()
    ours = LocalResponseNorm(size=5, alpha=1e-3, beta=0.75, k=2.0)(x)
    theirs = nn.LocalResponseNorm(size=5, alpha=5e-3, beta=0.75, k=2.0)(x)
    torch.testing.assert_close(ours, theirs)
    weight = noise(*x.shape)
    (gradient,) = torch.autograd.grad((ours * weight).sum(), x)
    (expected,) = torch.autograd.grad((theirs * weight).sum(), x)
    torch.testing.assert_close(gradient, expected)


def test_it_keeps_the_memory_layout() -> None:
    x = noise(2, 8, 5, 3).contiguous(memory_format=torch.channels_last)
    assert LocalResponseNorm()(x).is_contiguous(memory_format=torch.channels_last)


def test_it_takes_bfloat16_which_pytorchs_refuses_on_a_cpu() -> None:
    x = noise(2, 8, 5, 3)
    result = LocalResponseNorm(alpha=1e-2)(x.bfloat16())
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.float(), LocalResponseNorm(alpha=1e-2)(x), rtol=0.02, atol=0.02)


def test_it_runs_under_autocast() -> None:
    x = noise(2, 8, 5, 3)
    with torch.autocast("cpu", torch.bfloat16):
        result = LocalResponseNorm(alpha=1e-2)(x)
    torch.testing.assert_close(result.float(), LocalResponseNorm(alpha=1e-2)(x), rtol=0.02, atol=0.02)


def test_it_exports_for_any_batch_and_size() -> None:
    norm = LocalResponseNorm(alpha=1e-2)
    dim = torch.export.Dim.DYNAMIC
    exported = torch.export.export(norm, (noise(2, 8, 5, 4),), dynamic_shapes=({0: dim, 2: dim, 3: dim},)).module()
    x = noise(3, 8, 6, 7)
    torch.testing.assert_close(exported(x), norm(x))
