"""What probes measure, against numbers known by construction."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from classicnets.classifier import Classifier
from classicnets.data import Data
from classicnets.models.catalog import create
from classicnets.preprocess import Preprocess
from classicnets.studies.cells import Trained
from classicnets.studies.probes import dead_units, gradients, reuse

PREPROCESS = Preprocess(input_size=(12, 12), mean=(0.3,), std=(0.3,))


def trained(name: str, data: Data, **switches: Any) -> Trained:
    """A network with two different sets of weights, before and after."""
    nets = [
        create(name, num_classes=4, in_channels=1, generator=torch.Generator().manual_seed(seed), **switches)
        for seed in (0, 1)
    ]
    classifier = Classifier(model=nets[1], model_name=name, classes=data.classes, preprocess=PREPROCESS)
    return Trained(nets[0], classifier, data)


def test_the_gradient_of_each_convolution(corners):
    one = trained("resnet20_cifar", corners, depths=(1, 1, 1), widths=(4, 8, 8))
    found = gradients(one)
    assert len(found["by_start"]) == len(found["by_end"]) == 7  # conv1 and two in each of three blocks
    assert found["by_start"] != found["by_end"]
    net = one.start.train()
    cross_entropy(net(PREPROCESS.normalize(corners.train.images)), corners.train.labels).backward()
    first = net.trunk.conv1.conv.weight
    assert found["by_start"][0] == pytest.approx(float(first.grad.norm() / first.detach().norm()), rel=1e-4)
    assert not one.classifier.model.training


def test_dropout_does_not_disturb_gradients(corners):
    one = trained("alexnet_cifar", corners, widths=(4, 4, 4, 4, 4), hidden=(8, 8), dropout=0.5, batch_norm=False)
    assert gradients(one) == gradients(one)


def test_units_that_never_fire_are_counted(corners):
    one = trained("alexnet_cifar", corners, widths=(4, 4, 4, 4, 8), hidden=(8, 8), batch_norm=False, dropout=0.0)
    before = dead_units(one)
    layer = one.classifier.model.trunk.conv1.conv
    with torch.no_grad():
        layer.weight.abs_()
        layer.bias[:] = torch.tensor([1000.0, 1000.0, 1000.0, -1000.0])
    found = dead_units(one)
    assert len(found["by_layer"]) == 7  # five convolutions and two hidden layers
    assert found["by_layer"][0] == 0.25
    units = [4, 4, 4, 4, 8, 8, 8]
    assert found["dead"] == pytest.approx(sum(map(float.__mul__, found["by_layer"], map(float, units))) / sum(units))
    assert before["by_layer"][0] <= 0.25


def test_the_weights_that_late_layers_give_to_early_features(corners):
    one = trained("densenet40_k12_cifar", corners, depths=(4, 4), growth_rate=2, stem_channels=4)
    with torch.no_grad():
        for block in (one.classifier.model.trunk.dense1, one.classifier.model.trunk.dense2):
            for layer in block.children():
                layer.conv1.weight[:] = 1.0
    found = reuse(one)
    assert [len(row) for row in found["by_source"]] == [1, 2, 3, 4]
    assert found["by_source"] == [[1.0] * n for n in (1, 2, 3, 4)]
    assert found["early"] == 1.0
    late = one.classifier.model.trunk.dense2.layer3.conv1.weight
    seen = late.abs().sum((0, 2, 3)).tolist()
    first = late.shape[1] - 2 * 2
    assert seen == [0.0] * (first + 2 * 2)  # the block's input and its earlier half: here all that it saw
    last = one.classifier.model.trunk.dense2.layer4.conv1.weight.abs().sum((0, 2, 3)).tolist()
    assert last == [0.0] * (first + 2 * 2) + [18.0] * 2
    assert -1 <= found["lost"] <= 1
