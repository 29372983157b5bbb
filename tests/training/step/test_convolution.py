"""Convolutions as matrix products: PyTorch's numbers up to rounding, and PyTorch's own code elsewhere."""

import pytest
import torch
from torch import nn

from classicnets.models.catalog import create
from classicnets.training.memory.lean import replaced_forwards
from classicnets.training.step import convolution
from classicnets.training.step.convolution import fast_convolutions, weight_gradient


@pytest.fixture(autouse=True)
def avx2(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")


@pytest.fixture
def calls(monkeypatch):
    """The shapes of the weights whose gradient is computed here."""
    shapes = []

    def counted(x, dy, shape, *settings):
        shapes.append(tuple(shape))
        return weight_gradient(x, dy, shape, *settings)

    monkeypatch.setattr(convolution, "weight_gradient", counted)
    return shapes


def trained(layer, x, *, bf16=False):
    """The output and all gradients, with and without the fast convolution."""
    results = []
    for forwards in ({}, fast_convolutions(layer)):
        layer.zero_grad()
        x = x.detach().requires_grad_()
        with replaced_forwards(forwards), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            y = layer(x)
        y.float().square().sum().backward()
        results.append([y, x.grad, *(p.grad for p in layer.parameters())])
    return results


def images(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("at_once", [1 << 24, 1])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "bias"),
    [(3, 1, 1, False), (3, 2, 1, True), (5, 1, 2, True), ((3, 2), (1, 2), (0, 1), False), (2, 3, 0, True)],
)
def test_the_gradients_are_pytorchs_up_to_rounding(monkeypatch, calls, kernel, stride, padding, bias, at_once):
    monkeypatch.setattr(convolution, "_PATCHES", at_once)
    layer = nn.Conv2d(32, 96, kernel, stride, padding, bias=bias).to(memory_format=torch.channels_last)
    plain, fast = trained(layer, images(5, 32, 7, 6))
    assert calls == [tuple(layer.weight.shape)]
    for one, other in zip(plain, fast, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(one.detach().abs().max()))
    assert layer.weight.grad.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("layer", "x", "bf16"),
    [
        (nn.Conv2d(31, 96, 3), images(2, 31, 5, 5), False),
        (nn.Conv2d(32, 95, 3), images(2, 32, 5, 5), False),
        (nn.Conv2d(32, 96, 1), images(2, 32, 5, 5), False),
        (nn.Conv2d(64, 96, 3, groups=2), images(2, 64, 5, 5), False),
        (nn.Conv2d(32, 96, 3, dilation=2), images(2, 32, 5, 5), False),
        (nn.Conv2d(32, 96, 3, padding="same"), images(2, 32, 5, 5), False),
        (nn.Conv2d(32, 96, 3, padding=1, padding_mode="reflect"), images(2, 32, 5, 5), False),
        (nn.Conv2d(32, 96, 3), images(2, 32, 5, 5).contiguous(), False),
        (nn.Conv2d(32, 96, 3), images(2, 32, 5, 5), True),
    ],
)
def test_everything_else_is_pytorchs_to_the_bit(calls, layer, x, bf16):
    plain, fast = trained(layer, x, bf16=bf16)
    assert not calls
    assert all(torch.equal(one, other) for one, other in zip(plain, fast, strict=True))


def test_a_frozen_weight_has_no_gradient(calls):
    layer = nn.Conv2d(32, 96, 3).requires_grad_(False)
    x = images(2, 32, 5, 5).requires_grad_()
    with replaced_forwards(fast_convolutions(layer)):
        layer(x).sum().backward()
    assert not calls
    assert layer.weight.grad is None


def test_other_cpus_keep_pytorchs_code(monkeypatch):
    monkeypatch.setattr(convolution, "has_bf16", lambda device: False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert fast_convolutions(nn.Conv2d(32, 96, 3)) == {}


def test_a_network_learns_alike(calls):
    net = create("resnet18", num_classes=3).to(memory_format=torch.channels_last)
    x = images(4, 3, 32, 32)
    found = []
    for forwards in ({}, fast_convolutions(net)):
        net.zero_grad()
        with replaced_forwards(forwards):
            net(x).square().sum().backward()
        found.append([p.grad.clone() for p in net.parameters()])
    assert len(calls) == 12  # its 3x3 convolutions, except the four of 64 output channels
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * float(one.abs().max()))


@pytest.fixture
def bf16_cpu(monkeypatch):
    """A CPU that has bf16, whatever this one is."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(convolution, "has_bf16", lambda device: True)


@pytest.mark.usefixtures("bf16_cpu")
@pytest.mark.parametrize("many_weights", [1, 1 << 30], ids=["all three", "weight alone"])
@pytest.mark.parametrize("at_once", [1 << 24, 1])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "bias"), [(3, 1, 1, False), (3, 2, 1, True), ((3, 2), (1, 2), (0, 1), False)]
)
def test_in_bf16_products_are_pytorchs_convolutions_up_to_rounding(
    monkeypatch, calls, kernel, stride, padding, bias, at_once, many_weights
):
    monkeypatch.setattr(convolution, "_PATCHES", at_once)
    monkeypatch.setattr(convolution, "_MANY_WEIGHTS", many_weights)
    layer = nn.Conv2d(128, 128, kernel, stride, padding, bias=bias).to(memory_format=torch.channels_last)
    plain, fast = trained(layer, images(5, 128, 4, 5).bfloat16(), bf16=True)
    assert calls == [tuple(layer.weight.shape)]
    for one, other in zip(plain, fast, strict=True):
        assert other.dtype == one.dtype
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.02 * float(one.detach().abs().max()))
        assert other.is_contiguous(memory_format=torch.channels_last) or other.ndim < 4
    if many_weights > layer.weight.numel():
        assert torch.equal(plain[0], fast[0])
    assert layer.weight.grad.dtype == torch.float32


@pytest.mark.usefixtures("bf16_cpu")
@pytest.mark.parametrize(
    ("layer", "x", "bf16"),
    [
        (nn.Conv2d(128, 128, 3, padding=1), images(2, 128, 19, 17).bfloat16(), True),  # 646 places, 5 a channel
        (nn.Conv2d(32, 32, 3), images(2, 32, 5, 5).bfloat16(), True),  # few weights
        (nn.Conv2d(256, 512, 1), images(2, 256, 3, 3).bfloat16(), True),
        (nn.Conv2d(128, 128, 3), images(2, 128, 5, 5), True),  # not in bf16 yet
        (nn.Conv2d(128, 128, 3), images(2, 128, 5, 5), False),
        (nn.Conv2d(128, 128, 3), images(2, 128, 5, 5).contiguous().bfloat16(), True),
    ],
)
def test_in_bf16_everything_else_is_pytorchs_to_the_bit(calls, layer, x, bf16):
    plain, fast = trained(layer, x, bf16=bf16)
    assert not calls
    assert all(torch.equal(one, other) for one, other in zip(plain, fast, strict=True))


@pytest.mark.usefixtures("bf16_cpu")
def test_in_bf16_the_last_stages_of_a_network_take_the_product(calls):
    net = create("resnet18", num_classes=3).to(memory_format=torch.channels_last)
    with replaced_forwards(fast_convolutions(net)), torch.autocast("cpu", torch.bfloat16):
        loss = net(images(32, 3, 64, 64)).float().square().sum()
    loss.backward()
    assert {shape[0] for shape in calls} == {256, 512}
    assert len(calls) == 8
