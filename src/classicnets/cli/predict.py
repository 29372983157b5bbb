"""`classicnets predict`: images in, classes out."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from classicnets.cli.found import FoundImages, load_scorer
from classicnets.cli.options import Device
from classicnets.cli.output import error as say_error
from classicnets.cli.output import print_json, print_table, progress_bars
from classicnets.errors import BadImage

if TYPE_CHECKING:
    from classicnets.card import Card
    from classicnets.scorer import Answer

_UNLIKE = "unlike the training images"

_EXAMPLES = """
[bold]Examples[/bold]

  classicnets predict runs/photos cat.jpg

  classicnets predict runs/photos holiday/ 'inbox/*.png' --top-k 1

  classicnets predict runs/photos holiday/ --format jsonl > answers.jsonl

  classicnets predict runs/photos cat.jpg --coverage 0.95
"""


class Format(StrEnum):
    """How the answers are printed."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


class Sets(StrEnum):
    """How a set of classes is chosen."""

    lac = "lac"
    raps = "raps"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=_EXAMPLES)(predict)


def predict(
    run: Annotated[Path, typer.Argument(help="A run folder, a model folder or a bundle.")],
    images: Annotated[list[str], typer.Argument(help="Image files, folders (searched to any depth) or globs.")],
    top_k: Annotated[int, typer.Option(min=1, help="How many classes to print for each image.")] = 5,
    format: Annotated[Format, typer.Option(help="json is one document; jsonl and csv are written line by line.")] = (
        Format.table
    ),
    coverage: Annotated[
        float | None,
        typer.Option(help="Also print the set of classes that holds the true one with this probability, such as 0.95."),
    ] = None,
    sets: Annotated[
        Sets, typer.Option(help="lac has the smallest sets on average, raps larger sets for harder images.")
    ] = Sets.lac,
    device: Device = "auto",
) -> None:
    """Print the best classes of images, with a score for each.

    An image that is unlike the training images is marked, because its classes mean little.

    An image that cannot be read gets an error line on stderr. The others are still answered; the exit code is then 3.

    Very large JPEGs are decoded at a reduced scale. For other images above 64 megapixels, set CLASSICNETS_MAX_PIXELS.
    """
    classifier = load_scorer(run, device=device)
    found = FoundImages(images)
    with progress_bars() as progress:
        answers = classifier.predict_many(found.paths, top_k=top_k, coverage=coverage, sets=sets.value)
        good = _Good(answers, total=len(found.paths), progress=progress)
        _PRINT[format](good, classifier.card, coverage)
    if found.problems or good.bad:
        raise typer.Exit(3)


class _Good:
    """The answers without the bad images, which become lines on stderr and are counted in `bad`."""

    def __init__(
        self, answers: Iterable[Answer | BadImage], *, total: int, progress: Callable[[str, int, int], None]
    ) -> None:
        self._answers, self._total, self._progress = answers, total, progress
        self.bad = 0

    def __iter__(self) -> Iterator[Answer]:
        for done, answer in enumerate(self._answers, start=1):
            if isinstance(answer, BadImage):
                self.bad += 1
                say_error(str(answer))
            else:
                yield answer
            self._progress("Images", done, self._total)


def _print_table(predictions: Iterable[Answer], card: Card, coverage: float | None) -> None:
    """One row for each class. The set and the warning stand beside the best one."""
    rows = []
    for prediction in predictions:
        more = [", ".join(prediction.set)] if prediction.set is not None else []
        more += [_UNLIKE if prediction.unlike_training else ""] if card.novelty else []
        for place, guess in enumerate(prediction.predictions):
            first = ["" if place else prediction.path, guess.label, f"{guess.score:.1%}"]
            rows.append((*first, *([""] * len(more) if place else more)))
    columns = ["image", "class", "score"]
    if coverage is not None:
        columns.append(f"{coverage * 100:g}% set")
    if card.novelty:
        columns.append("note" if any(row[-1] for row in rows) else "")
    if rows:
        print_table(columns, rows)


def _print_json(predictions: Iterable[Answer], card: Card, coverage: float | None) -> None:
    print_json([prediction.to_dict() for prediction in predictions])


def _print_jsonl(predictions: Iterable[Answer], card: Card, coverage: float | None) -> None:
    for prediction in predictions:
        print_json(prediction.to_dict(), indent=None)


def _print_csv(predictions: Iterable[Answer], card: Card, coverage: float | None) -> None:
    """One row for each class: path, rank (1 is best), label, score, index, model.

    Then the set, as JSON, if a coverage is asked for, and unlike_training if the classifier can tell.
    """
    more = ["set"] * (coverage is not None) + ["unlike_training"] * (card.novelty is not None)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("path", "rank", "label", "score", "index", "model", *more))
    for prediction in predictions:
        values = {
            "set": json.dumps(prediction.set, ensure_ascii=False),
            "unlike_training": json.dumps(prediction.unlike_training),
        }
        extra = [values[name] for name in more]
        for rank, guess in enumerate(prediction.predictions, start=1):
            writer.writerow((prediction.path, rank, guess.label, guess.score, guess.index, prediction.model, *extra))


_PRINT: dict[Format, Callable[[Iterable[Answer], Card, float | None], None]] = {
    Format.table: _print_table,
    Format.json: _print_json,
    Format.jsonl: _print_jsonl,
    Format.csv: _print_csv,
}
