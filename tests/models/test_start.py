"""A network that was built on the meta device gets memory as PyTorch's `to_empty` gives it."""

from __future__ import annotations

import pytest

from classicnets.models.catalog import CATALOG, create
from classicnets.models.start import allocate


@pytest.mark.parametrize("name", ["alexnet", "vgg11_bn", "googlenet", "resnet20_cifar", "densenet121"])
def test_every_tensor_gets_memory_of_its_shape_type_and_kind(name: str) -> None:
    assert name in CATALOG
    model, reference = create(name, device="meta"), create(name, device="meta").to_empty(device="cpu")
    model.head.requires_grad_(False)
    reference.head.requires_grad_(False)
    allocate(model)
    assert list(model.state_dict()) == list(reference.state_dict())
    for ours, theirs in (
        (dict(model.named_parameters()), dict(reference.named_parameters())),
        (dict(model.named_buffers()), dict(reference.named_buffers())),
    ):
        assert ours.keys() == theirs.keys()
        for key, tensor in ours.items():
            other = theirs[key]
            assert (tensor.device.type, tensor.dtype, tensor.shape) == ("cpu", other.dtype, other.shape)
            assert (type(tensor), tensor.requires_grad, tensor.stride()) == (
                type(other), other.requires_grad, other.stride()
            )  # fmt: skip
