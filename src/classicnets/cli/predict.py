"""`classicnets predict`: images in, classes out."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from classicnets.cli.found import FoundImages
from classicnets.cli.options import Device
from classicnets.cli.output import error as say_error
from classicnets.cli.output import print_json, print_table, progress_bars
from classicnets.errors import BadImage

if TYPE_CHECKING:
    from classicnets.scorer import Answer

_EXAMPLES = """
[bold]Examples[/bold]

  classicnets predict runs/photos cat.jpg

  classicnets predict runs/photos holiday/ 'inbox/*.png' --top-k 1

  classicnets predict runs/photos holiday/ --format jsonl > answers.jsonl
"""


class Format(StrEnum):
    """How the answers are printed."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=_EXAMPLES)(predict)


def predict(
    run: Annotated[Path, typer.Argument(help="A run folder or a model folder.")],
    images: Annotated[list[str], typer.Argument(help="Image files, folders (searched to any depth) or globs.")],
    top_k: Annotated[int, typer.Option(min=1, help="How many classes to print for each image.")] = 5,
    format: Annotated[Format, typer.Option(help="json is one document; jsonl and csv are written line by line.")] = (
        Format.table
    ),
    device: Device = "auto",
) -> None:
    """Print the best classes of images, with a score for each.

    An image that cannot be read gets an error line on stderr. The others are still answered; the exit code is then 3.

    Very large JPEGs are decoded at a reduced scale. For other images above 64 megapixels, set CLASSICNETS_MAX_PIXELS.
    """
    from classicnets.classifier import Classifier
    from classicnets.system.threads import limit_threads

    limit_threads()
    classifier = Classifier.load(run, device=device)
    found = FoundImages(images)
    with progress_bars() as progress:
        answers = classifier.predict_many(found.paths, top_k=top_k)
        good = _Good(answers, total=len(found.paths), progress=progress)
        _PRINT[format](good)
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


def _print_table(predictions: Iterable[Answer]) -> None:
    rows = [
        ("" if place else prediction.path, guess.label, f"{guess.score:.1%}")
        for prediction in predictions
        for place, guess in enumerate(prediction.predictions)
    ]
    if rows:
        print_table(("image", "class", "score"), rows)


def _print_json(predictions: Iterable[Answer]) -> None:
    print_json([prediction.to_dict() for prediction in predictions])


def _print_jsonl(predictions: Iterable[Answer]) -> None:
    for prediction in predictions:
        print_json(prediction.to_dict(), indent=None)


def _print_csv(predictions: Iterable[Answer]) -> None:
    """One row for each class: path, rank (1 is best), label, score, index, model."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("path", "rank", "label", "score", "index", "model"))
    for prediction in predictions:
        for rank, guess in enumerate(prediction.predictions, start=1):
            writer.writerow((prediction.path, rank, guess.label, guess.score, guess.index, prediction.model))


_PRINT: dict[Format, Callable[[Iterable[Answer]], None]] = {
    Format.table: _print_table,
    Format.json: _print_json,
    Format.jsonl: _print_jsonl,
    Format.csv: _print_csv,
}
