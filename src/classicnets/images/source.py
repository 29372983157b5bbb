"""What an image can be given as, and how it is read: a path, bytes, a file object, or pixels in memory."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias, TypeGuard, TypeVar, Union

import numpy as np
from PIL import Image, UnidentifiedImageError

from classicnets.errors import BadImage, ConfigError

if TYPE_CHECKING:
    from torch import Tensor

ImageSource: TypeAlias = Union[
    str, os.PathLike[str], bytes, bytearray, memoryview, IO[bytes], Image.Image, np.ndarray, "Tensor"
]
"""An image: a path, the bytes of an image file, a file object opened in binary mode, a PIL image, a uint8 array
(H, W, 3), (H, W, 1) or (H, W), or a uint8 tensor (3, H, W), (1, H, W) or (H, W). Colours are RGB."""

MAX_PIXELS = 64_000_000
"""The most pixels that are decoded, unless the environment variable CLASSICNETS_MAX_PIXELS sets another number."""

MAX_PIXELS_VARIABLE = "CLASSICNETS_MAX_PIXELS"

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000")

_MAX_BYTES = 512 * 1024 * 1024
_ALLOWED = (
    "an image is a path, the bytes of an image file, a file object opened in binary mode, a PIL image, "
    "a uint8 array (H, W, 3) or (H, W), or a uint8 tensor (3, H, W) or (H, W)"
)

_Answer = TypeVar("_Answer")


class RefusedError(Exception):
    """An image that is not taken; the text is the reason."""


def pixel_limit() -> int:
    """Return the most pixels that are decoded: `$CLASSICNETS_MAX_PIXELS`, or `MAX_PIXELS` if it is not set.

    Raises ConfigError if it is set to anything except a whole number above 0.
    """
    text = os.environ.get(MAX_PIXELS_VARIABLE, str(MAX_PIXELS))
    try:
        limit = int(text)
    except ValueError:
        limit = 0
    if limit < 1:
        raise ConfigError(
            f"{MAX_PIXELS_VARIABLE} must be a whole number of pixels above 0, such as 200000000; got {text!r}."
        )
    return limit


def is_tensor(source: object) -> TypeGuard[Tensor]:
    """Return whether this is a PyTorch tensor, without importing PyTorch: without it there are none."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.Tensor)


def as_array(values: np.ndarray | Tensor) -> np.ndarray:
    """Return the numbers of an array, or of a tensor on any device. On the CPU they are not copied."""
    array: np.ndarray = values.detach().cpu().numpy() if is_tensor(values) else np.asarray(values)
    return array


def name_of(source: object, default: str = "the image") -> str:
    """Return what to call the image `source`: its path, the name of its file object, or `default`."""
    if isinstance(source, str | os.PathLike):
        return os.fsdecode(source)
    for attribute in ("filename", "name"):  # a PIL image's, a file object's
        name = getattr(source, attribute, None)
        if isinstance(name, str) and name and not is_tensor(source):
            return name
    return default


def is_content(source: object) -> bool:
    """Return whether an image is given as the content of a file."""
    return isinstance(source, bytes | bytearray | memoryview)


def read_bytes(source: ImageSource, *, name: str | None = None) -> bytes:
    """Return the content of an image file, read once.

    Args:
        source: a path, bytes, or a file object opened in binary mode. A file object is read from its start.
        name: what to call the image in errors; by default its path, or the name of its file object.

    Raises BadImage if it is not a readable, regular file, is empty or has more than 512 MiB.

    >>> read_bytes("cat.jpg")[:2]  # doctest: +SKIP
    b'\\xff\\xd8'
    """
    name = name or name_of(source)
    if isinstance(source, bytes):
        data = source
    elif isinstance(source, bytearray | memoryview):
        data = bytes(source)
    elif isinstance(source, str | os.PathLike):
        read_state(Path(source), name=name)
        data = guarded(name, Path(source).read_bytes)
    elif hasattr(source, "read"):
        data = guarded(name, lambda: _content(source))
    else:
        raise BadImage(name, f"got {_described(source)}; {_ALLOWED}")
    if not data:
        raise BadImage(name, "the file is empty")
    return data


def read_state(path: Path, *, name: str | None = None) -> os.stat_result:
    """Return `os.stat` of the file at `path`, which errors call `name` (by default the path).

    Raises BadImage if it is missing, not a regular file, empty or above 512 MiB.
    """
    name = name or str(path)
    state = guarded(name, lambda: os.stat(path))
    if stat.S_ISDIR(state.st_mode):
        raise BadImage(name, "this is a folder, not a file")
    if not stat.S_ISREG(state.st_mode):
        raise BadImage(name, "this is not a regular file")
    if state.st_size > _MAX_BYTES:
        raise BadImage(name, f"the file has {state.st_size:,} bytes; the limit is {_MAX_BYTES:,}")
    if state.st_size == 0:
        raise BadImage(name, "the file is empty")
    return state


def pixels_of(source: np.ndarray | Tensor, *, name: str) -> np.ndarray:
    """Return the pixels of an array or tensor as an array: uint8 (C, H, W), contiguous.

    An array is (H, W, 3), (H, W, 1) or (H, W). A tensor is (C, H, W), with as many channels as the network takes, or
    (H, W). Raises BadImage for anything else.
    """
    if isinstance(source, np.ndarray):
        fits = source.dtype == np.uint8 and source.shape[2:] in ((), (1,), (3,))
    else:
        fits = str(source.dtype) == "torch.uint8"
    if not fits or source.ndim not in (2, 3):
        raise BadImage(name, f"got {_described(source)}; {_ALLOWED}")
    if 0 in source.shape:
        raise BadImage(name, f"got {_described(source)}, which has no pixels")
    return guarded(name, lambda: _as_array(source))


def guarded(name: str, step: Callable[[], _Answer]) -> _Answer:
    """Return the answer of `step`. Every failure becomes a BadImage: hostile bytes make decoders raise anything."""
    try:
        return step()
    except RefusedError as error:
        reason = str(error)
    except UnidentifiedImageError:
        reason = f"this is not an image in a known format ({', '.join(FORMATS)})"
    except OSError as error:
        reason = error.strerror.lower() if error.strerror else f"the data is damaged ({error})"
    except Exception as error:
        reason = f"the data is damaged ({error or type(error).__name__})"
    raise BadImage(name, reason)


def _content(file: Any) -> bytes:
    if isinstance(file, io.TextIOBase):
        raise RefusedError('the file object is opened as text; open it in binary mode, open(path, "rb")')
    if getattr(file, "closed", False):
        raise RefusedError("the file object is closed")
    if hasattr(file, "seekable") and file.seekable():
        file.seek(0)
    data = file.read(_MAX_BYTES + 1)
    if not is_content(data):
        raise RefusedError(f"read() of the file object gave {_described(data)}; it must give bytes")
    if len(data) > _MAX_BYTES:
        raise RefusedError(f"the file has more than {_MAX_BYTES:,} bytes, which is the limit")
    return bytes(data)


def _as_array(source: np.ndarray | Tensor) -> np.ndarray:
    if isinstance(source, np.ndarray):
        rows = source[..., None] if source.ndim == 2 else source
        return np.array(rows.transpose(2, 0, 1), order="C", subok=False)
    pixels: np.ndarray = source.detach().cpu().numpy()
    return np.array(pixels[None] if pixels.ndim == 2 else pixels, order="C")


def _described(source: object) -> str:
    """What something is, with the type of its numbers and its shape if it has these."""
    kind = type(source).__name__
    if isinstance(source, np.ndarray) or is_tensor(source):
        dtype = str(source.dtype).removeprefix("torch.")
        return f"{'an array' if isinstance(source, np.ndarray) else 'a tensor'}, {dtype} {tuple(source.shape)}"
    return f"an object of type {kind}"
