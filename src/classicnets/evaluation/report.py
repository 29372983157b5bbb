"""`evaluate`: a classifier on labelled images, measured; and `Report`: what came out, in memory and as files.

evaluation/
  report.json       everything but the single answers
  per_class.csv     class, precision, recall, f1, support
  confusion.csv     one row a true class, one column a predicted one
  predictions.csv   one row an image: id, label, predicted, score, correct, and the next best answers
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from classicnets.card import Card
from classicnets.data.imageset import Data, ImageSet, OnError
from classicnets.data.pipeline.pack import Packed, pack
from classicnets.errors import DataError
from classicnets.evaluation import metrics
from classicnets.evaluation.choose import labelled
from classicnets.evaluation.metrics import Bin, Calibration, ClassScores, Interval
from classicnets.scorer import Answer, Guess, PrecisionName, Scorer
from classicnets.system.storage import written_aside

_TOP = 5
_FORMAT = 1


class Confusion(NamedTuple):
    """How many images of the class `label` were taken for `predicted`."""

    label: str
    predicted: str
    images: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a classifier does on a set of labelled images. Accuracies and shares are 0..1, the loss is in nats.

    data            what the images are called: "fashion-mnist test"
    classes         the classifier's classes, in its order; the images may have fewer
    top1_interval   the 95 % bootstrap interval of `top1`
    top5            the share of images with the true class among the best five
    confusion       counts; row = true class, column = predicted class
    answers         one for each image, in the order of the set
    skipped         the images that could not be decoded, with the reason; they are not counted
    """

    model: str
    data: str
    classes: tuple[str, ...]
    num_images: int
    loss: float
    top1: float
    top1_interval: Interval
    top5: float
    confusion: tuple[tuple[int, ...], ...]
    calibration: Calibration
    answers: tuple[Answer, ...]
    skipped: tuple[str, ...] = ()

    @property
    def per_class(self) -> dict[str, ClassScores]:
        """Precision, recall, F1 and support of every class."""
        return dict(zip(self.classes, metrics.class_scores(torch.tensor(self.confusion)), strict=True))

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the classes that have images: every class counts alike, however few its images."""
        scores = [score.f1 for score in self.per_class.values() if score.support]
        return sum(scores) / len(scores)

    @property
    def mistakes(self) -> list[Answer]:
        """The wrong answers, the surest of themselves first."""
        return sorted((answer for answer in self.answers if not answer.correct), key=lambda a: (-a.score, a.path))

    @property
    def confusions(self) -> list[Confusion]:
        """Which class is taken for which other one, the most frequent first."""
        pairs = [
            Confusion(self.classes[i], self.classes[j], count)
            for i, row in enumerate(self.confusion)
            for j, count in enumerate(row)
            if i != j and count
        ]
        return sorted(pairs, key=lambda pair: -pair.images)

    def headline(self) -> dict[str, Any]:
        """The few numbers to remember, JSON-ready."""
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
        """Everything but the answers, JSON-ready: what report.json holds."""
        return {
            "format": _FORMAT,
            "model": self.model,
            **self.headline(),
            "skipped": list(self.skipped),
            "classes": list(self.classes),
            "per_class": {name: score._asdict() for name, score in self.per_class.items()},
            "confusion": [list(row) for row in self.confusion],
            "calibration": {
                "ece": self.calibration.ece,
                "gap": self.calibration.gap,
                "bins": [bin._asdict() for bin in self.calibration.bins],
            },
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any], answers: Iterable[Answer] = ()) -> Report:
        """The report of `to_dict`'s values and its answers. Raises DataError for anything else."""
        try:
            if values["format"] != _FORMAT:
                raise DataError(f"This report has the format {values['format']}, and this version reads {_FORMAT}.")
            calibration = values["calibration"]
            return cls(
                **{key: values[key] for key in ("model", "data", "num_images", "loss", "top1", "top5")},
                classes=tuple(values["classes"]),
                top1_interval=Interval(*values["top1_interval"]),
                confusion=tuple(map(tuple, values["confusion"])),
                calibration=Calibration(
                    ece=calibration["ece"],
                    gap=calibration["gap"],
                    bins=tuple(Bin(**bin) for bin in calibration["bins"]),
                ),
                answers=tuple(answers),
                skipped=tuple(values["skipped"]),
            )
        except (KeyError, TypeError) as error:
            raise DataError(f"This is not a report ({error}). `classicnets evaluate` writes one.") from None

    def save(self, folder: str | Path) -> Path:
        """Write report.json, per_class.csv, confusion.csv and predictions.csv to `folder`; other files are left alone.

        Raises StorageError when the disk refuses.
        """
        folder = Path(folder)
        texts = {
            "per_class.csv": _csv(
                ("class", *ClassScores._fields), [(name, *score) for name, score in self.per_class.items()]
            ),
            "confusion.csv": _csv(
                ("true \\ predicted", *self.classes),
                [(name, *row) for name, row in zip(self.classes, self.confusion, strict=True)],
            ),
            "predictions.csv": _csv(_columns(len(self.classes)), map(_row, self.answers)),
            "report.json": json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n",
        }
        for name, text in texts.items():
            with written_aside(folder / name) as new:
                new.write_text(text, "utf-8", newline="")
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Report:
        """The report that `save` wrote to `folder`. Raises DataError where there is none, or a part of one."""
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
                f"They are not of one evaluation: run `classicnets evaluate` again."
            )
        return report


def evaluate(
    scorer: Scorer,
    images: ImageSet | Data | str | PathLike[str],
    *,
    packed: Packed | None = None,
    logits: Tensor | None = None,
    data: str = "",
    on_error: OnError = "fail",
    batch_size: int = 256,
    precision: PrecisionName = "fp32",
    progress: Callable[[str, int, int], None] | None = None,
) -> Report:
    """Measure a classifier on labelled images, where its model is. Every image counts exactly once.

    `images` may be a Data, whose test (else validation) images count, or a folder, a table or the name of a data set.
    Classes are matched by name: those of `images` may come in another order than the classifier's, or be fewer.
    `packed` are the same images, where the classifier's preprocessing packed them before, and `logits` its answers to
    those, where it gave them before.
    `data` is what the report calls the images. With `on_error="skip"`, images that cannot be decoded are left out and
    listed. `progress` is called with what is being done, how much of it is done, and how much there is.

    Raises DataError for a class that the classifier does not know, for a set without images, and for images that
    cannot be decoded, naming them.
    """
    chosen = labelled(images, on_error=on_error)
    images, data = chosen.images, data or chosen.name
    if not len(images):
        raise DataError("There are no images to evaluate on.")
    card = scorer.card
    to_ours = _matched(images, card.classes)
    report = partial(progress, "Reading images") if progress else None
    packed = packed or pack(images, card.preprocess, on_error=on_error, progress=report)
    report = partial(progress, "Classifying") if progress else None
    if logits is None:
        logits = scorer.logits(packed.images, batch_size=batch_size, precision=precision, progress=report)
    labels = to_ours[packed.labels]
    best = metrics.ranking(logits, _TOP)
    confusion = metrics.confusion_matrix(labels, best[:, 0], len(card.classes))
    right, total = int(confusion.trace()), len(labels)
    assert int(confusion.sum()) == total == len(images) - len(packed.skipped), "every image counts once"
    return Report(
        model=card.model_name,
        data=data,
        classes=card.classes,
        num_images=total,
        loss=metrics.cross_entropy(logits, labels),
        top1=right / total,
        top1_interval=metrics.bootstrap_interval(right, total),
        top5=metrics.topk_accuracy(logits, labels, _TOP),
        confusion=tuple(map(tuple, confusion.tolist())),
        calibration=metrics.calibration(logits, labels),
        answers=_answers(packed.ids, labels, logits, best, card),
        skipped=tuple(map(str, packed.skipped)),
    )


def _matched(images: ImageSet, classes: Sequence[str]) -> Tensor:
    """The classifier's index for each of the images' classes; -1 for one without images that it does not know."""
    index = {name: i for i, name in enumerate(classes)}
    unknown = [name for name, count in images.counts().items() if count and name not in index]
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        known = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
        raise DataError(
            f"The classifier does not know {', '.join(map(repr, unknown[:5]))}{more}. It knows {len(classes)} classes: "
            f"{known}. Rename the class, or leave its images out."
        )
    return torch.tensor([index.get(name, -1) for name in images.classes])


def _answers(ids: Sequence[str], labels: Tensor, logits: Tensor, best: Tensor, card: Card) -> tuple[Answer, ...]:
    scores = logits.double().softmax(dim=1).gather(1, best)
    classes = card.classes
    answers = []
    for id, label, indices, row in zip(ids, labels.tolist(), best.tolist(), scores.tolist(), strict=True):
        guesses = tuple(Guess(classes[i], round(score, 6), i) for i, score in zip(indices, row, strict=True))
        answers.append(Answer(id, guesses, card.model_name, truth=classes[label]))
    return tuple(answers)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()


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
