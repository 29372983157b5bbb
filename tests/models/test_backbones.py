"""The trunks as backbones: torchvision's feature pyramid, detector and segmentation head train on them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.segmentation.fcn import FCNHead
from torchvision.ops import MultiScaleRoIAlign

from classicnets.models.catalog import create
from classicnets.models.contract import ConvNet

BACKBONES = {  # narrow or shallow forms, and the stages to look at: strides 4, 8 and 16
    "resnet18": ({"depths": (1, 1, 1, 1), "widths": (8, 8, 16, 16)}, ["conv2", "conv3", "conv4"]),
    "preact_resnet164_cifar": ({"depths": (1, 1, 1), "stem": "7x7"}, ["conv2", "conv3", "norm"]),
    "vgg16_bn": ({"widths": (8, 8, 16, 16, 16), "hidden": (8, 8)}, ["pool2", "pool3", "pool4"]),
    "densenet121": ({"depths": (1, 1, 1, 1), "growth_rate": 8}, ["dense1", "dense2", "dense3"]),
}


@pytest.fixture(params=BACKBONES)
def backbone(request: pytest.FixtureRequest) -> tuple[ConvNet, list[str]]:
    switches, stages = BACKBONES[request.param]
    return create(request.param, generator=torch.Generator().manual_seed(0), **switches), stages


def trained_parameters(module: nn.Module) -> int:
    return sum(p.grad is not None and bool(p.grad.any()) for p in module.parameters())


def test_strides_and_channels_are_those_of_the_features(backbone: tuple[ConvNet, list[str]]) -> None:
    net, stages = backbone
    assert [net.out_strides[stage] for stage in stages] == [4, 8, 16]
    getter = IntermediateLayerGetter(net.trunk, {stage: stage for stage in stages})
    x = torch.randn(1, 3, 64, 96)
    net.eval()
    for stage, feature in getter(x).items():
        assert feature.shape == (1, net.out_channels[stage], 64 // net.out_strides[stage], 96 // net.out_strides[stage])
        torch.testing.assert_close(feature, net.features(x)[stage])


def test_faster_rcnn_with_a_feature_pyramid_takes_a_training_step(backbone: tuple[ConvNet, list[str]]) -> None:
    net, stages = backbone
    pyramid = BackboneWithFPN(
        net.trunk,
        return_layers={stage: stage for stage in stages},
        in_channels_list=[net.out_channels[stage] for stage in stages],
        out_channels=8,
    )
    levels = [*stages, "pool"]
    detector = FasterRCNN(
        pyramid,
        num_classes=3,
        min_size=64,
        max_size=96,
        rpn_anchor_generator=AnchorGenerator(((8,), (16,), (32,), (64,)), ((0.5, 1.0, 2.0),) * len(levels)),
        box_roi_pool=MultiScaleRoIAlign(levels, output_size=3, sampling_ratio=1),
        rpn_post_nms_top_n_train=50,
    )
    images = [torch.rand(3, 64, 96), torch.rand(3, 64, 80)]
    targets = [
        {"boxes": torch.tensor([[5.0, 5.0, 40.0, 40.0]]), "labels": torch.tensor([1])},
        {"boxes": torch.tensor([[10.0, 20.0, 70.0, 60.0]]), "labels": torch.tensor([2])},
    ]
    losses: dict[str, Tensor] = detector(images, targets)
    assert losses.keys() == {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
    total = torch.stack(list(losses.values())).sum()
    assert torch.isfinite(total)
    total.backward()
    assert trained_parameters(net.trunk) > 0.9 * sum(1 for _ in pyramid.body.parameters())


def test_an_fcn_head_takes_a_training_step(backbone: tuple[ConvNet, list[str]]) -> None:
    net, stages = backbone
    last = stages[-1]
    head = FCNHead(net.out_channels[last], 5)
    optimizer = torch.optim.SGD([*net.trunk.parameters(), *head.parameters()], lr=0.05)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 64, 64, generator=generator)
    classes = torch.randint(5, (2, 64, 64), generator=generator)
    losses = []
    for _ in range(3):
        scores = F.interpolate(head(net.features(x)[last]), size=(64, 64), mode="bilinear")
        loss = F.cross_entropy(scores, classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
