"""A module under a name that `forward` does not run is refused; everything else can be assigned."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from classicnets.errors import ConfigError
from classicnets.models.catalog import create
from classicnets.models.contract import ConvNet
from classicnets.models.resnet import ResNet, ResNetConfig

SMALL = {"depths": (1, 1, 1), "widths": (4, 4, 8)}


@pytest.fixture
def net() -> ConvNet:
    return create("resnet20_cifar", **SMALL)


def test_torchvisions_name_of_the_classifier_is_refused_with_ours(net: ConvNet) -> None:
    with pytest.raises(ConfigError, match=r"ResNet has no module 'fc'.* model\.head\.classifier\. .*num_classes=5\."):
        net.fc = nn.Linear(8, 5)
    with pytest.raises(ConfigError, match="no module 'classifier'"):
        net.add_module("classifier", nn.Sequential(nn.Linear(8, 5)))
    assert list(dict(net.named_children())) == ["trunk", "head"]


def test_copies_refuse_too_and_work(net: ConvNet) -> None:
    x = torch.zeros(1, 3, 32, 32)
    net.eval()
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(other(x), net(x))
        with pytest.raises(ConfigError, match="no module 'fc'"):
            other.fc = nn.Linear(8, 5)


def test_what_the_network_has_can_be_replaced(net: ConvNet) -> None:
    net.head.classifier = nn.Linear(8, 5)
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 5)
    del net.head
    net.head = nn.Flatten()
    net.add_module("head", nn.Identity())
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 8, 8, 8)


def test_what_is_not_a_module_can_be_added(net: ConvNet) -> None:
    net.classes = ("cat", "dog")
    net.scale = nn.Parameter(torch.ones(1))
    net.register_buffer("mean", torch.zeros(3))
    assert {"scale", "mean"} <= net.state_dict().keys()


def test_a_subclass_may_have_modules_of_its_own() -> None:
    class WithProjector(ResNet):
        def __init__(self, config: ResNetConfig) -> None:
            super().__init__(config)
            self.projector = nn.Linear(8, 2)

    net = WithProjector(ResNetConfig(stem="3x3", **SMALL))
    net.projector = nn.Linear(8, 3)
    with pytest.raises(ConfigError, match="WithProjector has no module 'fc'"):
        net.fc = nn.Linear(8, 5)


def test_construction_of_a_network_inside_another_module_is_not_in_the_way(net: ConvNet) -> None:
    detector = nn.Module()
    detector.backbone = net
    detector.fc = nn.Linear(8, 5)
    assert "backbone.head.classifier.weight" in detector.state_dict()
