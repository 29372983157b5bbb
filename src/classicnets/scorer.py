"""Asking whatever computes logits about images: `Scorer`, its `Answer`, `predict` and `predict_many`.

    images -> read in threads -> logits -> softmax -> the best classes of each image

A `Classifier` is a scorer, and so is anything else that has a card and computes logits.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from classicnets.card import Card
from classicnets.errors import BadImage, ConfigError
from classicnets.system.threads import in_threads

Image = str | Path | bytes | Tensor
"""A path, the bytes of an image file, or a decoded image: uint8 (3, H, W), RGB."""

PrecisionName = Literal["fp32", "bf16", "auto"]
"""The arithmetic of a forward pass; "auto" is bf16 where the hardware has it."""


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
        """Images as `card.preprocess.geometry` makes them, uint8 (N, C, H, W), to float32 logits (N, K) on the CPU."""
        ...


@dataclass(frozen=True)
class Guess:
    """A class: its name, its score (the probability that the scorer gives it, in 0..1), and its index."""

    label: str
    score: float
    index: int


@dataclass(frozen=True)
class Answer:
    """The best classes for one image, best first.

    Attributes:
        path: the image's name.
        predictions: the best classes.
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
        """JSON-ready: `path`, `predictions` (a list of `label`, `score`, `index`), `model`, and `truth` if known."""
        values = asdict(self)
        values["predictions"] = list(values["predictions"])
        if self.truth is None:
            del values["truth"]
        return values


def predict(scorer: Scorer, image: Image, *, top_k: int = 5) -> Answer:
    """The `top_k` best classes for one image. Raises BadImage, naming the image and the reason."""
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

    Args:
        scorer: what computes the logits.
        images: any number of images; they are read in threads, `batch_size` at a time.
        top_k: how many classes each answer has, 1 or more; more than there are means all of them.
        batch_size: how many images go through the network at a time, 1 or more.
        precision: the arithmetic of the forward pass.

    Raises ConfigError for a single path, and for a `top_k` or `batch_size` below 1.
    """
    if isinstance(images, str | bytes | Path):
        raise ConfigError("predict_many takes many images, and got one path. Use predict, or give a list.")
    if top_k < 1 or batch_size < 1:
        raise ConfigError(f"top_k={top_k}, batch_size={batch_size}: both must be 1 or more.")
    return _predict_many(scorer, enumerate(images), top_k, batch_size, precision)


def _predict_many(
    scorer: Scorer, images: Iterator[tuple[int, Image]], top_k: int, batch_size: int, precision: PrecisionName
) -> Iterator[Answer | BadImage]:
    while batch := list(itertools.islice(images, batch_size)):
        named = [(str(image) if isinstance(image, str | Path) else f"image {i}", image) for i, image in batch]
        prepared = list(in_threads(lambda one: _prepare(scorer.card, *one), named, chunk=1))
        good = [image for image in prepared if isinstance(image, Tensor)]
        best = iter(_best(scorer, torch.stack(good), top_k, precision) if good else ())
        for (name, _), image in zip(named, prepared, strict=True):
            yield image if isinstance(image, BadImage) else Answer(name, next(best), scorer.card.model_name)


def _prepare(card: Card, name: str, image: Image) -> Tensor | BadImage:
    try:
        if isinstance(image, Tensor):
            return card.preprocess.geometry(image)
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
