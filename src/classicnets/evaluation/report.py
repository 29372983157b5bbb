"""`evaluate` measures a classifier on labelled images; `Report` is the result, in memory and as files.

evaluation/
  report.json       everything except the answers
  per_class.csv     one row a class: class, precision, recall, f1, support
  confusion.csv     up to 1,000 classes one row a true class and one column a predicted one; for more classes one row
                    for each pair that occurs: true, predicted, images
  predictions.csv   one row an image: id, label, predicted, score, correct, and the next best answers
"""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from classicnets.card import Card
from classicnets.data.imageset import Data, ImageSet, OnError
from classicnets.errors import DataError
from classicnets.evaluation import metrics
from classicnets.evaluation.choose import labelled, reader_for
from classicnets.evaluation.columns import measured
from classicnets.evaluation.confusion import ConfusionMatrix, Ints
from classicnets.evaluation.metrics import Bin, Calibration, ClassScores, Floats, Interval
from classicnets.evaluation.seen import Options, Seen, see, see_in_parts
from classicnets.evaluation.slices import Slices, slices_of
from classicnets.evaluation.trust import Trust, measure_trust
from classicnets.images import is_tensor
from classicnets.scorer import Answer, Guess, PrecisionName, Scorer
from classicnets.system.csv_text import csv_text
from classicnets.system.storage import written_aside

if TYPE_CHECKING:
    from torch import Tensor

    from classicnets.data.pipeline.pack import Packed

logger = logging.getLogger("classicnets")

_TOP = 5
_MOST_DENSE = 1_000  # classes whose confusion matrix is written with its zeros
_DENSE, _SPARSE = 1, 2  # the formats of report.json: "confusion" as rows, or as columns of the counts above 0


class Confusion(NamedTuple):
    """How many images of the class `label` were taken for the class `predicted`."""

    label: str
    predicted: str
    images: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """How good a classifier is on a set of labelled images. Accuracies and shares are in 0..1.

    Attributes:
        model: the network's name.
        data: the name of the images, such as "fashion-mnist test".
        classes: the K classes of the classifier, in its order; the images may have fewer.
        num_images: how many images were counted, 1 or more.
        loss: the mean cross-entropy, in nats.
        top1: the share of right answers.
        top1_interval: the 95 % bootstrap interval of `top1`.
        top5: the share of images whose class is among the best five.
        confusion: the counts; `confusion[true][predicted]`, both class indices.
        calibration: how far scores can be taken for chances of being right.
        answers: one for each image, in the order of the set.
        skipped: the images that could not be decoded, with the reason; they are not counted.
        trust: what scores, sets and warnings are worth; None if the classifier has no temperature, sets or threshold.
        slices: where the classifier is weak, by the table's columns and by size, brightness and sharpness.
    """

    model: str
    data: str
    classes: tuple[str, ...]
    num_images: int
    loss: float
    top1: float
    top1_interval: Interval
    top5: float
    confusion: ConfusionMatrix
    calibration: Calibration
    answers: tuple[Answer, ...]
    skipped: tuple[str, ...] = ()
    trust: Trust | None = None
    slices: Slices = field(default_factory=Slices)

    @property
    def per_class(self) -> dict[str, ClassScores]:
        """Precision, recall, F1 and support of every class, by its name, in the order of `classes`."""
        return dict(zip(self.classes, metrics.class_scores(self.confusion), strict=True))

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the classes that have images: every class counts the same, however few its images."""
        scores = [score.f1 for score in self.per_class.values() if score.support]
        return sum(scores) / len(scores)

    @property
    def is_validation(self) -> bool:
        """Whether the images are validation images, which may have chosen the best epoch."""
        return self.data.endswith(" validation")

    @property
    def mistakes(self) -> list[Answer]:
        """The wrong answers, the highest score first."""
        return sorted((answer for answer in self.answers if not answer.correct), key=lambda a: (-a.score, a.path))

    @property
    def confusions(self) -> list[Confusion]:
        """Which class is taken for which other one, the most frequent first."""
        return [
            Confusion(self.classes[cell.true], self.classes[cell.predicted], cell.images)
            for cell in self.confusion.mistakes()
        ]

    def headline(self) -> dict[str, Any]:
        """The main numbers, JSON-ready: data, num_images, top1, top1_interval, top5, loss, macro_f1, ece."""
        return {
            "data": self.data,
            "num_images": self.num_images,
            "top1": self.top1,
            "top1_interval": list(self.top1_interval),
            "top5": self.top5,
            "loss": self.loss,
            "macro_f1": self.macro_f1,
            "ece": self.calibration.ece,
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything except the answers, JSON-ready: the content of report.json.

        Up to 1,000 classes "confusion" is a list of rows, and "format" is 1. For more classes it holds only the counts
        above 0, as the lists "true", "predicted" (class indices) and "images", and "format" is 2.
        """
        return {
            "format": _DENSE if self._is_dense else _SPARSE,
            "model": self.model,
            **self.headline(),
            "skipped": list(self.skipped),
            "classes": list(self.classes),
            "per_class": {name: score._asdict() for name, score in self.per_class.items()},
            "confusion": self.confusion.dense().tolist() if self._is_dense else self._cells(),
            "calibration": {
                "ece": self.calibration.ece,
                "gap": self.calibration.gap,
                "bins": [bin._asdict() for bin in self.calibration.bins],
            },
            **({"trust": self.trust.to_dict()} if self.trust else {}),
            "slices": self.slices.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any], answers: Iterable[Answer] = ()) -> Report:
        """Build a report from the values that `to_dict` returns, and from its answers.

        Raises DataError if `values` are not those of a report.
        """
        try:
            if values["format"] not in (_DENSE, _SPARSE):
                raise DataError(
                    f"This report has format {values['format']}, and this version reads {_DENSE} and {_SPARSE}. "
                    f"Update classicnets, or run `classicnets evaluate` again."
                )
            calibration = values["calibration"]
            return cls(
                **{key: values[key] for key in ("model", "data", "num_images", "loss", "top1", "top5")},
                classes=tuple(values["classes"]),
                top1_interval=Interval(*values["top1_interval"]),
                confusion=_confusion(values["confusion"], len(values["classes"])),
                calibration=Calibration(
                    ece=calibration["ece"],
                    gap=calibration["gap"],
                    bins=tuple(Bin(**bin) for bin in calibration["bins"]),
                ),
                answers=tuple(answers),
                skipped=tuple(values["skipped"]),
                trust=Trust.from_dict(values["trust"]) if "trust" in values else None,
                slices=Slices.from_dict(values["slices"]) if "slices" in values else Slices(),
            )
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise DataError(f"This is not a report ({error}). `classicnets evaluate` writes one.") from None

    def save(self, folder: str | Path) -> Path:
        """Write report.json, per_class.csv, confusion.csv and predictions.csv; other files in the folder stay.

        Args:
            folder: where to write; it is created if necessary.

        Returns the folder. Raises StorageError if the files cannot be written.
        """
        folder = Path(folder)
        scores = [(name, *score) for name, score in self.per_class.items()]
        texts = {
            "per_class.csv": csv_text(("class", *ClassScores._fields), scores),
            "confusion.csv": csv_text(*self._confusion_table()),
            "predictions.csv": csv_text(_columns(len(self.classes)), map(_row, self.answers)),
            "report.json": json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n",
        }
        for name, text in texts.items():
            with written_aside(folder / name) as new:
                new.write_text(text, "utf-8", newline="")
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Report:
        """Read the report that `save` wrote to `folder`, by this version or an earlier one.

        Raises DataError if there is none, or if it is damaged.
        """
        folder = Path(folder)
        try:
            values = json.loads((folder / "report.json").read_text("utf-8"))
            with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
                index = {name: i for i, name in enumerate(values["classes"])}
                answers = [_answer(row, values["model"], index) for row in csv.DictReader(file)]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{folder} holds no report that can be read ({error}). Run `classicnets evaluate`."
            ) from None
        report = cls.from_dict(values, answers)
        if len(report.answers) != report.num_images:
            raise DataError(
                f"{folder}: predictions.csv has {len(report.answers)} images and report.json {report.num_images}. "
                f"They come from two evaluations. Run `classicnets evaluate` again."
            )
        return report

    @property
    def _is_dense(self) -> bool:
        return len(self.classes) <= _MOST_DENSE

    def _cells(self) -> dict[str, list[int]]:
        matrix = self.confusion
        columns = {"true": matrix.true, "predicted": matrix.predicted, "images": matrix.images}
        return {name: column.tolist() for name, column in columns.items()}

    def _confusion_table(self) -> tuple[Sequence[str], Iterable[Sequence[object]]]:
        """The columns and rows of confusion.csv."""
        names = self.classes
        if self._is_dense:
            rows = zip(names, self.confusion.dense().tolist(), strict=True)
            return ("true \\ predicted", *names), ((name, *row) for name, row in rows)
        true, predicted, images = self._cells().values()
        cells = zip(true, predicted, images, strict=True)
        return ("true", "predicted", "images"), ((names[i], names[j], count) for i, j, count in cells)


def evaluate(
    scorer: Scorer,
    images: ImageSet | Data | str | PathLike[str],
    *,
    packed: Packed | None = None,
    logits: Tensor | None = None,
    novelty: Tensor | None = None,
    data: str = "",
    on_error: OnError = "fail",
    batch_size: int = 256,
    precision: PrecisionName = "fp32",
    progress: Callable[[str, int, int], None] | None = None,
) -> Report:
    """Measure a classifier on labelled images. Every image counts exactly once.

    Classes are matched by name: the images' classes may be in another order than the classifier's, or be fewer.

    Args:
        scorer: the classifier, or anything else that computes logits.
        images: 1 or more labelled images; a Data stands for its test images, else its validation images; or what
            `load_data` takes. If the scorer was trained on that source, a warning on the logger "classicnets" says so.
        packed: the same images, if `pack` has prepared them with the scorer's preprocessing before.
        logits: the scorer's logits for `packed`, float32 (N, K), if it has computed them before.
        novelty: its novelty scores, float32 (N,), if it has computed them together with `logits`.
        data: the name of the images in the report.
        on_error: "fail" raises DataError if an image cannot be decoded; "skip" leaves it out and lists it.
        batch_size: how many images go through the network at a time, 1 or more.
        precision: the arithmetic of the forward pass: "fp32", "bf16", or "auto" (bf16 if the hardware has it).
        progress: called with the name of the step, how much of it is done, and how much there is.

    Returns the report. Raises DataError if a class is not one of the scorer's, if there are no images, or if images
    cannot be decoded; the message names them.

    >>> evaluate(classifier, load_data("digits").test).top1  # doctest: +SKIP
    0.9889
    """
    trained_on = _source_of(scorer.card)
    chosen = labelled(images, on_error=on_error, trained_on=trained_on, read=reader_for(scorer))
    for note in chosen.notes:
        logger.warning(note)
    images, data = chosen.images, data or chosen.name
    if not len(images):
        raise DataError("There are no images to evaluate on. Give a set with one image or more.")
    to_ours = matched(images, scorer.card.classes)
    options: Options = {"on_error": on_error, "batch_size": batch_size, "precision": precision, "progress": progress}
    if is_tensor(images.labels):
        seen = see(scorer, images, packed=packed, logits=logits, novelty=novelty, **options)
    else:
        seen = see_in_parts(scorer, images, **options)
    return _report(scorer.card, images, seen, to_ours[seen.labels], data)


def _report(card: Card, images: ImageSet, seen: Seen, labels: Ints, data: str) -> Report:
    """The report of what was seen of the images; `labels` are the classifier's, int64 (N,)."""
    scaled = card.scaled(seen.logits)
    best = metrics.ranking(seen.logits, _TOP)
    confusion = metrics.confusion_matrix(labels, best[:, 0], len(card.classes))
    scores = metrics.probabilities(scaled, best)
    is_right = best[:, 0] == labels
    right, total = int(is_right.sum()), len(labels)
    assert confusion.total == total == len(images) - len(seen.skipped), "every image counts once"
    return Report(
        model=card.model_name,
        data=data,
        classes=card.classes,
        num_images=total,
        loss=metrics.cross_entropy(scaled, labels),
        top1=right / total,
        top1_interval=metrics.bootstrap_interval(right, total),
        top5=metrics.share_within(best, labels),
        confusion=confusion,
        calibration=metrics.calibration_of(scores[:, 0], is_right),
        answers=_answers(seen.ids, labels, best, scores, card),
        skipped=tuple(map(str, seen.skipped)),
        trust=measure_trust(card, seen.logits, labels, seen.novelty),
        slices=slices_of(measured(images, seen.ids, seen.looks), labels, is_right),
    )


def _source_of(card: Card) -> str | None:
    """The source that the classifier was trained on, or None if its card does not say."""
    known = card.provenance.get("data")
    return known.get("source") if isinstance(known, Mapping) else None


def matched(images: ImageSet, classes: Sequence[str]) -> Ints:
    """The classifier's index of each of the images' classes, int64; -1 for an unknown class that has no images."""
    index = {name: i for i, name in enumerate(classes)}
    unknown = [name for name, count in images.counts().items() if count and name not in index]
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        known = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
        raise DataError(
            f"The classifier does not know {', '.join(map(repr, unknown[:5]))}{more}. It knows {len(classes)} classes: "
            f"{known}. Rename the class, or leave its images out."
        )
    return np.array([index.get(name, -1) for name in images.classes], np.int64)


def _answers(ids: Sequence[str], labels: Ints, best: Ints, scores: Floats, card: Card) -> tuple[Answer, ...]:
    """One answer for each image; `best` are its best classes (N, k), and `scores` their probabilities."""
    classes = card.classes
    answers = []
    for id, label, indices, row in zip(ids, labels.tolist(), best.tolist(), scores.tolist(), strict=True):
        guesses = tuple(Guess(classes[i], round(score, 6), i) for i, score in zip(indices, row, strict=True))
        answers.append(Answer(id, guesses, card.model_name, truth=classes[label]))
    return tuple(answers)


def _confusion(values: Any, num_classes: int) -> ConfusionMatrix:
    """The matrix from its rows, or from the columns of its counts above 0. Raises ValueError or TypeError."""
    if isinstance(values, dict):
        return ConfusionMatrix.from_cells(num_classes, **values)
    if len(values) != num_classes:
        raise ValueError(f"a confusion matrix of {len(values)} rows for {num_classes} classes")
    return ConfusionMatrix.from_rows(values)


def _columns(num_classes: int) -> list[str]:
    more = [f"{name}_{k}" for k in range(2, min(_TOP, num_classes) + 1) for name in ("predicted", "score")]
    return ["id", "label", "predicted", "score", "correct", *more]


def _row(answer: Answer) -> list[object]:
    best, *others = answer.predictions
    more = [value for guess in others for value in (guess.label, guess.score)]
    return [answer.path, answer.truth, best.label, best.score, int(answer.correct), *more]


def _answer(row: dict[str, str], model: str, index: Mapping[str, int]) -> Answer:
    suffixes = ["", *(f"_{k}" for k in range(2, _TOP + 1) if f"score_{k}" in row)]
    guesses = [(row[f"predicted{end}"], float(row[f"score{end}"])) for end in suffixes]
    predictions = tuple(Guess(label, score, index[label]) for label, score in guesses)
    return Answer(row["id"], predictions, model, truth=row["label"])
