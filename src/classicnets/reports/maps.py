"""Small pictures for pages: feature maps, filters, and what a unit sees of an image."""

from __future__ import annotations

import io

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.colors import LinearSegmentedColormap
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from classicnets.analysis.unit import Area
from classicnets.images import image_uri, png_uri, thumbnail_uri
from classicnets.reports.canvas import LIGHT
from classicnets.reports.overlay import MAP_COLOURS
from classicnets.reports.thumbnails import thumbnail

_LONGEST = 112  # pixels along a side of a map
_SIGNED = LinearSegmentedColormap.from_list("signed", [LIGHT.right, "#f4f6f7", LIGHT.wrong])
_ORANGE = np.array([213, 94, 0], np.uint8).reshape(3, 1, 1)
_FEW_CELLS = 3  # along a side


def map_uri(values: Tensor) -> str:
    """Return a feature map as a data URI: dark where it is lowest, bright where it is highest.

    Args:
        values: float32 (h, w), finite. A map that is the same everywhere is dark.
    """
    longest = max(values.shape)
    if longest > _LONGEST:
        size = [max(1, round(side * _LONGEST / longest)) for side in values.shape]
        values = interpolate(values[None, None], size, mode="bilinear", antialias=True)[0, 0]
    low, high = float(values.min()), float(values.max())
    levels = (values - low) / ((high - low) or 1) * 255
    picture = Image.fromarray(levels.round().to(torch.uint8).numpy())
    picture.putpalette((colormaps[MAP_COLOURS](np.arange(256))[:, :3] * 255).round().astype(np.uint8).tobytes())
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return png_uri(out.getvalue())


def filter_uri(weights: np.ndarray) -> str:
    """Return a filter as a data URI, scaled by its largest weight.

    Args:
        weights: float32 (C, h, w). With three channels, the picture has the filter's colours, and 0 is grey. Others are
            added up and drawn blue below 0, orange above it, and pale at 0.
    """
    shown = weights if len(weights) == 3 else weights.sum(axis=0, keepdims=True)
    scaled = 0.5 + shown / (2 * (float(np.abs(shown).max()) or 1))
    colours = scaled if len(shown) == 3 else _SIGNED(scaled[0])[..., :3].transpose(2, 0, 1)
    return image_uri((colours * 255).round().astype(np.uint8))


def crop_uri(image: Tensor, area: Area, cell: Area, *, side: int) -> str:
    """Return a part of an image as a data URI, with a frame around a cell of it that may not be in the middle.

    Args:
        image: uint8 (C, H, W).
        area: the pixels that are shown.
        cell: the pixels that are framed, if the area reaches an edge of the image and is at least three cells long.
        side: of the picture's longer side, in pixels.
    """
    (top, bottom), (left, right) = area
    picture = thumbnail(image[:, top : bottom + 1, left : right + 1], side)
    scale = picture.shape[1] / (bottom + 1 - top)
    longest = max(bottom - top, right - left) + 1
    is_cut = min(top, left) == 0 or bottom == image.shape[1] - 1 or right == image.shape[2] - 1
    if is_cut and longest >= _FEW_CELLS * (cell.rows.last + 1 - cell.rows.first):
        edges = [
            (cell.rows.first - top, cell.rows.last + 1 - top),
            (cell.columns.first - left, cell.columns.last + 1 - left),
        ]
        _frame(picture, *(slice(max(0, round(low * scale)), round(high * scale)) for low, high in edges))
    return thumbnail_uri(picture)


def _frame(picture: np.ndarray, rows: slice, columns: slice) -> None:
    """Draw a frame inside a rectangle: one pixel white and two orange, to be seen on any image."""
    inside = picture[:, rows, columns]
    kept = inside[:, 3:-3, 3:-3].copy()
    inside[:] = 255
    inside[:, 1:-1, 1:-1] = _ORANGE
    inside[:, 3:-3, 3:-3] = kept
