"""What a scorer says of labelled images, and what they look like: all that a report is made of.

images -> packed -> logits, looks          a network in PyTorch, or an engine beside it
       -> a part read -> logits, looks     an engine without PyTorch: memory stays flat
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from classicnets.data.imageset import ImageSet, OnError, cannot_be_read
from classicnets.errors import BadImage, DataError
from classicnets.evaluation.columns import Looks, looks_of
from classicnets.evaluation.confusion import Ints
from classicnets.evaluation.metrics import Floats
from classicnets.images import as_array
from classicnets.preprocess import Preprocess
from classicnets.scorer import PrecisionName, Scorer, Values, outputs_of
from classicnets.system.threads import in_threads

if TYPE_CHECKING:
    from classicnets.data.pipeline.pack import Packed

_PART = 256  # images in memory at a time


class Options(TypedDict):
    """How the images are read and classified: arguments of `evaluate`."""

    on_error: OnError
    batch_size: int
    precision: PrecisionName
    progress: Callable[[str, int, int], None] | None


class Seen(NamedTuple):
    """N images, as a scorer saw them.

    Attributes:
        ids: their names.
        labels: their classes as the image set numbers them, int64 (N,).
        logits: float32 (N, K).
        novelty: novelty scores, float32 (N,), or None.
        looks: their brightness and sharpness.
        skipped: the images of the set that cannot be decoded.
    """

    ids: Sequence[str]
    labels: Ints
    logits: Floats
    novelty: Floats | None
    looks: Looks
    skipped: tuple[BadImage, ...]


def see(
    scorer: Scorer,
    images: ImageSet,
    *,
    packed: Packed | None,
    logits: Values | None,
    novelty: Values | None,
    on_error: OnError,
    batch_size: int,
    precision: PrecisionName,
    progress: Callable[[str, int, int], None] | None,
) -> Seen:
    """Pack the images and classify them, unless that was done before. Arguments are those of `evaluate`."""
    if packed is None:
        from classicnets.data.pipeline.pack import pack

        report = partial(progress, "Reading images") if progress else None
        packed = pack(images, scorer.card.preprocess, on_error=on_error, progress=report)
    if logits is None:
        report = partial(progress, "Classifying") if progress else None
        logits, novelty = outputs_of(scorer, packed.images, batch_size=batch_size, precision=precision, progress=report)
    return Seen(
        packed.ids,
        as_array(packed.labels),
        as_array(logits),
        None if novelty is None else as_array(novelty),
        looks_of(packed.images),
        packed.skipped,
    )


def see_in_parts(
    scorer: Scorer,
    images: ImageSet,
    *,
    on_error: OnError,
    batch_size: int,
    precision: PrecisionName,
    progress: Callable[[str, int, int], None] | None,
) -> Seen:
    """Read and classify images part by part, without PyTorch. The answers are those of `see`.

    Raises DataError if images cannot be decoded and `on_error` is "fail", or if none can.
    """
    bad: dict[int, BadImage] = {}
    logits: list[NDArray[Any]] = []
    novelty: list[NDArray[Any]] = []
    looks: list[Looks] = []
    for start in range(0, len(images), _PART):
        rows = range(start, min(start + _PART, len(images)))
        read = list(in_threads(partial(_read, images, scorer.card.preprocess), rows, chunk=16))
        bad |= {row: one for row, one in zip(rows, read, strict=True) if isinstance(one, BadImage)}
        pixels = [one for one in read if isinstance(one, np.ndarray)]
        if pixels and not (bad and on_error == "fail"):
            outputs = outputs_of(scorer, np.stack(pixels), batch_size=batch_size, precision=precision)
            logits.append(as_array(outputs.logits))
            novelty += [] if outputs.novelty is None else [as_array(outputs.novelty)]
            looks.append(looks_of(np.stack(pixels)))
        if progress:
            progress("Classifying", rows.stop, len(images))
    if bad and on_error == "fail":
        raise cannot_be_read(tuple(bad.values()), len(images))
    if not logits:
        raise DataError(f"None of the {len(images)} images can be read. The first: {next(iter(bad.values()))}.")
    kept = images.subset([row for row in range(len(images)) if row not in bad]) if bad else images
    return Seen(
        kept.ids,
        as_array(kept.labels),
        np.concatenate(logits),
        np.concatenate(novelty) if novelty else None,
        Looks(*map(np.concatenate, zip(*looks, strict=True))),
        tuple(bad.values()),
    )


def _read(images: ImageSet, preprocess: Preprocess, row: int) -> NDArray[np.uint8] | BadImage:
    if images.paths is None:
        return preprocess.geometry(as_array(images.image(row)))
    try:
        return preprocess.read(images.paths[row], name=images.ids[row])
    except BadImage as error:
        return error
