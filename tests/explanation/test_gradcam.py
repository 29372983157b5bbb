"""Grad-CAM and Grad-CAM++ against torchcam, captum and the papers."""

from __future__ import annotations

import pytest
import torch
from captum.attr import LayerGradCam
from torch import Tensor
from torchcam.methods import GradCAM

from classicnets.explanation.gradcam import default_stage, grad_cam, grad_cam_plus_plus
from classicnets.explanation.score import ClassScore, differentiating
from classicnets.models.catalog import create
from classicnets.models.contract import ConvNet

SMALL = {
    "alexnet_cifar": {},
    "vgg11_cifar": {},
    "nin_tutorial": {},
    "googlenet_cifar": {},
    "resnet20_cifar": {"depths": (1, 1, 1)},
    "densenet40_k12_cifar": {"depths": (2, 2, 2)},
}
"""A network of every family."""


def network(name: str = "resnet20_cifar") -> ConvNet:
    generator = torch.Generator().manual_seed(1)
    return create(name, num_classes=3, generator=generator, **SMALL[name]).eval()


def image_for(net: ConvNet, seed: int = 0) -> Tensor:
    side = max(32, net.config.min_size)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, net.config.in_channels, side, side, generator=generator)


@pytest.mark.parametrize("name", SMALL)
def test_grad_cam_is_that_of_torchcam_and_captum(name: str) -> None:
    net = network(name)
    image = image_for(net)
    stages = [stage for stage, _ in net.trunk.named_children()]
    for stage in (stages[len(stages) // 2], stages[-1]):
        with differentiating(net):
            ours = grad_cam(ClassScore(net, image, flip=False, index=1), stage)
        captum = LayerGradCam(net, net.trunk.get_submodule(stage)).attribute(image, target=1)[0, 0].detach()
        torch.testing.assert_close(ours.float(), captum, rtol=1e-3, atol=1e-4 * float(captum.abs().max()))
        with GradCAM(net, f"trunk.{stage}") as judge:
            (theirs,) = judge(1, net(image), normalized=False)
        largest = float(theirs.abs().max()) + 1e-12
        torch.testing.assert_close(ours.relu().float(), theirs[0].detach(), rtol=1e-3, atol=1e-4 * largest)


def test_grad_cam_plus_plus_is_equation_19() -> None:
    """With the outputs and gradients that torchcam finds. Its own weights leave out the paper's denominator."""
    net = network()
    image = image_for(net)
    with differentiating(net):
        ours = grad_cam_plus_plus(ClassScore(net, image, flip=False, index=2), "conv3")
    with GradCAM(net, "trunk.conv3") as judge:
        judge(2, net(image))
        output, gradient = judge.hook_a[0][0].double(), judge.hook_g[0][0].double()
    expected = torch.zeros(output.shape[1:], dtype=torch.double)
    for a, g in zip(output, gradient, strict=True):
        denominator = 2 * g**2 + g**3 * a.sum()
        alpha = torch.where(g > 0, g**2 / denominator, 0)
        expected += (alpha * g.relu()).sum() * a
    assert expected.abs().max() > 0
    torch.testing.assert_close(ours, expected.detach(), rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("method", [grad_cam, grad_cam_plus_plus])
def test_outputs_below_zero_and_gradients_of_zero_give_finite_maps(method) -> None:
    net = create("preact_resnet164_cifar", num_classes=3, depths=(1, 1, 1)).eval()
    for weights in (1.0, 0.0):
        torch.nn.init.constant_(net.head.classifier.weight, weights)
        with differentiating(net):
            values = method(ClassScore(net, image_for(net), flip=False), "conv2")
        assert values.isfinite().all()


@pytest.mark.parametrize("method", [grad_cam, grad_cam_plus_plus])
def test_with_flip_a_mirror_image_has_the_mirrored_map(method) -> None:
    net = network()
    image = image_for(net)
    with differentiating(net):
        values = method(ClassScore(net, image, flip=True, index=0), "conv4")
        mirrored = method(ClassScore(net, image.flip(-1), flip=True, index=0), "conv4")
        alone = method(ClassScore(net, image, flip=False, index=0), "conv4")
    torch.testing.assert_close(mirrored, values.flip(-1), rtol=1e-4, atol=1e-7)
    assert not torch.allclose(values, alone)


def test_with_flip_each_view_counts_as_in_the_average_probability() -> None:
    """The map is the views' own maps, weighted by their shares of the averaged probability."""
    net = network()
    image = image_for(net)
    with differentiating(net):
        both = grad_cam(ClassScore(net, image, flip=True, index=0), "conv4")
        maps = [grad_cam(ClassScore(net, x, flip=False, index=0), "conv4") for x in (image, image.flip(-1))]
        shares = net(torch.cat([image, image.flip(-1)])).softmax(dim=1)[:, 0].double()
    shares = (shares / shares.sum()).detach()
    expected = shares[0] * maps[0] + shares[1] * maps[1].flip(-1)
    torch.testing.assert_close(both, expected, rtol=1e-4, atol=1e-7)


def test_one_map_takes_two_forward_passes_and_one_backward_pass(monkeypatch) -> None:
    """That is less than three times a forward and backward pass."""
    net = network()
    forward: list[str] = []
    backward: list[int] = []
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *args, **kwargs: (backward.append(1), grad(*args, **kwargs))[1])
    for name, stage in net.trunk.named_children():
        stage.register_forward_hook(lambda module, args, output, name=name: forward.append(name))
    with differentiating(net):
        grad_cam(ClassScore(net, image_for(net), flip=False), "conv4")
    assert forward == [name for name, _ in net.trunk.named_children()] * 2
    assert len(backward) == 1


def test_the_default_stage_is_the_last_one_that_has_places() -> None:
    assert default_stage({"a": (8, 8), "b": (4, 5), "c": (4, 3)}) == "b"
    assert default_stage({"a": (3, 3), "b": (2, 2), "c": (2, 2), "d": (1, 9)}) == "a"
    assert default_stage({"a": (1, 1), "b": (1, 1)}) == "b"
