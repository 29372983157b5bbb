"""AlexNet: what its versions differ in, each beside the section of the paper that says so."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from classicnets.models.alexnet import AlexNet
from classicnets.models.blocks import LocalResponseNorm
from classicnets.models.catalog import create
from classicnets.models.contract import ConvNet


def convolutions(model: ConvNet) -> list[nn.Conv2d]:
    return [m for m in model.modules() if isinstance(m, nn.Conv2d)]


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("alexnet", [96, 256, 384, 384, 256]),  # Sec. 3.5, both towers together
        ("alexnet_2012", [96, 256, 384, 384, 256]),
        ("alexnet_owt", [64, 192, 384, 256, 256]),  # arXiv:1404.5997, footnote 1
    ],
)
def test_five_convolutions_as_in_the_paper(name: str, widths: list[int]) -> None:
    convs = convolutions(create(name, device="meta"))
    assert [c.out_channels for c in convs] == widths
    assert [c.kernel_size for c in convs] == [(11, 11), (5, 5), (3, 3), (3, 3), (3, 3)]
    assert [c.stride for c in convs] == [(4, 4), (1, 1), (1, 1), (1, 1), (1, 1)]


def test_the_two_towers_meet_in_conv3_alone() -> None:
    """Fig. 2: conv2, conv4 and conv5 see the maps of their own GPU."""
    assert [c.groups for c in convolutions(create("alexnet_2012", device="meta"))] == [1, 2, 1, 2, 2]
    assert [c.groups for c in convolutions(create("alexnet", device="meta"))] == [1, 1, 1, 1, 1]


def test_the_paper_normalises_after_the_first_two_convolutions_and_then_pools() -> None:
    """Sec. 3.3 (the constants) and 3.5 (the places)."""
    trunk = create("alexnet_2012", device="meta").trunk
    assert [name for name, _ in trunk.named_children()] == [
        "conv1",
        "norm1",
        "pool1",
        "conv2",
        "norm2",
        "pool2",
        "conv3",
        "conv4",
        "conv5",
        "pool5",
    ]
    for norm in (trunk.norm1, trunk.norm2):
        assert isinstance(norm, LocalResponseNorm)
        assert (norm.k, norm.size, norm.alpha, norm.beta) == (2, 5, 1e-4, 0.75)


def test_lrn_is_a_switch() -> None:
    assert "norm1" not in dict(create("alexnet_2012", device="meta", lrn=False).trunk.named_children())


def test_the_pools_overlap() -> None:
    """Sec. 3.4: z = 3, s = 2."""
    pools = [m for m in create("alexnet_2012", device="meta").trunk if isinstance(m, nn.MaxPool2d)]
    assert [(p.kernel_size, p.stride) for p in pools] == [(3, 2)] * 3


@pytest.mark.parametrize("name", ["alexnet", "alexnet_2012", "alexnet_owt"])
def test_dropout_is_where_the_version_has_it(name: str) -> None:
    layers = [layer for layer, _ in create(name, device="meta").head.named_children() if "act" not in layer]
    if name == "alexnet_2012":  # Sec. 4.2: in the first two fully-connected layers
        assert layers == ["pool", "flatten", "fc6", "drop6", "fc7", "drop7", "classifier"]
    else:
        assert layers == ["pool", "flatten", "drop6", "fc6", "drop7", "fc7", "classifier"]


def test_the_papers_initialisation_has_small_weights_and_some_biases_of_one() -> None:
    """Sec. 5, and Caffe's bvlc_alexnet for the .005."""
    model = create("alexnet_2012", init="paper", generator=torch.Generator().manual_seed(0))
    layers = {name.split(".")[1]: m for name, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    for name, layer in layers.items():
        assert layer.weight.std().item() == pytest.approx(0.005 if name in ("fc6", "fc7") else 0.01, rel=0.02), name
        assert layer.bias is not None
        assert set(layer.bias.tolist()) == {1.0 if name in ("conv2", "conv4", "conv5", "fc6", "fc7") else 0.0}, name


def test_the_head_sees_the_papers_grid_unchanged_and_averages_any_other_size_to_it() -> None:
    pool = create("alexnet", device="meta").head.pool
    x = torch.randn(1, 256, 6, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(pool(x), x)
    assert pool(torch.zeros(1, 256, 9, 4)).shape == x.shape


def test_alexnet_owt_has_torchvisions_parameters_in_its_order() -> None:
    with torch.device("meta"):
        theirs = torchvision.models.alexnet()
    ours = create("alexnet_owt", device="meta")
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]


def test_alexnet_cifar_keeps_the_idea_at_28_pixels_for_few_multiply_adds() -> None:
    model = create("alexnet_cifar", device="meta", in_channels=1).eval()
    assert isinstance(model, AlexNet)
    x = torch.empty(1, 1, 28, 28, device="meta")
    features = model.features(x)
    assert [features[s].shape[-1] for s in ("conv1", "pool1", "pool2", "pool5")] == [28, 14, 7, 4]
    assert len(convolutions(model)) == 5
    with FlopCounterMode(display=False) as counter:
        model(x)
    assert counter.get_total_flops() / 2 <= 60e6
