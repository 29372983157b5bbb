"""Muon turns a kernel's gradient into a step whose singular values are about equal, and leaves the rest to AdamW."""

import pytest
import torch

from classicnets.models.catalog import create
from classicnets.training.recipe.schema import FinetuneSection, OptimSection
from classicnets.training.step.muon import Muon, orthogonalized
from classicnets.training.step.optimizer import make_optimizer

MUON = OptimSection(name="muon", lr=0.01, weight_decay=0.05)


@pytest.mark.parametrize("shape", [(8, 72), (72, 8), (16, 16)])
def test_singular_values_become_about_equal_and_the_directions_stay(shape):
    u, _, v = torch.linalg.svd(torch.randn(*shape, generator=torch.Generator().manual_seed(0)), full_matrices=False)
    values = torch.linspace(10, 0.2, min(shape))
    after = u.T @ orthogonalized(u @ values.diag() @ v) @ v.T
    assert torch.allclose(after, after.diag().diag(), atol=1e-3)
    assert 0.6 < after.diag().min() < after.diag().max() < 1.25


@pytest.mark.parametrize("shape", [(8, 72), (72, 8), (64, 576)])
def test_iterating_on_the_square_is_iterating_on_the_matrix(shape):
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    x = matrix / matrix.norm()
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x - 4.7750 * square @ x + 2.0315 * square @ square @ x
    torch.testing.assert_close(orthogonalized(matrix), x, atol=1e-4, rtol=1e-4)


def test_a_kernels_step_is_as_large_as_adams():
    kernel = torch.nn.Parameter(torch.zeros(32, 16, 3, 3).to(memory_format=torch.channels_last))
    kernel.grad = torch.randn(32, 16, 3, 3, generator=torch.Generator().manual_seed(0))
    group = {"params": [kernel], "weight_decay": 0.0, "orthogonal": True}
    Muon([group], lr=0.1, momentum=0.9, nesterov=True).step()
    assert 0.01 < kernel.square().mean().sqrt() < 0.025  # 0.2 of the learning rate, as Liu et al. measured of AdamW


@pytest.mark.parametrize("steps", [1, 4])
def test_the_rest_moves_as_with_adamw(steps):
    one, other = (torch.nn.Parameter(torch.arange(4.0)) for _ in range(2))
    muon = Muon([{"params": [one], "weight_decay": 0.1, "orthogonal": False}], lr=0.1, momentum=0.9, nesterov=True)
    adamw = torch.optim.AdamW([other], lr=0.1, betas=(0.9, 0.999), weight_decay=0.1)
    for step in range(steps):
        for parameter, optimizer in ((one, muon), (other, adamw)):
            parameter.grad = torch.tensor([1.0, -2.0, 0.5, 0.0]) * (step + 1)
            optimizer.step()
    assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("finetune", [FinetuneSection(), FinetuneSection(layer_decay=0.5)])
def test_kernels_of_the_trunk_are_muons_and_all_parameters_are_somebodys(finetune):
    model = create("resnet20_cifar")
    groups = make_optimizer(model, MUON, finetune).param_groups
    kernels = {p for group in groups if group["orthogonal"] for p in group["params"]}
    assert kernels == {p for p in model.trunk.parameters() if p.ndim > 1}
    held = [p for group in groups for p in group["params"]]
    assert len(held) == len(set(held)) == len(list(model.parameters()))
    assert {group["weight_decay"] for group in groups if group["params"][0].ndim > 1} == {0.05}
    assert {group["weight_decay"] for group in groups if group["params"][0].ndim == 1} == {0.0}
