"""The figure of networks: a panel for each data set, and labels that cover neither dots nor one another."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from classicnets.analysis import Network
from classicnets.errors import ConfigError
from classicnets.models.facts import FACTS
from classicnets.models.published import PUBLISHED
from classicnets.reports.canvas import save_figure
from classicnets.reports.networks import accuracy_figure
from classicnets.reports.place import Box, Dot, place_labels


def network(name: str) -> Network:
    """A network as the figure needs it, by the facts alone: building the largest ones takes long."""
    facts = FACTS[name]
    return Network(
        model=name, family=facts["family"], image=(3, facts["image_size"], facts["image_size"]),
        parameters=facts["params"], macs=facts["macs"], weight_bytes=0, activation_bytes=0, depth=1,
        receptive_field=None, latency=None, published=PUBLISHED.get(name),
    )  # fmt: skip


@pytest.fixture(scope="module")
def everything():
    return accuracy_figure([network(name) for name in (*PUBLISHED, "nin_bn", "alexnet")])


def boxes(axes) -> dict[str, Box]:
    renderer = axes.figure.canvas.get_renderer()
    extents = {text.get_text(): text.get_window_extent(renderer) for text in axes.texts}
    return {name: Box(box.x0, box.y0, box.x1, box.y1) for name, box in extents.items()}


def test_every_data_set_has_its_panel_with_its_networks(everything) -> None:
    panels = {axes.get_ylabel().removeprefix("top-1 accuracy on "): axes for axes in everything.axes}
    assert list(panels) == ["ImageNet-1K", "CIFAR-10"]
    for data, axes in panels.items():
        assert set(boxes(axes)) == {name for name, published in PUBLISHED.items() if published.data == data}
    finding, detail = (text.get_text() for text in everything.texts)
    assert finding == "Most accurate: resnet152 78.3 % on ImageNet-1K, densenet_bc190_k40_cifar 96.5 % on CIFAR-10"
    assert detail.endswith("Nothing published for 2 others")


def test_labels_of_all_networks_cover_no_other_label_and_no_dot(everything) -> None:
    for axes in everything.axes:
        placed = boxes(axes)
        for (name, box), (other, its) in itertools.combinations(placed.items(), 2):
            assert box.overlap(its) == 0, (name, other)
        for dots in axes.collections:
            ((x, y),) = axes.transData.transform(dots.get_offsets())
            radius = dots.get_sizes()[0] ** 0.5 / 2 * axes.figure.dpi / 72
            covering = [name for name, box in placed.items() if box.covers(x, y, radius)]
            assert covering == []


def test_dots_stand_where_the_numbers_are_and_their_areas_are_parameters() -> None:
    networks = [network("vgg16"), network("resnet50")]
    (axes,) = accuracy_figure(networks).axes
    assert [tuple(dots.get_offsets()[0]) for dots in axes.collections] == [
        (one.macs, pytest.approx(PUBLISHED[one.model].top1)) for one in networks
    ]
    vgg16, resnet50 = (dots.get_sizes()[0] for dots in axes.collections)
    assert vgg16 / resnet50 == pytest.approx(networks[0].parameters / networks[1].parameters)
    assert axes.get_xscale() == "log"


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_it_is_saved(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"networks.{ending}"
    save_figure(accuracy_figure([network("resnet20_cifar"), network("nin_bn")]), path)
    assert path.stat().st_size > 5000


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ConfigError, match="published for nin_bn, alexnet"):
        accuracy_figure([network("nin_bn"), network("alexnet")])


def test_a_label_without_a_free_place_covers_as_little_as_it_can() -> None:
    crowd = [Dot(50, 50, 3)] * 12
    places = place_labels(crowd, [(60, 30)] * 12, Box(0, 0, 100, 100))
    assert len(places) == 12
    assert all(Box(0, 0, 100, 100).holds(place) for place in places)
