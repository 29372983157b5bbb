"""What several processes do with NCCL, in one process: sums, gradients and batch norm stay on the GPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from classicnets.data import Data
from classicnets.training.recipe.schema import Recipe
from classicnets.training.scale.processes import Group
from classicnets.training.scale.whole_batch import _BatchNorm
from classicnets.training.step.loop import train_step
from trainings import SmallTraining

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def group() -> Iterator[Group]:
    torch.cuda.set_device(0)
    dist.init_process_group("cpu:gloo,cuda:nccl", store=dist.HashStore(), rank=0, world_size=1)
    yield Group(0, 1)
    dist.destroy_process_group()


def test_sums_stay_on_the_gpu(group: Group, gpu: str) -> None:
    values = group.summed(torch.tensor([1.5, 2.0], dtype=torch.float64, device=gpu))
    assert values.device.type == "cuda"
    assert values.tolist() == [1.5, 2.0]
    assert group.largest(3) == 3
    assert group.on_main(lambda: "said") == "said"


def test_a_step_with_averaged_gradients_is_a_step_without(
    group: Group, gpu: str, corners: Data, recipe: Recipe
) -> None:
    alone, averaged = SmallTraining(corners, recipe, gpu), SmallTraining(corners, recipe, gpu)
    batch = next(iter(alone.session.loader.batches(0)))
    objective = group.parallel(averaged.session.objective(averaged.state.model))
    losses = [
        train_step(alone.session, alone.state, batch, 0.01),
        train_step(averaged.session, averaged.state, batch, 0.01, objective),
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    weights = [training.state.model.head.classifier.weight for training in (alone, averaged)]
    torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_batch_norm_over_processes_is_batch_norm(group: Group, gpu: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 5, 4, 4, device=gpu, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()
    layer = nn.BatchNorm2d(5).to(gpu)
    ours, mean, var, count = _BatchNorm.apply(x, layer.weight, layer.bias, layer.eps, 1)
    theirs = F.batch_norm(x, None, None, layer.weight, layer.bias, True, 0.0, layer.eps)
    atol = 1e-5 if dtype is torch.float32 else 5e-3
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=atol)
    seed = torch.randn_like(theirs)
    (a,), (b,) = torch.autograd.grad(ours, x, seed), torch.autograd.grad(theirs, x, seed)
    torch.testing.assert_close(a, b, rtol=1e-2, atol=10 * atol)
    assert count.item() == 6 * 16
    torch.testing.assert_close(mean, x.float().mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(var, x.float().var((0, 2, 3), correction=0), rtol=1e-3, atol=1e-3)
