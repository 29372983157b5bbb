"""NiN: the authors' definitions, and what the guide's net changes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from classicnets.models.catalog import create
from classicnets.models.contract import ConvNet


def convolutions(model: ConvNet) -> list[tuple[int, int]]:
    return [(m.kernel_size[0], m.out_channels) for m in model.modules() if isinstance(m, nn.Conv2d)]


def images(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["nin", "nin_bn", "nin_tutorial"])
def test_the_imagenet_net_has_four_mlpconvs(name: str) -> None:
    model = create(name, device="meta")
    widths = [96] * 3 + [256] * 3 + [384] * 3 + [1024, 1024, 1000]
    kernels = [11, 1, 1, 5, 1, 1, 3, 1, 1, 3, 1, 1]
    assert convolutions(model) == list(zip(kernels, widths, strict=True))


def test_the_cifar_net_has_three_mlpconvs() -> None:
    widths = [192, 160, 96, 192, 192, 192, 192, 192, 10]
    assert convolutions(create("nin_cifar", device="meta")) == list(
        zip([5, 1, 1, 5, 1, 1, 3, 1, 1], widths, strict=True)
    )


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("nin", [54, 27, 27, 13, 13, 6, 6]),  # Caffe's pools round up
        ("nin_bn", [54, 27, 27, 13, 13, 6, 6]),
        ("nin_cifar", [32, 16, 16, 8, 8]),
        ("nin_tutorial", [54, 26, 26, 12, 12, 5, 5]),  # the guide's round down
    ],
)
def test_the_maps_have_the_authors_sizes(name: str, sides: list[int]) -> None:
    model = create(name, device="meta")
    x = torch.empty(1, 3, model.config.image_size, model.config.image_size, device="meta")
    assert [feature.shape[-1] for feature in model.features(x).values()] == sides


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("nin", ["trunk.mlpconv4.drop"]),
        ("nin_bn", ["trunk.mlpconv4.drop"]),
        ("nin_cifar", ["trunk.mlpconv2.drop", "trunk.mlpconv3.drop"]),
    ],
)
def test_dropout_comes_between_mlpconvs_alone(name: str, places: list[str]) -> None:
    model = create(name, device="meta")
    assert [n for n, m in model.named_modules() if isinstance(m, nn.Dropout)] == places
    for place in places:
        assert next(name for name, _ in model.get_submodule(place.removesuffix(".drop")).named_children()) == "drop"


def test_the_guide_drops_out_after_each_of_twelve_convolutions() -> None:
    modules = list(create("nin_tutorial", device="meta").modules())
    assert sum(isinstance(m, nn.Dropout) for m in modules) == sum(isinstance(m, nn.BatchNorm2d) for m in modules) == 12


def test_the_logits_are_the_averages_of_the_class_maps() -> None:
    """Sec. 3.2; the maps are behind a ReLU, as all of the authors' convolutions, so that no logit is negative."""
    model = create("nin_cifar", generator=torch.Generator().manual_seed(0)).eval()
    x = images(2, 3, 32, 32)
    with torch.inference_mode():
        maps = model.head.act(model.head.classifier(model.trunk(x)))
        logits = model(x)
    assert maps.shape == (2, 10, 8, 8)
    torch.testing.assert_close(logits, maps.mean(dim=(2, 3)))
    assert logits.min() >= 0


def test_no_linear_layer() -> None:
    assert not any(isinstance(m, nn.Linear) for m in create("nin", device="meta").modules())


@pytest.mark.parametrize("name", ["nin", "nin_cifar"])
def test_all_class_maps_start_above_zero_so_that_their_relu_passes_gradient(name: str) -> None:
    model = create(name, num_classes=10, generator=torch.Generator().manual_seed(0)).eval()
    with torch.inference_mode():
        maps = model.head.act(model.head.classifier(model.trunk(images(4, 3, 64, 64))))
    assert (maps > 0).float().mean() > 0.95


def test_a_fully_connected_layer_can_take_the_place_of_the_average() -> None:
    """Sec. 4.6: the same class maps, flattened, with dropout before the layer."""
    model = create("nin_cifar", linear_grid=8, device="meta")
    assert model(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 10)
    assert isinstance(model.head.dropout, nn.Dropout)
    assert model.head.fc.weight.shape == (10, 10 * 8 * 8)
    average = create("nin_cifar", device="meta")
    assert sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in average.parameters()) == 6_410
