"""The drawing of a network: what is drawn is what the network has, for every model of the catalog."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from inspected import inspected
from torch import nn

from classicnets.analysis import inspect
from classicnets.analysis.graph import IMAGES, Unit
from classicnets.models.catalog import CATALOG, create


@pytest.mark.parametrize("name", CATALOG)
def test_every_convolution_and_linear_layer_is_drawn(name: str) -> None:
    summary = inspected(name)
    modules = create(name, device="meta").modules()
    expected = sum(isinstance(module, nn.Conv2d | nn.Linear) for module in modules)
    drawn = sum(unit.times * count(unit, "conv", "linear") for unit in summary.graph.units)
    beside = sum(layer.kind in ("conv", "linear") for head in summary.graph.auxiliary.values() for layer in head)
    assert drawn + beside == expected
    assert list(dict.fromkeys(unit.stage for unit in summary.graph.units)) == [
        row.name for row in summary.stages if row.kind != "training only"
    ]
    svg = summary.to_svg()
    ElementTree.fromstring(svg)
    assert len(svg) < 60_000  # repeats are drawn once


def count(unit: Unit, *kinds: str) -> int:
    return sum(layer.kind in kinds for layer in unit.layers)


def unit_of(name: str, stage: str, number: int = 0) -> Unit:
    return [unit for unit in inspected(name).graph.units if unit.stage == stage][number]


def test_an_inception_module_has_four_branches() -> None:
    unit = unit_of("googlenet", "inception_3a")
    labels = [(layer.label, layer.inputs) for layer in unit.layers]
    assert labels == [
        ("1×1, 64", (IMAGES,)),
        ("1×1, 96", (IMAGES,)),
        ("3×3, 128", (1,)),
        ("1×1, 16", (IMAGES,)),
        ("5×5, 32", (3,)),
        ("max pool 3×3", (IMAGES,)),
        ("1×1, 32", (5,)),
        ("concat", (0, 2, 4, 6)),
    ]


def test_a_shortcut_goes_around_the_convolutions() -> None:
    unit = unit_of("resnet1202_cifar", "conv2")
    assert unit.times == 200
    assert [(layer.label, layer.after, layer.inputs) for layer in unit.layers] == [
        ("3×3, 16", ("BN", "ReLU"), (IMAGES,)),
        ("3×3, 16", ("BN",), (0,)),
        ("+", ("ReLU",), (1, IMAGES)),
    ]
    assert [layer.label for layer in unit_of("plain20_cifar", "conv2").layers] == ["3×3, 16"]


def test_a_projection_is_a_branch() -> None:
    unit = unit_of("resnet18", "conv3")
    assert [layer.inputs for layer in unit.layers] == [(IMAGES,), (0,), (IMAGES,), (1, 2)]


def test_a_dense_layer_is_concatenated_with_what_it_read() -> None:
    unit = unit_of("densenet121", "dense3")
    assert unit.times == 24
    assert [(layer.label, layer.inputs) for layer in unit.layers] == [
        ("BN", (IMAGES,)),
        ("1×1, 128", (0,)),
        ("3×3, 32", (1,)),
        ("concat", (IMAGES, 2)),
    ]


def test_layers_of_our_own_are_named_in_words() -> None:
    assert "pad shortcut" in [layer.label for layer in unit_of("resnet20_cifar", "conv3").layers]
    head = inspect("googlenet").graph.auxiliary["inception_4a"]
    assert head[0].label == "average pool 5x5"


def test_auxiliary_heads_stand_beside_the_stage_that_they_read() -> None:
    heads = inspected("googlenet").graph.auxiliary
    assert {stage: [layer.label for layer in head][-2:] for stage, head in heads.items()} == {
        "inception_4a": ["linear 1024", "linear 1000"],
        "inception_4d": ["linear 1024", "linear 1000"],
    }


def test_a_network_of_ones_own_is_drawn_and_left_as_it_was() -> None:
    net = create("resnet18", num_classes=7)
    svg = inspect(net, image_size=64)._repr_html_()
    assert "linear 7" in svg
    assert "images 3 × 64 × 64" in svg
    assert not any(module._forward_hooks for module in net.modules())


def test_the_table_as_csv() -> None:
    lines = inspected("vgg11").to_csv().splitlines()
    assert lines[0] == "name,kind,output,kernels,stride,parameters,macs,activation_bytes,receptive_field,jump"
    assert lines[1] == "conv1,,64x224x224,3x3,1x1,1792,86704128,25690112,3x3,1x1"
    assert len(inspected("vgg11").to_csv(layers=True).splitlines()) > len(lines)
