"""A unit's fields against gradients: what it sees and what it can change are where gradients are not zero."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor, nn

from classicnets.analysis import draw_unit, inspect_unit
from classicnets.analysis.unit import Area, Span, stage_fields
from classicnets.errors import ConfigError, UnknownName
from classicnets.models.catalog import create
from classicnets.models.contract import ConvNet


def positive(name: str, **switches: object) -> ConvNet:
    """Weights above zero and ReLUs that pass: every path has a gradient."""
    net = create(name, in_channels=1, num_classes=3, **switches).double().eval()
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.constant_(module.weight, 0.01)
            if module.bias is not None:
                nn.init.constant_(module.bias, 0.1)
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        if isinstance(module, nn.MaxPool2d):
            module.register_forward_hook(lambda module, args, _: average_of(module, args[0]))
    return net


def average_of(pool: nn.MaxPool2d, x: Tensor) -> Tensor:
    """The same windows, all positions with a gradient."""
    return torch.nn.functional.avg_pool2d(x, pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode)


@pytest.mark.parametrize(
    ("name", "stage", "switches"),
    [
        ("resnet18", "conv3", {"widths": (4, 4, 4, 4)}),
        ("googlenet", "inception_4a", {"width": 0.05, "aux": False}),
        ("alexnet_owt", "conv2", {"widths": (4, 4, 4, 4, 4), "hidden": (4, 4)}),
        ("densenet121", "dense2", {"growth_rate": 2, "stem_channels": 4, "depths": (2, 2, 2, 2)}),
    ],
)
def test_the_fields_are_where_gradients_are(name: str, stage: str, switches: dict[str, object]) -> None:
    net = positive(name, **switches)
    size = 160
    x = torch.ones(1, 1, size, size, dtype=torch.double, requires_grad=True)
    outputs = net.features(x)
    row, column = 4, 7
    fields = inspect_unit(net, stage, 0, row, column, image_size=size)
    (gradient,) = torch.autograd.grad(outputs[stage][0, :, row, column].sum(), x, retain_graph=True)
    assert fields.receptive_field is not None
    rows, columns = fields.receptive_field
    assert extent(gradient[0, 0]) == Area(rows.within(size), columns.within(size))
    for later, area in fields.projective_field.items():
        if later == "head":
            continue
        changes = torch.autograd.functional.jvp(
            lambda unit, later=later: after(net, stage, unit)[later],
            outputs[stage].detach(),
            one_at(outputs[stage], row, column),
        )[1]
        assert extent(changes[0].abs().sum(0)) == area, later


def after(net: ConvNet, stage: str, x: Tensor) -> dict[str, Tensor]:
    outputs, begun = {stage: x}, False
    for name, module in net.trunk.named_children():
        if begun:
            outputs[name] = x = module(x)
        begun = begun or name == stage
    return outputs


def one_at(x: Tensor, row: int, column: int) -> Tensor:
    one = torch.zeros_like(x)
    one[0, :, row, column] = 1
    return one


def extent(values: Tensor) -> Area:
    rows, columns = values.abs().sum(1).nonzero(), values.abs().sum(0).nonzero()
    return Area(Span(int(rows.min()), int(rows.max())), Span(int(columns.min()), int(columns.max())))


def test_local_response_normalisation_stays_in_place() -> None:
    fields = inspect_unit("alexnet_2012", "norm1", 0, 3, 3)
    assert fields.projective_field["norm1"] == Area(Span(3, 3), Span(3, 3))
    assert fields.projective_field["norm2"] == fields.projective_field["conv2"]


def test_a_unit_that_sees_the_whole_image_and_words() -> None:
    text = str(inspect_unit("vgg11", "conv1", 3, 0, 223))
    assert text == (
        "vgg11: channel 3 of conv1 at row 0, column 223\n\n"
        "It sees rows -1 to 1 and columns 222 to 224 of an image of 224x224 pixels.\n"
        "Negative numbers and those beyond the image are padding.\n\n"
        "It can change:\n"
        "  conv1  rows 0 to 0 and columns 223 to 223 of 224x224\n"
        "  pool1  rows 0 to 0 and columns 111 to 111 of 112x112\n"
        "  conv2  rows 0 to 1 and columns 110 to 111 of 112x112\n"
        "  pool2  rows 0 to 0 and columns 55 to 55 of 56x56\n"
        "  conv3  rows 0 to 2 and columns 53 to 55 of 56x56\n"
        "  pool3  rows 0 to 1 and columns 26 to 27 of 28x28\n"
        "  conv4  rows 0 to 3 and columns 24 to 27 of 28x28\n"
        "  pool4  rows 0 to 1 and columns 12 to 13 of 14x14\n"
        "  conv5  rows 0 to 3 and columns 10 to 13 of 14x14\n"
        "  pool5  rows 0 to 1 and columns 5 to 6 of 7x7\n"
        "  head   rows 0 to 0 and columns 0 to 0 of 1x1"
    )


def test_mistakes() -> None:
    with pytest.raises(UnknownName, match=r"No stage of vgg11 named 'conv9'\. Did you mean"):
        inspect_unit("vgg11", "conv9", 0, 0, 0)
    with pytest.raises(ConfigError, match="channel must be from 0 to 63 in conv1 of vgg11, got 64"):
        inspect_unit("vgg11", "conv1", 64, 0, 0)
    with pytest.raises(ConfigError, match="column must be from 0 to 223 in conv1 of vgg11, got 224"):
        inspect_unit("vgg11", "conv1", 0, 0, 224)


def test_the_drawing_shows_the_image_and_a_map_a_stage() -> None:
    fields = inspect_unit("resnet18", "conv3", 0, 3, 20, image_size=64 * 4)
    svg = draw_unit(fields, torch.zeros(3, 256, 256, dtype=torch.uint8))
    ElementTree.fromstring(svg)
    assert svg.count('class="reached"') == len(fields.projective_field) - 1
    assert "data:image/png;base64," in svg
    assert "It sees 99 × 99 pixels (dashed: in the padding)." in svg


def test_the_fields_of_stages_give_those_of_units() -> None:
    fields = stage_fields("googlenet_bn", image_size=(128, 160))
    for stage in ("conv1", "inception_3a", "inception_5b"):
        found = fields[stage]
        assert found is not None
        unit = inspect_unit("googlenet_bn", stage, 0, 2, 3, image_size=(128, 160))
        assert Area.seen(found, 2, 3) == unit.receptive_field
