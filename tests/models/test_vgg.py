"""VGG: the columns of Table 1."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from classicnets.analysis import inspect
from classicnets.models.blocks import LocalResponseNorm
from classicnets.models.catalog import create

COLUMNS = {  # Table 1: M is a max pool, 1 a 1x1 convolution
    "vgg11": "64 M 128 M 256 256 M 512 512 M 512 512 M",
    "vgg11_lrn": "64 LRN M 128 M 256 256 M 512 512 M 512 512 M",
    "vgg13": "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    "vgg16_1x1": "64 64 M 128 128 M 256 256 256/1 M 512 512 512/1 M 512 512 512/1 M",
    "vgg16": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    "vgg19": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}


def symbol(module: nn.Module) -> str | None:
    match module:
        case nn.Conv2d():
            return f"{module.out_channels}/1" if module.kernel_size == (1, 1) else str(module.out_channels)
        case nn.MaxPool2d():
            return "M"
        case LocalResponseNorm():
            return "LRN"
    return None


@pytest.mark.parametrize("name", COLUMNS)
def test_the_layers_are_those_of_the_column(name: str) -> None:
    model = create(name, device="meta")
    assert " ".join(s for s in map(symbol, model.modules()) if s) == COLUMNS[name]
    assert all(m.kernel_size in ((3, 3), (1, 1)) for m in model.modules() if isinstance(m, nn.Conv2d))
    hidden = [m.out_features for m in model.head.modules() if isinstance(m, nn.Linear)]
    assert hidden == [4096, 4096, 1000]
    assert [m.p for m in model.head.modules() if isinstance(m, nn.Dropout)] == [0.5, 0.5]  # Sec. 3.1


def test_column_a_lrn_has_alexnets_constants() -> None:
    """Sec. 2.1 refers to Krizhevsky et al. 2012 for them."""
    norm = create("vgg11_lrn", device="meta").trunk.conv1.norm1
    assert (norm.k, norm.size, norm.alpha, norm.beta) == (2, 5, 1e-4, 0.75)


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
@pytest.mark.parametrize("suffix", ["", "_bn"])
def test_the_parameters_are_torchvisions_in_its_order(depth: int, suffix: str) -> None:
    name = f"vgg{depth}{suffix}"
    with torch.device("meta"):
        theirs = torchvision.models.get_model(name)
    assert [p.shape for p in create(name, device="meta").parameters()] == [p.shape for p in theirs.parameters()]


@pytest.mark.parametrize("name", ["vgg11_cifar", "vgg16_cifar"])
def test_the_cifar_nets_halve_28_and_32_pixels_down_to_one_position(name: str) -> None:
    model = create(name, device="meta")
    for side, expected in ((28, [14, 7, 4, 2, 1]), (32, [16, 8, 4, 2, 1])):
        features = model.features(torch.empty(2, 3, side, side, device="meta"))
        assert [features[f"pool{i}"].shape[-1] for i in range(1, 6)] == expected
    assert [type(m) for m in model.head.modules() if list(m.parameters(recurse=False))] == [nn.Linear]


def test_the_weights_start_at_a_size_that_keeps_the_activations() -> None:
    """He et al. 2015: thirteen plain convolutions neither lose nor blow up the signal, as N(0, .01) would."""
    model = create("vgg16", hidden=(64, 64), generator=torch.Generator().manual_seed(0)).eval()
    with torch.inference_mode():
        features = model.features(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
    assert 0.1 < features["pool5"].square().mean().sqrt() < 10


def test_one_5x5_layer_a_stage_sees_what_column_b_sees() -> None:
    """Sec. 2.3 and 4.1: the shallow net that column B is compared with."""
    fields = []
    for switches in ({"depths": (2, 2, 2, 2, 2)}, {"depths": (1, 1, 1, 1, 1), "kernel_size": 5}):
        summary = inspect(create("vgg13", device="meta", **switches))
        fields.append([row.receptive_field for row in summary.stages])
    assert fields[0] == fields[1]
