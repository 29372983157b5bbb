"""Ask anything that computes logits about images: `Scorer`, its `Answer`, `predict` and `predict_many`.

    images -> read in threads -> logits -> softmax -> the best classes of each image

A `Classifier` is a scorer. So is anything else that has a card and computes logits.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from PIL.Image import Image as PILImage
from torch import Tensor

from classicnets.card import Card
from classicnets.errors import BadImage, ConfigError
from classicnets.images import ImageSource, name_of
from classicnets.system.threads import in_threads

Image = ImageSource
"""What `read_image` takes: a path, bytes, a file object, a PIL image, a uint8 array or a uint8 tensor."""

PrecisionName = Literal["fp32", "bf16", "auto"]
"""The arithmetic of a forward pass; "auto" is bf16 if the hardware has it, else fp32."""


class Scorer(Protocol):
    """A card, and logits for the images that it prepares."""

    @property
    def card(self) -> Card:
        """Classes, preprocessing and provenance."""
        ...

    def logits(
        self,
        images: Tensor,
        *,
        batch_size: int = 256,
        precision: PrecisionName = "fp32",
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Return the logits of prepared images: float32 (N, K), on the CPU.

        Args:
            images: uint8 (N, C, H, W), as `card.preprocess.geometry` makes them.
            batch_size: how many images go through the network at a time, 1 or more.
            precision: the arithmetic of the forward pass: "fp32", "bf16" or "auto".
            progress: called with how many images are done and how many there are.
        """
        ...


@dataclass(frozen=True)
class Guess:
    """One class of an answer.

    Attributes:
        label: the name of the class.
        score: the probability that the scorer gives it, in 0..1.
        index: its place among the classes, from 0.
    """

    label: str
    score: float
    index: int


@dataclass(frozen=True)
class Answer:
    """The best classes for one image.

    Attributes:
        path: the image's name: its path, the name of its file object, or "image 0".
        predictions: the best classes, best first.
        model: the network's name.
        truth: the image's true class, or None if it is not known.
    """

    path: str
    predictions: tuple[Guess, ...]
    model: str
    truth: str | None = None

    @property
    def label(self) -> str:
        """The best class."""
        return self.predictions[0].label

    @property
    def score(self) -> float:
        """The best class's score, in 0..1."""
        return self.predictions[0].score

    @property
    def correct(self) -> bool:
        """Whether the best class is the true one; False if the truth is not known."""
        return self.label == self.truth

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values: path, predictions (label, score, index), model, and truth if it is known."""
        values = asdict(self)
        values["predictions"] = list(values["predictions"])
        if self.truth is None:
            del values["truth"]
        return values


def predict(scorer: Scorer, image: Image, *, top_k: int = 5) -> Answer:
    """Return the best classes for one image.

    Args:
        scorer: what computes the logits.
        image: a path, the bytes of an image file, a file object opened in binary mode, a PIL image, a uint8 array
            (H, W, 3) or (H, W), or a uint8 tensor (3, H, W) or (H, W). Colours are RGB.
        top_k: how many classes the answer has, 1 or more. More than there are means all of them.

    Raises BadImage, with the image's name and the reason, and ConfigError if `top_k` is below 1.

    >>> predict(classifier, "cat.jpg").label  # doctest: +SKIP
    'cat'
    """
    (answer,) = predict_many(scorer, [image], top_k=top_k)
    if isinstance(answer, BadImage):
        raise answer
    return answer


def predict_many(
    scorer: Scorer,
    images: Iterable[Image],
    *,
    top_k: int = 5,
    batch_size: int = 64,
    precision: PrecisionName = "fp32",
) -> Iterator[Answer | BadImage]:
    """Yield one answer per image, in order: an Answer, or the BadImage that says why there is none.

    A bad image never stops the others. An image without a path or a file name is called "image 0", "image 1" and so on.

    Args:
        scorer: what computes the logits.
        images: any number of images, each as for `predict`; also a batch, a uint8 array (N, H, W, 3) or a uint8 tensor
            (N, 3, H, W). Threads read them, `batch_size` at a time.
        top_k: how many classes each answer has, 1 or more. More than there are means all of them.
        batch_size: how many images go through the network at a time, 1 or more.
        precision: the arithmetic of the forward pass: "fp32", "bf16" or "auto".

    Raises ConfigError for a single image, and if `top_k` or `batch_size` is below 1.

    >>> [answer.label for answer in predict_many(classifier, ["cat.jpg", "dog.jpg"])]  # doctest: +SKIP
    ['cat', 'dog']
    """
    if _is_single(images):
        raise ConfigError(
            f"predict_many takes many images, got one ({type(images).__name__}). "
            f"Use predict for one image, or give a list: [image]."
        )
    if top_k < 1 or batch_size < 1:
        raise ConfigError(f"top_k and batch_size must be 1 or more, got top_k={top_k}, batch_size={batch_size}.")
    return _predict_many(scorer, enumerate(images), top_k, batch_size, precision)


def _is_single(images: object) -> bool:
    """Whether this is one image. Some could be iterated over: the rows of an array, the lines of a file."""
    if isinstance(images, np.ndarray | Tensor):
        return images.ndim < 4
    is_content = isinstance(images, str | os.PathLike | bytes | bytearray | memoryview | PILImage)
    return is_content or hasattr(images, "read") or not isinstance(images, Iterable)


def _predict_many(
    scorer: Scorer, images: Iterator[tuple[int, Image]], top_k: int, batch_size: int, precision: PrecisionName
) -> Iterator[Answer | BadImage]:
    while batch := list(itertools.islice(images, batch_size)):
        named = [(name_of(image, f"image {i}"), image) for i, image in batch]
        prepared = list(in_threads(lambda one: _prepare(scorer.card, *one), named, chunk=1))
        good = [image for image in prepared if isinstance(image, Tensor)]
        best = iter(_best(scorer, torch.stack(good), top_k, precision) if good else ())
        for (name, _), image in zip(named, prepared, strict=True):
            yield image if isinstance(image, BadImage) else Answer(name, next(best), scorer.card.model_name)


def _prepare(card: Card, name: str, image: Image) -> Tensor | BadImage:
    try:
        return card.preprocess.read(image, name=name)
    except BadImage as error:
        return error


def _best(scorer: Scorer, images: Tensor, top_k: int, precision: PrecisionName) -> list[tuple[Guess, ...]]:
    probabilities = scorer.logits(images, batch_size=len(images), precision=precision).softmax(dim=1)
    ranked = probabilities.sort(dim=1, descending=True, stable=True)
    scores, indices = ranked.values[:, :top_k].tolist(), ranked.indices[:, :top_k].tolist()
    classes = scorer.card.classes
    return [
        tuple(Guess(classes[i], score, i) for score, i in zip(*row, strict=True))
        for row in zip(scores, indices, strict=True)
    ]
