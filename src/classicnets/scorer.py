"""Ask anything that computes logits about images: `Scorer`, its `Answer`, and `Predictor`, which gives answers.

    images -> read in threads -> logits -> scores -> the best classes of each image
                                        -> with a coverage, the set of classes that holds the true one
                                 novelty -> whether the image is unlike the training images

A `Classifier` is a scorer. So is anything else that has a card and computes logits. One that also has `outputs` can
say that an image is unlike the training images.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    Protocol,
    TypeAlias,
    TypeVar,
    Union,
    runtime_checkable,
)

import numpy as np
from PIL.Image import Image as PILImage

from classicnets.card import Card
from classicnets.conformal import Conformal, SetMethod, check_coverage
from classicnets.errors import BadImage, ConfigError
from classicnets.images import ImageSource, is_tensor, name_of
from classicnets.preprocess import Preprocess
from classicnets.system.threads import in_threads

if TYPE_CHECKING:
    from torch import Tensor

Image = ImageSource
"""What `read_image` takes: a path, bytes, a file object, a PIL image, a uint8 array or a uint8 tensor."""

PrecisionName = Literal["fp32", "bf16", "fp16", "auto"]
"""The arithmetic of a forward pass; "auto" is bf16 if the hardware has it, else fp16 on a GPU, or fp32."""


Values: TypeAlias = Union[np.ndarray, "Tensor"]
"""Numbers: an array, or a tensor on the CPU. `numpy.asarray` and `torch.as_tensor` take both."""


Kind = TypeVar("Kind", bound=Values)


class Scorer(Protocol):
    """A card, and logits for the images that it prepares. It takes and returns arrays or tensors, as it likes."""

    @property
    def card(self) -> Card:
        """Classes, preprocessing and provenance."""
        ...

    def logits(
        self,
        images: Values,
        *,
        batch_size: int = 256,
        precision: PrecisionName = "fp32",
        progress: Callable[[int, int], None] | None = None,
    ) -> Values:
        """Return the logits of prepared images: float32 (N, K), on the CPU.

        Args:
            images: uint8 (N, C, H, W), as `card.preprocess.geometry` makes them.
            batch_size: how many images go through the network at a time, 1 or more.
            precision: the arithmetic of the forward pass: "fp32", "bf16" or "auto".
            progress: called with how many images are done and how many there are.
        """
        ...


class Outputs(NamedTuple, Generic[Kind]):
    """What a network says of N images.

    Attributes:
        logits: float32 (N, K), an array or a tensor on the CPU.
        novelty: how unlike the training images each one is, float32 (N,), higher is less like them; None if unknown.
    """

    logits: Kind
    novelty: Kind | None = None


@runtime_checkable
class NoveltyScorer(Scorer, Protocol):
    """A scorer that also computes novelty scores, in the same pass."""

    def outputs(
        self,
        images: Values,
        *,
        batch_size: int = 256,
        precision: PrecisionName = "fp32",
        progress: Callable[[int, int], None] | None = None,
    ) -> Outputs[Any]:
        """Return the logits of prepared images, and their novelty scores. Arguments are those of `logits`."""
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
        set: the classes that hold the true one with the probability `coverage`, best first; None if none was asked for.
        coverage: the coverage that was asked for, in 0..1, or None.
        unlike_training: whether the image is unlike the training images, so that its classes mean little; None if the
            classifier cannot tell.
        strangeness: the image's score for `Card.drift`, higher is stranger; None if the card has none. It is for
            servers, and not in `to_dict`.
    """

    path: str
    predictions: tuple[Guess, ...]
    model: str
    truth: str | None = None
    set: tuple[str, ...] | None = None
    coverage: float | None = None
    unlike_training: bool | None = None
    strangeness: float | None = field(default=None, repr=False, compare=False)

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
        """Return JSON-ready values: path, predictions (label, score, index), model.

        Also truth, set, coverage and unlike_training, if they are known.
        """
        values = {name: value for name, value in vars(self).items() if value is not None and name != "strangeness"}
        values["predictions"] = [dict(vars(guess)) for guess in self.predictions]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


class Predictor:
    """What all scorers have in common: the parts of their card by name, and `predict` and `predict_many`."""

    card: Card
    needs_torch: ClassVar[bool] = True
    """Whether it computes in PyTorch. If not, `evaluate` does not import PyTorch to measure it."""

    @property
    def model_name(self) -> str:
        """The network's name in the catalog."""
        return self.card.model_name

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of every output, in order."""
        return self.card.classes

    @property
    def preprocess(self) -> Preprocess:
        """How an image becomes network input."""
        return self.card.preprocess

    @property
    def tta(self) -> Literal["none", "flip"]:
        """Test-time augmentation: "flip" averages over the image and its mirror image."""
        return self.card.tta

    @property
    def provenance(self) -> dict[str, Any]:
        """Where it came from, JSON-ready."""
        return self.card.provenance

    def predict(
        self: Scorer, image: Image, *, top_k: int = 5, coverage: float | None = None, sets: SetMethod = "lac"
    ) -> Answer:
        """Return the best classes for one image.

        Args:
            image: a path, the bytes of an image file, a file object opened in binary mode, a PIL image, a uint8 array
                (H, W, 3) or (H, W), or a uint8 tensor (3, H, W) or (H, W). Colours are RGB.
            top_k: how many classes the answer has, 1 or more; more than there are means all of them.
            coverage: the probability, above 0 and below 1, with which `Answer.set` holds the true class; None for no
                set.
            sets: how the set is chosen: "lac" has the smallest sets, "raps" larger sets for harder images.

        Raises BadImage, with the image's name and the reason; ConfigError for a `top_k` below 1 and for a coverage
        that the classifier cannot promise.

        Example:
            >>> clf.predict("cat.jpg", coverage=0.95).set  # doctest: +SKIP
            ('cat', 'lynx')
        """
        (answer,) = Predictor.predict_many(self, [image], top_k=top_k, coverage=coverage, sets=sets)
        if isinstance(answer, BadImage):
            raise answer
        return answer

    def predict_many(
        self: Scorer,
        images: Iterable[Image],
        *,
        top_k: int = 5,
        batch_size: int = 64,
        precision: PrecisionName = "fp32",
        coverage: float | None = None,
        sets: SetMethod = "lac",
    ) -> Iterator[Answer | BadImage]:
        """Yield one answer per image, in order: an Answer, or the BadImage that says why there is none.

        A bad image never stops the others. An image without a path or a file name is called "image 0", "image 1" and
        so on.

        Args:
            images: any number of images, each as for `predict`; also a batch, a uint8 array (N, H, W, 3) or a uint8
                tensor (N, 3, H, W). Threads read them, `batch_size` at a time.
            top_k: how many classes each answer has, 1 or more; more than there are means all of them.
            batch_size: how many images go through the network at a time, 1 or more.
            precision: the arithmetic of the forward pass: "fp32", "bf16" or "auto"; a bundle computes in its own.
            coverage: the probability, above 0 and below 1, with which `Answer.set` holds the true class; None for no
                set.
            sets: how the set is chosen: "lac" has the smallest sets, "raps" larger sets for harder images.

        Raises ConfigError for a single image, for a `top_k` or `batch_size` below 1, and for a coverage that the
        classifier cannot promise.

        Example:
            >>> [answer.label for answer in clf.predict_many(["a.jpg", "b.jpg"])]  # doctest: +SKIP
        """
        if _is_single(images):
            raise ConfigError(
                f"predict_many takes many images, got one ({type(images).__name__}). "
                f"Use predict for one image, or give a list: [image]."
            )
        if top_k < 1 or batch_size < 1:
            raise ConfigError(f"top_k and batch_size must be 1 or more, got top_k={top_k}, batch_size={batch_size}.")
        asked = None if coverage is None else _Asked(require_conformal(self.card, coverage, sets), coverage, sets)
        return _predict_many(self, enumerate(images), top_k, batch_size, precision, asked)


def require_conformal(card: Card, coverage: float, sets: SetMethod = "lac") -> Conformal:
    """Return the card's scores for sets. Raises ConfigError if they cannot promise the coverage, or there are none."""
    check_coverage(coverage, sets)
    if card.conformal is None:
        why = card.missing("coverage") or "it was saved without scores of validation images. Train it again"
        raise ConfigError(f"This classifier cannot give sets with coverage: {why}.")
    card.conformal.thresholds(coverage, sets)
    return card.conformal


class _Asked(NamedTuple):
    """The sets that were asked for."""

    conformal: Conformal
    coverage: float
    method: SetMethod


def _is_single(images: object) -> bool:
    """Whether this is one image. Some could be iterated over: the rows of an array, the lines of a file."""
    if isinstance(images, np.ndarray) or is_tensor(images):
        return images.ndim < 4
    is_content = isinstance(images, str | os.PathLike | bytes | bytearray | memoryview | PILImage)
    return is_content or hasattr(images, "read") or not isinstance(images, Iterable)


def _predict_many(
    scorer: Scorer,
    images: Iterator[tuple[int, Image]],
    top_k: int,
    batch_size: int,
    precision: PrecisionName,
    asked: _Asked | None,
) -> Iterator[Answer | BadImage]:
    while batch := list(itertools.islice(images, batch_size)):
        named = [(name_of(image, f"image {i}"), image) for i, image in batch]
        prepared = list(in_threads(lambda one: _prepare(scorer.card, *one), named, chunk=1))
        good = [image for image in prepared if isinstance(image, np.ndarray)]
        answers = iter(_answers(scorer, np.stack(good), top_k, precision, asked) if good else ())
        for (name, _), image in zip(named, prepared, strict=True):
            yield image if isinstance(image, BadImage) else replace(next(answers), path=name)


def _prepare(card: Card, name: str, image: Image) -> np.ndarray | BadImage:
    try:
        return card.preprocess.read(image, name=name)
    except BadImage as error:
        return error


def outputs_of(
    scorer: Scorer,
    images: Values,
    *,
    batch_size: int = 256,
    precision: PrecisionName = "fp32",
    progress: Callable[[int, int], None] | None = None,
) -> Outputs[Any]:
    """Return what a scorer says of prepared images, with novelty scores if its card has a threshold for them.

    Arguments are those of `Scorer.logits`.
    """
    if scorer.card.novelty is not None and isinstance(scorer, NoveltyScorer):
        return scorer.outputs(images, batch_size=batch_size, precision=precision, progress=progress)
    return Outputs(scorer.logits(images, batch_size=batch_size, precision=precision, progress=progress))


def _answers(
    scorer: Scorer, images: np.ndarray, top_k: int, precision: PrecisionName, asked: _Asked | None
) -> Iterator[Answer]:
    """Yield the answer for each prepared image, still without its path."""
    card = scorer.card
    outputs = outputs_of(scorer, images, batch_size=len(images), precision=precision)
    probabilities = card.probabilities(np.asarray(outputs.logits))
    novelty = None if outputs.novelty is None else np.asarray(outputs.novelty)
    ranks = np.argsort(-probabilities, axis=1, kind="stable")
    sets = asked.conformal.sets(probabilities, asked.coverage, asked.method) if asked else None
    strange = None if card.drift is None else card.drift.scores_of(probabilities, novelty)
    for i, (scores, order) in enumerate(zip(probabilities, ranks, strict=True)):
        best = zip(order[:top_k].tolist(), scores[order[:top_k]].tolist(), strict=True)
        yield Answer(
            path="",
            predictions=tuple(Guess(card.classes[k], score, k) for k, score in best),
            model=card.model_name,
            set=None if sets is None else tuple(card.classes[k] for k in order.tolist() if sets[i, k]),
            coverage=asked.coverage if asked else None,
            unlike_training=_is_unlike(card, novelty, i),
            strangeness=None if strange is None else float(strange[i]),
        )


def _is_unlike(card: Card, novelty: np.ndarray | None, i: int) -> bool | None:
    return None if card.novelty is None or novelty is None else float(novelty[i]) > card.novelty.threshold
