"""Whether an exported network answers as the original does, and what it loses where it cannot answer exactly so.

images -> PyTorch -> `Reference`
images -> session -> answers, beside the reference's: `check_parity` for fp32, `accuracy` for less precise arithmetic
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classicnets.classifier import Classifier
from classicnets.deployment.engines import Answered, Session
from classicnets.errors import ExportMismatch
from classicnets.evaluation.paired import Counts, count, difference_interval

BATCHES = (1, 2, 7, 32)
"""How many images at a time parity is checked with."""

TOLERANCE = 1e-4
"""How far a probability in fp32 may be from PyTorch's. Novelty scores may be ten times as far, relatively."""

_TIE = 1e-6  # two classes whose probabilities are closer are equally good answers
_BATCH = 32
_WHOLE_IMAGES, _WHOLE_TOLERANCE = 8, 0.02


@dataclass(frozen=True, eq=False)
class Reference:
    """What the network answers in PyTorch.

    Attributes:
        images: uint8 (N, C, H, W), N 1 or more, of the network's own size.
        labels: the true classes, int64 (N,), or None if they are not known.
        answers: the probabilities and novelty scores that PyTorch computes in fp32.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    answers: Answered

    def batch(self, number: int) -> NDArray[np.uint8]:
        """Return `number` of the images, from the first on, repeated if there are fewer: uint8 (number, C, H, W)."""
        return np.resize(self.images, (number, *self.images.shape[1:]))

    @classmethod
    def of(
        cls,
        classifier: Classifier,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64] | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> Reference:
        """Ask the classifier about the images. Arguments are those of the class."""
        if classifier.card.novelty is None or classifier.novelty_score is None:
            logits, novelty = classifier.logits(images, batch_size=_BATCH, progress=progress), None
        else:
            outputs = classifier.outputs(images, batch_size=_BATCH, progress=progress)
            logits, novelty = outputs.logits, outputs.novelty
        probabilities = classifier.card.probabilities(logits)
        answers = Answered(probabilities.numpy(), None if novelty is None else novelty.numpy())
        return cls(images, labels, answers)


class Parity(NamedTuple):
    """How closely a session answers as PyTorch does.

    Attributes:
        images: how many images were compared in each batch size.
        batches: the batch sizes.
        difference: the largest difference of a probability.
        novelty: the largest difference of a novelty score, relative to scores above 1; None without scores.
        top1: the share of images with the same best class, in 0..1.
    """

    images: int
    batches: tuple[int, ...]
    difference: float
    novelty: float | None
    top1: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {**self._asdict(), "batches": list(self.batches)}


def parity(session: Session, reference: Reference, *, most: int = 64) -> Parity:
    """Compare a session with PyTorch, on the first images of the reference, in batches of 1, 2, 7 and 32.

    Args:
        session: the exported network.
        reference: what PyTorch answers. If it has fewer than 32 images, they are repeated to fill a batch.
        most: how many images to compare in each batch size, 1 or more.
    """
    chosen = np.arange(max(max(BATCHES), min(most, len(reference.images)))) % len(reference.images)
    wanted = reference.answers.probabilities[chosen]
    scores = None if reference.answers.novelty is None else reference.answers.novelty[chosen]
    difference, same, apart = 0.0, 1.0, None if scores is None else 0.0
    for batch in BATCHES:
        found = answers(session, reference.images[chosen], batch=batch)
        difference = max(difference, _largest(found.probabilities - wanted))
        same = min(same, float(_same_class(found.probabilities, wanted).mean()))
        if scores is not None and apart is not None:
            novelty = np.full_like(scores, np.nan) if found.novelty is None else found.novelty
            apart = max(apart, _largest((novelty - scores) / np.maximum(np.abs(scores), 1)))
    return Parity(min(len(chosen), len(reference.images)), BATCHES, difference, apart, same)


def check_parity(session: Session, reference: Reference, *, name: str) -> Parity:
    """Compare an fp32 session with PyTorch, as `parity` does.

    Raises ExportMismatch, with what differs, if probabilities differ by more than 1e-4 or any best class is another.
    `name` is what the message calls the session.
    """
    found = parity(session, reference)
    if found.difference <= TOLERANCE and found.top1 == 1 and (found.novelty or 0) <= 10 * TOLERANCE:
        return found
    novelty = "" if found.novelty is None else f", novelty scores by up to {found.novelty:.2g}"
    raise ExportMismatch(
        f"{name} does not answer as PyTorch does: probabilities differ by up to {found.difference:.2g} (allowed: "
        f"{TOLERANCE:g}){novelty}, and {found.top1:.1%} of the best classes are the same. Nothing was written. Try "
        f"another --engine, and please report it."
    )


class Accuracy(NamedTuple):
    """What a less precise network loses, on the same images. Accuracies are in 0..1, drops in percentage points.

    Attributes:
        images: how many were measured.
        before: the accuracy of PyTorch in fp32.
        after: the accuracy of the session.
        drop: how many points are lost; below 0 if it gains.
        interval: the 95 % interval of the drop, for pairs of answers to the same images.
    """

    images: int
    before: float
    after: float
    drop: float
    interval: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {**self._asdict(), "interval": list(self.interval)}

    @classmethod
    def of(cls, counts: Counts) -> Accuracy:
        """Return what counts of right answers say: PyTorch first, then the session."""
        low, high = difference_interval(counts)
        drop = 0.0 - 100 * counts.difference
        return cls(counts.images, counts.accuracy_first, counts.accuracy_second, drop, (-100 * high, -100 * low))

    @property
    def words(self) -> str:
        """The drop and its interval."""
        low, high = self.interval
        return f"{self.drop:.2f} points (95% interval {low:.2f} to {high:.2f}, {self.images:,} images)"


def accuracy(
    session: Session, reference: Reference, *, progress: Callable[[int, int], None] | None = None
) -> Accuracy | None:
    """Measure what a session loses beside PyTorch; None if the true classes are not known.

    Args:
        session: the exported network.
        reference: images with their classes, and what PyTorch answers.
        progress: called with the number of images done and the number of all.
    """
    if reference.labels is None:
        return None
    found = answers(session, reference.images, progress=progress).probabilities.argmax(axis=1)
    wanted = reference.answers.probabilities.argmax(axis=1)
    return Accuracy.of(count((wanted == reference.labels).tolist(), (found == reference.labels).tolist()))


def answers(
    session: Session,
    images: NDArray[np.uint8],
    *,
    batch: int = _BATCH,
    progress: Callable[[int, int], None] | None = None,
) -> Answered:
    """Return what a session says of any number of images, `batch` at a time."""
    parts = []
    for start in range(0, len(images), batch):
        parts.append(session.run(images[start : start + batch]))
        if progress is not None:
            progress(min(start + batch, len(images)), len(images))
    novelty = [part.novelty for part in parts if part.novelty is not None]
    return Answered(
        np.concatenate([part.probabilities for part in parts]), np.concatenate(novelty) if novelty else None
    )


def check_whole_image(file: Path, classifier: Classifier, images: NDArray[np.uint8]) -> float:
    """Compare `whole_image.onnx` with PyTorch on images of other sizes, and return the largest difference.

    Args:
        file: the file. ONNX Runtime answers, or OpenVINO if that is not installed.
        classifier: what it must answer as, after `Preprocess.geometry`.
        images: uint8 (N, C, H, W). Some of them are enlarged, upright and lying.

    Raises ExportMismatch if a probability differs by more than 0.02: the graph resizes to within a level of 255.
    """
    answer, largest = _whole_image_session(file), 0.0
    for i, image in enumerate(images[:_WHOLE_IMAGES]):
        enlarged = image.repeat(2 + i % 2, axis=1).repeat(3 - i % 2, axis=2)
        logits = classifier.logits(classifier.preprocess.geometry(enlarged)[None])
        wanted = classifier.card.probabilities(logits).numpy()
        largest = max(largest, _largest(answer(enlarged[None]) - wanted))
    if largest > _WHOLE_TOLERANCE:
        raise ExportMismatch(
            f"whole_image.onnx does not answer as PyTorch does: probabilities differ by up to {largest:.2g} (allowed: "
            f"{_WHOLE_TOLERANCE:g}). Nothing was written. Export without --whole-image, and please report it."
        )
    return largest


def _whole_image_session(file: Path) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    try:
        import onnxruntime
    except ImportError:
        from classicnets.deployment.openvino_core import core

        model = core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return lambda image: np.asarray(model(image)["probabilities"])
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return lambda image: np.asarray(session.run(["probabilities"], {"images": image})[0])


def _largest(differences: NDArray[Any]) -> float:
    """The largest absolute value; infinite if any is not a number."""
    largest = np.abs(differences).max()
    return float("inf") if np.isnan(largest) else float(largest)


def _same_class(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether the best class found is the best one wanted, or as good."""
    rows = np.arange(len(wanted))
    same: NDArray[np.bool_] = wanted[rows, found.argmax(axis=1)] >= wanted.max(axis=1) - _TIE
    return same
