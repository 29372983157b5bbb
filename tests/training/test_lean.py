"""Wide linear layers in bf16: autocast's numbers, without its second gradient."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from classicnets.training.lean import WIDE, replaced_forwards, wide_linears


class Largest(TorchDispatchMode):
    """The number of elements of the largest bf16 tensor that an operation put out."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if isinstance(output, torch.Tensor) and output.dtype is torch.bfloat16:
            self.elements = max(self.elements, output.numel())
        return output


def head(*, bias=True):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2048, 1024, bias=bias), nn.ReLU(), nn.Linear(1024, 10))


def trained(net, forwards, *, autocast=True):
    """The output and all gradients, the input's first, of one pass; and the largest bf16 tensor on the way back."""
    x = torch.randn(8, 2048, generator=torch.Generator().manual_seed(1)).requires_grad_()
    with replaced_forwards(forwards), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = net(x)
    with Largest() as largest:
        y.float().square().mean().backward()
    return y, [x.grad, *(p.grad for p in net.parameters())], largest.elements


@pytest.mark.parametrize("bias", [True, False])
def test_the_numbers_are_autocasts_to_the_bit(bias):
    output, gradients, _ = trained(head(bias=bias), {})
    net = head(bias=bias)
    again, same, _ = trained(net, wide_linears(net))
    assert torch.equal(output, again)
    assert all(torch.equal(a, b) and a.dtype is b.dtype for a, b in zip(gradients, same, strict=True))


def test_no_bf16_gradient_is_as_large_as_the_weight():
    net = head()
    assert trained(net, {})[2] == net[0].weight.numel()
    net = head()
    assert trained(net, wide_linears(net))[2] <= net[0].weight.numel() // 2


def test_narrow_layers_other_arithmetic_and_what_comes_after_are_pytorchs_own():
    net = head()
    forwards = wide_linears(net)
    assert list(forwards) == [net[0]]
    assert net[0].weight.numel() >= WIDE > net[2].weight.numel()
    _, gradients, _ = trained(net, forwards, autocast=False)
    _, plain, _ = trained(head(), {}, autocast=False)
    assert all(map(torch.equal, gradients, plain))
    assert "forward" not in vars(net[0])
