"""Example images of a served classifier: a bundle's golden images, or validation images of a run."""

from __future__ import annotations

import asyncio
import io
import logging
from collections import Counter
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from classicnets.deployment import Bundle
from classicnets.errors import ClassicNetsError
from classicnets.serving.models import Served

if TYPE_CHECKING:
    from classicnets.classifier import Classifier
    from classicnets.data import ImageSet

logger = logging.getLogger(__name__)

MOST = 8
_LOOKED_AT = 200  # validation images; the examples are chosen among them
_LARGEST = 8 * 2**20  # bytes of an example
_KINDS = {
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".gif": "image/gif",
    ".bmp": "image/bmp", ".avif": "image/avif",
}  # fmt: skip


class Example(NamedTuple):
    """An image file to try a classifier on.

    Attributes:
        name: what to call it.
        truth: its true class, or "" if nobody knows it.
        content: the file.
        kind: its media type.
    """

    name: str
    truth: str
    content: bytes
    kind: str


class Examples:
    """The examples of every classifier, found when they are first asked for, and kept as long as the classifier."""

    def __init__(self) -> None:
        self._found: WeakKeyDictionary[object, Future[list[Example]]] = WeakKeyDictionary()

    async def of(self, served: Served) -> list[Example]:
        """Return at most eight examples; none if the images of a run are gone or cannot be read.

        One thread of its own finds them, so that a large data set delays neither an answer nor the end of the server.
        """
        scorer = served.scorer
        if scorer not in self._found:
            future: Future[list[Example]] = Future()
            self._found[scorer] = future
            future.set_running_or_notify_cancel()  # whoever leaves does not end it for the others
            Thread(target=_find, args=(future, scorer, served.path), name="classicnets-examples", daemon=True).start()
        return await asyncio.wrap_future(self._found[scorer])


def _find(future: Future[list[Example]], scorer: Classifier | Bundle, path: Path) -> None:
    try:
        future.set_result(_golden(scorer) if isinstance(scorer, Bundle) else _validation(scorer, path))
    except Exception as error:
        future.set_exception(error)


def _golden(bundle: Bundle) -> list[Example]:
    """The golden images of a bundle, whose files were checked when it was loaded."""
    found = []
    for golden in bundle.manifest.golden[:MOST]:
        path = bundle.folder / golden.file
        if golden.file in bundle.manifest.files and path.is_file():
            found.append(Example(path.name, "", path.read_bytes(), "image/png"))
    return found


def _validation(classifier: Classifier, path: Path) -> list[Example]:
    from classicnets.evaluation.choose import own_images, run_of

    try:
        images = own_images(classifier, "val", run=run_of(path)).images.sample(_LOOKED_AT)
        examples = (_example(images, i) for i in _spread(images.labels.tolist()))
        return [example for example in examples if example is not None][:MOST]
    except (ClassicNetsError, OSError) as error:
        logger.info("There are no example images: %s", error)
        return []


def _spread(labels: list[int]) -> list[int]:
    """The places of all images, the first of every class first, then the second ones, and so on."""
    seen: Counter[int] = Counter()
    rounds = []
    for i, label in enumerate(labels):
        rounds.append((seen[label], i))
        seen[label] += 1
    return [i for _, i in sorted(rounds)]


def _example(images: ImageSet, i: int) -> Example | None:
    """An image of a set as a file, or None if a browser cannot show it or it is too large."""
    truth, name = images.classes[int(images.labels[i])], Path(images.ids[i]).name
    if images.paths is None:
        return Example(f"{name}.png", truth, _png(images, i), "image/png") if _has_colours(images, i) else None
    path = images.paths[i]
    kind = _KINDS.get(path.suffix.lower())
    if kind is None or path.stat().st_size > _LARGEST:
        return None
    return Example(name, truth, path.read_bytes(), kind)


def _has_colours(images: ImageSet, i: int) -> bool:
    return len(images.image(i)) in (1, 3)


def _png(images: ImageSet, i: int) -> bytes:
    from classicnets.deployment.run_images import to_picture

    out = io.BytesIO()
    to_picture(images.image(i).numpy()).save(out, "PNG")
    return out.getvalue()
