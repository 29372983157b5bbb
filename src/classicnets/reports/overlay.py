"""A map over the picture that it explains, as pixels and as a figure with a caption."""

from __future__ import annotations

import textwrap

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch.nn.functional import grid_sample

from classicnets.preprocess import Window
from classicnets.reports.canvas import LIGHT, Theme, new_figure, write_title
from classicnets.reports.labels import Labels

MAP_COLOURS = "inferno"
"""Perceptually uniform, and as far from the colours of most photos as any."""

_UNSEEN = 0.35  # brightness of what the network did not see
_GREY = 0.85  # how much of the colour is taken out of the picture, so that the map's colours stand out
_OPACITY = 0.75  # of the map where it is highest
_WIDEST, _TALLEST = 7.0, 6.0  # inches of the picture in the figure


def overlay(picture: np.ndarray, heat: np.ndarray, window: Window) -> np.ndarray:
    """Lay a map over a picture. The more heat, the more the map covers the picture; what was not seen is dimmed.

    Args:
        picture: uint8 RGB (3, H, W).
        heat: float32 (h, w), 0..1; it is stretched over the window.
        window: the part of the picture that the map covers; it may reach beyond the picture.

    Returns uint8 (H, W, 3).

    >>> overlay(picture, heat, preprocess.window(*picture.shape[1:])).dtype  # doctest: +SKIP
    dtype('uint8')
    """
    height, width = picture.shape[1:]
    rgb = picture.transpose(1, 2, 0).astype(np.float32) / 255
    grey = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
    base = rgb + _GREY * (grey[..., None] - rgb)
    placed, seen = _placed(heat, window, (height, width))
    colours = colormaps[MAP_COLOURS](placed)[..., :3].astype(np.float32)
    opacity = (_OPACITY * placed)[..., None]
    covered = base * (1 - opacity) + colours * opacity
    shown = np.where(seen[..., None], covered, base * _UNSEEN)
    return (shown * 255).round().clip(0, 255).astype(np.uint8)


def _placed(heat: np.ndarray, window: Window, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The heat at every pixel of the picture (0 outside the window), and whether the network saw the pixel."""
    rows = (np.arange(size[0]) + 0.5 - window.top) / window.height
    columns = (np.arange(size[1]) + 0.5 - window.left) / window.width
    seen = ((rows >= 0) & (rows < 1))[:, None] & ((columns >= 0) & (columns < 1))[None]
    grid = np.stack(np.broadcast_arrays(2 * columns[None] - 1, 2 * rows[:, None] - 1), axis=-1).astype(np.float32)
    stretched = grid_sample(
        torch.from_numpy(heat)[None, None],
        torch.from_numpy(grid)[None],
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return np.where(seen, stretched[0, 0].numpy(), 0), seen


def overlay_figure(
    pixels: np.ndarray, *, finding: str, detail: str, verdict: str, trusted: bool, theme: Theme = LIGHT
) -> Figure:
    """Draw an overlay with a caption above it and the verdict below it.

    Args:
        pixels: what `overlay` returned, uint8 (H, W, 3); drawn in its own aspect ratio.
        finding: what the map is for: the class and its score.
        detail: how it was made.
        verdict: what the tests found. Long text is broken into lines.
        trusted: whether the verdict is drawn as good.
        theme: the colours.
    """
    height, width = pixels.shape[:2]
    inches = min(_WIDEST / width, _TALLEST / height)
    size = max(4.5, width * inches + 0.4), height * inches
    names = Labels([finding, detail, verdict], kind="text", extra="…", most=10_000)
    lines = textwrap.wrap(names[2], int(size[0] * 13))
    above, below = 0.8, 0.3 + 0.17 * len(lines)
    figure = new_figure((size[0], size[1] + above + below), theme)
    whole = figure.get_figheight()
    axes = figure.add_axes((0, below / whole, 1, size[1] / whole))
    axes.set_axis_off()
    axes.imshow(pixels, interpolation="nearest" if max(height, width) < 300 else "antialiased")
    most = int(size[0] * 9.5)
    write_title(figure, _shortened(names[0], most), names[1], theme, names.families)
    colour = theme.right if trusted else theme.wrong
    figure.text(
        0.18 / size[0], 0.12 / whole, "\n".join(lines), color=colour, fontsize=9, va="bottom", family=names.families
    )
    return figure


def _shortened(text: str, most: int) -> str:
    """Cut a text to `most` characters, the last one an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
