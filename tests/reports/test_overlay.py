"""The map over the picture: its place, its colours, its caption."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from classicnets.preprocess import Preprocess, Window
from classicnets.reports.canvas import png
from classicnets.reports.overlay import overlay, overlay_figure


def white(height: int, width: int) -> np.ndarray:
    return np.full((3, height, width), 255, np.uint8)


def test_the_map_lies_where_the_network_looked() -> None:
    """A wide picture of which the network saw the middle; the heat is in the upper left of that."""
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0] = 1
    pixels = overlay(white(40, 100), heat, Window(top=0, left=30, height=40, width=40)).astype(int)
    assert pixels.shape == (40, 100, 3)
    coloured = np.ptp(pixels, axis=2) > 60
    rows, columns = coloured.nonzero()
    assert (rows.min(), columns.min()) == (0, 30)
    assert rows.max() < 15
    assert columns.max() < 45
    assert (pixels[:, :30] == 89).all()  # not seen: dimmed
    assert (pixels[:, 70:] == 89).all()
    assert (pixels[30:, 50:70] == 255).all()  # seen, without heat: as it is


def test_a_window_may_reach_beyond_the_picture() -> None:
    window = Preprocess(input_size=(8, 8), resize="pad", mean=(0.5,), std=(0.5,)).window(20, 40)
    assert window == Window(top=-10, left=0, height=40, width=40)
    heat = np.zeros((2, 2), np.float32)
    heat[1] = 1  # the lower half of the window: the lower half of the picture too
    pixels = overlay(white(20, 40), heat, window).astype(int)
    assert np.ptp(pixels[18], axis=1).min() > 30
    assert np.ptp(pixels[0], axis=1).max() < 30


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 400), (400, 3), (300, 200)])
def test_any_aspect_and_any_text_is_drawn(height: int, width: int) -> None:
    pixels = overlay(white(height, width), np.ones((1, 1), np.float32), Window(0, 0, height, width))
    figure = overlay_figure(
        pixels, finding="猫 $x_2$ " + "a" * 300, detail="grad-cam\n\x07", verdict="long words " * 40, trusted=False
    )
    with Image.open(io.BytesIO(png(figure))) as image:
        image.verify()
        assert min(image.size) > 100


def test_an_empty_map_leaves_the_picture_grey() -> None:
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (3, 20, 20), dtype=np.uint8)
    pixels = overlay(picture, np.zeros((4, 4), np.float32), Window(0, 0, 20, 20))
    brightness = torch.from_numpy(picture).float().mul(torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=0)
    assert np.abs(pixels.mean(axis=2) - brightness.numpy()).max() < 15
