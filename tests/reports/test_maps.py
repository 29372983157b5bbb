"""Small pictures of pages: maps, filters, crops, and the marks of classes on a plane."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from classicnets.analysis.unit import Area, Span
from classicnets.images import thumbnail_uri
from classicnets.reports.canvas import DARK, LIGHT
from classicnets.reports.maps import crop_uri, filter_uri, map_uri
from classicnets.reports.plane import class_marks, plane
from photos import make_photo


def pixels(uri: str) -> np.ndarray:
    """The picture in a data URI: uint8 RGB (H, W, 3)."""
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB"))


def brightness(picture: np.ndarray) -> np.ndarray:
    return picture.astype(int).sum(axis=2)


def test_a_map_goes_from_dark_to_bright_whatever_its_scale() -> None:
    values = torch.arange(12.0).view(3, 4)
    shown = pixels(map_uri(values))
    assert shown.shape == (3, 4, 3)
    assert (np.diff(brightness(shown).ravel()) > 0).all()
    assert np.array_equal(shown, pixels(map_uri(values * 1e-6 - 5e-7)))
    assert pixels(map_uri(torch.rand(500, 250))).shape == (112, 56, 3)
    for constant in (0.0, 7.0, -3.0):
        assert np.array_equal(pixels(map_uri(torch.full((2, 2), constant)))[0, 0], shown[0, 0])


def test_a_filter_has_its_colours_and_grey_is_0() -> None:
    weights = np.zeros((3, 2, 2), np.float32)
    weights[0, 0, 0], weights[2, 1, 1] = 0.5, -0.25
    shown = pixels(filter_uri(weights))
    assert shown[0, 0].tolist() == [255, 128, 128]
    assert shown[1, 1].tolist() == [128, 128, 64]
    assert shown[0, 1].tolist() == [128, 128, 128]


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_a_filter_without_colours_is_blue_below_0_and_orange_above(channels: int) -> None:
    weights = np.zeros((channels, 1, 3), np.float32)
    weights[0] = [[-2, 0, 2]]
    below, zero, above = pixels(filter_uri(weights))[0].astype(int)
    assert below[2] > below[0]
    assert above[0] > above[2]
    assert min(zero) > 230
    assert pixels(filter_uri(np.zeros((1, 3, 3), np.float32))).min() > 230


def test_a_crop_has_the_pixels_of_its_area() -> None:
    image = torch.randint(0, 256, (3, 12, 12), dtype=torch.uint8)
    area = Area(Span(2, 5), Span(8, 11))
    shown = pixels(crop_uri(image, area, area, side=4))
    assert np.array_equal(shown, image[:, 2:6, 8:12].permute(1, 2, 0).numpy())


def test_a_frame_marks_a_position_that_an_edge_may_have_moved_from_the_middle() -> None:
    image = torch.zeros(1, 64, 64, dtype=torch.uint8)
    shown = pixels(crop_uri(image, Area.whole((64, 64)), Area(Span(16, 31), Span(48, 63)), side=128))
    orange = (shown[..., 0].astype(int) - shown[..., 2]) > 120
    rows, columns = np.nonzero(orange)
    assert (rows.min(), rows.max(), columns.min()) == (33, 62, 97)
    assert (shown[32, 96:128] == 255).all()
    assert not orange[40:56, 104:120].any()
    inner = Area(Span(10, 49), Span(10, 49))
    assert not pixels(crop_uri(image, inner, Area(Span(28, 31), Span(28, 31)), side=80)).any()


def test_a_thumbnail_is_a_jpeg_only_if_that_is_smaller() -> None:
    assert thumbnail_uri(torch.zeros(3, 90, 90, dtype=torch.uint8)).startswith("data:image/png")
    photo = torch.from_numpy(np.array(make_photo("disc", 0, (90, 90)))).permute(2, 0, 1)
    assert thumbnail_uri(photo).startswith("data:image/jpeg")


def test_each_class_has_a_mark_of_its_own() -> None:
    names = [f"class {i}" for i in range(32)]
    marks = class_marks(names)
    assert list(marks) == sorted(names)
    assert len(set(marks.values())) == 32
    assert all(mark.light != LIGHT.paper and mark.dark != DARK.paper for mark in marks.values())
    many = class_marks([*names, "one more", *(["often"] * 5)])
    assert len(many) == 8
    assert "often" in many


@pytest.mark.parametrize("theme", [LIGHT, DARK])
@pytest.mark.parametrize("number", [1, 3, 200])
def test_the_plane_marks_mistakes(theme: object, number: int) -> None:
    places = np.random.default_rng(0).normal(size=(number, 2))
    labels = [str(i % 40) for i in range(number)]
    wrong = [i % 3 == 0 for i in range(number)]
    images = torch.zeros(1, 8, 8, dtype=torch.uint8)
    figure = plane(places, labels, wrong, lambda i: images, finding="PCA", detail="of tests", theme=theme)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    crosses = axes.collections[-1].get_offsets()
    assert len(crosses) == sum(wrong)
    spots = np.concatenate([points.get_offsets() for points in axes.collections[:-2]])
    assert len(spots) == number
    assert ((spots >= 0) & (spots <= 1)).all()
    assert 1 <= len(axes.images) <= 70
