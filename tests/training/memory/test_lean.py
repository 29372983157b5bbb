"""Lean layers: PyTorch's numbers, to the bit, in less memory."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from classicnets.training.memory.lean import WIDE, Lean, replaced_forwards


class Largest(TorchDispatchMode):
    """The number of elements of the largest bf16 tensor that an operation made room for."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        before = {t.untyped_storage().data_ptr() for t in args if isinstance(t, torch.Tensor)}
        outputs = func(*args, **(kwargs or {}))
        for output in outputs if isinstance(outputs, tuple) else (outputs,):
            bf16 = isinstance(output, torch.Tensor) and output.dtype is torch.bfloat16
            if bf16 and output.untyped_storage().data_ptr() not in before:
                self.elements = max(self.elements, output.numel())
        return outputs


def head(*, bias=True):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2048, 1024, bias=bias), nn.ReLU(), nn.Linear(1024, 10))


def trunk():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(8, 8, 3), nn.ReLU(), nn.MaxPool2d((2, 3), stride=1, padding=1), nn.Flatten(),
    )  # fmt: skip


def trained(net, shape, forwards, *, bf16=False):
    """The output of one pass, and all gradients, the input's first."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
    with replaced_forwards(forwards), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        y = net(x)
    y.float().square().mean().backward()
    return [y, x.grad, *(p.grad for p in net.parameters())]


@pytest.mark.parametrize("bf16", [True, False])
@pytest.mark.parametrize(
    ("make", "shape"),
    [(head, (8, 2048)), (lambda: head(bias=False), (8, 2048)), (trunk, (4, 3, 17, 21))],
    ids=["head", "without bias", "trunk"],
)
def test_the_numbers_are_pytorchs_to_the_bit(make, shape, bf16):
    plain = trained(make(), shape, {}, bf16=bf16)
    net = make()
    lean = trained(net, shape, Lean(net).forwards, bf16=bf16)
    assert all(torch.equal(a, b) and a.dtype is b.dtype for a, b in zip(plain, lean, strict=True))


def test_bf16_needs_no_copy_and_no_gradient_as_large_as_a_wide_weight():
    def largest(forwards, net):
        with Largest() as seen:
            trained(net, (8, 2048), forwards, bf16=True)
        return seen.elements

    net = head()
    assert largest({}, net) == net[0].weight.numel()
    assert largest(Lean(net).forwards, net) <= net[0].weight.numel() // 2


@pytest.mark.parametrize("bf16", [True, False])
def test_the_next_gradient_of_a_wide_weight_has_the_memory_of_the_last(bf16):
    net = head()
    lean, wide, narrow, places = Lean(net), net[0].weight, net[2].weight, set()
    right = trained(head(), (8, 2048), {}, bf16=bf16)[2]
    for _ in range(3):
        trained(net, (8, 2048), lean.forwards, bf16=bf16)
        places.add(wide.grad.data_ptr())
        assert torch.equal(wide.grad, right)
        lean.reclaim()
        assert wide.grad is None
        assert narrow.grad is not None
        net.zero_grad()
    assert len(places) == 1


def test_gradients_of_parts_add_up():
    net, plain = head(), head()
    lean = Lean(net)
    for _ in range(2):
        trained(net, (8, 2048), lean.forwards)
        trained(plain, (8, 2048), {})
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(net.parameters(), plain.parameters(), strict=True))


def test_a_pool_in_fp32_keeps_no_places_and_relu_writes_over_its_input():
    def kept(forwards, net):
        x = torch.randn(4, 3, 17, 21).requires_grad_()
        with replaced_forwards(forwards):
            y = net(x)
        found, todo = [], [y.grad_fn]
        while todo:
            node = todo.pop()
            todo += [n for n, _ in node.next_functions if n is not None]
            saved = [getattr(node, name) for name in dir(node) if name.startswith("_saved_")]
            found += [value for value in saved if isinstance(value, torch.Tensor)]
            found += getattr(node, "saved_tensors", ())
        return found

    net = trunk()
    assert any(t.dtype is torch.int64 for t in kept({}, net))
    lean = kept(Lean(net).forwards, net)
    assert lean
    assert not any(t.dtype is torch.int64 for t in lean)


def test_what_is_left_alone():
    net = nn.Sequential(*head(), nn.MaxPool2d(2, return_indices=True))
    forwards = Lean(net).forwards
    assert list(forwards) == [net[0], net[1]]
    assert net[0].weight.numel() >= WIDE > net[2].weight.numel()
    x = torch.randn(4, 6).requires_grad_()
    with replaced_forwards(forwards):
        assert torch.equal(net[1](x), x.relu())  # a leaf is somebody's own: nothing is written over it
        assert torch.equal(net[1](x.detach()), x.relu())
    assert (x < 0).any()
    assert "forward" not in vars(net[0])
