"""Photos made on the spot, for tests: `from photos import make_photo`."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

PHOTO_CLASSES = ("disc", "square", "stripes")


def make_photo(kind: str, seed: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    """A noisy disc (red), square (green) or stripes (blue), `size` (width, height); every seed gives another."""
    random = np.random.default_rng([PHOTO_CLASSES.index(kind), seed])
    width, height = size
    image = Image.new("RGB", size, tuple(int(v) for v in random.integers(150, 230, 3)))
    draw = ImageDraw.Draw(image)
    radius = int(min(size) * random.uniform(0.2, 0.35))
    x, y = (int(random.integers(radius, side - radius)) for side in size)
    colour = tuple(int(v) for v in random.integers(0, 60, 3) + 160 * np.eye(3, dtype=int)[PHOTO_CLASSES.index(kind)])
    if kind == "disc":
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    elif kind == "square":
        draw.rectangle((x - radius, y - radius, x + radius, y + radius), fill=colour)
    else:
        for left in range(x % 8, width, 8):
            draw.line((left, 0, left + 4, height), fill=colour, width=3)
    noise = random.normal(0, 6, (height, width, 3))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


def encode(image: Image.Image, suffix: str = "jpeg", **options: object) -> bytes:
    """The content of an image file of that format."""
    buffer = io.BytesIO()
    image.save(buffer, suffix, **options)
    return buffer.getvalue()


def write_photos(folder: Path, per_class: int, *, first_seed: int = 0, size: tuple[int, int] = (48, 40)) -> None:
    """CLASS/000.jpg and so on, `per_class` different photos of every class, `size` (width, height)."""
    for kind in PHOTO_CLASSES:
        (folder / kind).mkdir(parents=True)
        for i in range(per_class):
            (folder / kind / f"{i:03}.jpg").write_bytes(encode(make_photo(kind, first_seed + i, size), quality=90))
