"""Pictures with discs, squares and triangles, drawn at random: what `detect.py` and `segment.py` learn from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

CLASSES = ("background", "disc", "square", "triangle")
COLOURS = ("#ebebeb", "#0072b2", "#e69f00", "#009e73")
_TRIES = 20


class Picture(NamedTuple):
    """A picture of S pixels a side, with n shapes that do not touch.

    Attributes:
        image: float32 (3, S, S), 0..1.
        mask: the class of every pixel, int64 (S, S).
        boxes: x1, y1, x2, y2 of each shape in pixels, float32 (n, 4).
        labels: the class of each shape, int64 (n,), 1..3.
    """

    image: Tensor
    mask: Tensor
    boxes: Tensor
    labels: Tensor


def draw(count: int, side: int, *, seed: int, most: int = 3) -> list[Picture]:
    """Draw `count` pictures of `side` pixels, each with 1 to `most` shapes of any colour on a noisy background.

    >>> draw(2, 64, seed=0)[0].image.shape
    torch.Size([3, 64, 64])
    """
    random = np.random.default_rng(seed)
    return [_picture(random, side, int(random.integers(1, most + 1))) for _ in range(count)]


def _picture(random: np.random.Generator, side: int, shapes: int) -> Picture:
    grey = random.integers(60, 200)
    noise = random.normal(grey, 25, (side, side, 3)).clip(0, 255)
    image, mask = Image.fromarray(noise.astype(np.uint8)), Image.new("L", (side, side))
    boxes: list[tuple[int, int, int, int]] = []
    labels: list[int] = []
    for _ in range(_TRIES):
        box = _box(random, side)
        if len(boxes) == shapes or any(_touch(box, other) for other in boxes):
            continue
        label = int(random.integers(1, len(CLASSES)))
        # Every channel differs from the background by 60 or more, so that no shape is invisible.
        colour = tuple(int(value) for value in (grey + random.integers(60, 196, 3)) % 256)
        _fill(ImageDraw.Draw(image), label, box, colour)
        _fill(ImageDraw.Draw(mask), label, box, label)
        boxes.append(box)
        labels.append(label)
    return Picture(
        image=torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255,
        mask=torch.from_numpy(np.array(mask)).long(),
        boxes=torch.tensor(boxes, dtype=torch.float32),
        labels=torch.tensor(labels),
    )


def _box(random: np.random.Generator, side: int) -> tuple[int, int, int, int]:
    size = int(random.uniform(0.2, 0.4) * side)
    left, top = (int(place) for place in random.integers(1, side - size - 1, 2))
    return left, top, left + size, top + size


def _fill(canvas: ImageDraw.ImageDraw, label: int, box: tuple[int, int, int, int], fill: int | tuple[int, ...]) -> None:
    left, top, right, bottom = box
    if CLASSES[label] == "disc":
        canvas.ellipse(box, fill=fill)
    elif CLASSES[label] == "square":
        canvas.rectangle(box, fill=fill)
    else:
        canvas.polygon([(left, bottom), (right, bottom), ((left + right) / 2, top)], fill=fill)


def _touch(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]
