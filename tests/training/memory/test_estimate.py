"""What a training will ask for is estimated rather too high, and not by much."""

import pytest
import torch
import torch.nn.functional as F

from classicnets.models.catalog import create
from classicnets.training.memory.estimate import still_needed
from smaller import switches


@pytest.mark.parametrize("name", ["vgg11_cifar", "resnet18_cifar", "densenet40_k12_cifar", "googlenet_cifar"])
def test_the_estimate_covers_what_the_backward_pass_keeps(name):
    model = create(name, **switches(name))
    size, batch = 32, 8
    kept: dict[int, int] = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = F.cross_entropy(model(torch.rand(batch, 3, size, size)), torch.zeros(batch, dtype=torch.long))
        gradients = sum(4 * parameter.numel() for parameter in model.parameters())
        needed = still_needed(model, torch.float32, (size, size), batch, batch)
        assert sum(kept.values()) + gradients < needed < 6 * (sum(kept.values()) + gradients)
    loss.backward()


def test_half_precision_and_parts_of_a_batch_need_less():
    model = create("resnet20_cifar")
    whole = still_needed(model, torch.float32, (32, 32), 128, 128)
    assert still_needed(model, torch.bfloat16, (32, 32), 128, 128) < 0.6 * whole
    assert still_needed(model, torch.float32, (32, 32), 128, 32) < 0.4 * whole
