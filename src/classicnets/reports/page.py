"""report.html: everything about a run on one page.

A training and `evaluate` write it with what costs little. `classicnets report` adds `More` to the same page.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from classicnets.data.imageset import ImageSet
from classicnets.errors import DataError
from classicnets.evaluation.columns import FEW
from classicnets.evaluation.corruptions import Robustness
from classicnets.evaluation.report import Report
from classicnets.evaluation.trust import CHOSEN, SEEN, Trust
from classicnets.images import svg_uri, thumbnail_uri
from classicnets.reports.confusion import confusion
from classicnets.reports.corruptions import corruption_curves, corruption_sheet, spoken
from classicnets.reports.curves import read_best, read_curves, training_curves
from classicnets.reports.html import Themed, render, themed
from classicnets.reports.mistakes import MOST_MISTAKES
from classicnets.reports.reliability import reliability
from classicnets.reports.run_files import draw_network, read_counts, read_notes, read_table, read_text, table_at
from classicnets.reports.slices import slice_intervals
from classicnets.reports.text import percent
from classicnets.reports.thumbnails import pictures, thumbnail
from classicnets.scorer import Answer
from classicnets.system.installed import is_installed
from classicnets.system.storage import written_aside

if TYPE_CHECKING:
    from classicnets.data.check import DataCheck

_MOST_CONFUSIONS = 10
_MOST_CLASSES = 1_000  # in the table of the classes
_MOST_COUNTED = 100  # classes in the table of the numbers of images
MOST_EXAMPLES, MOST_SHOWN = 5, 20  # images of a class, and classes
SIDE = 168  # pixels of a picture's longer side
_SHEET_SIDE = 84  # of a picture of the sheet of corruptions


class MistakeMap(NamedTuple):
    """What speaks for a wrong answer: the map over the picture, uint8 RGB (H, W, 3), and whether to believe it."""

    overlay: np.ndarray
    finding: str
    is_trusted: bool


@dataclass(frozen=True, kw_only=True)
class More:
    """What takes time, and is on a page only if it is given.

    Attributes:
        check: what is wrong with the data.
        maps: maps of mistakes, by the image's name.
        notes: what the reader should know, such as what is left out and why, one sentence each.
    """

    check: DataCheck | None = None
    maps: Mapping[str, MistakeMap] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def write_html(folder: str | Path, report: Report, images: ImageSet, drawn: Mapping[str, bytes] | None = None) -> Path:
    """Write `folder`/report.html: the report, and what else a run folder holds: curves, recipe, environment.

    Args:
        folder: a run folder, or any other. Files that are missing or damaged are left out.
        report: what `evaluate` returned.
        images: the images of the report.
        drawn: figures of the same report that `save_figures` has drawn; the others are drawn here.

    Returns the page's path. Raises StorageError if it cannot be written.
    """
    page = Path(folder) / "report.html"
    text = report_page(Path(folder), report, images, drawn=drawn)
    with written_aside(page) as new:
        new.write_text(text, "utf-8")
    return page


def report_page(
    folder: Path,
    report: Report,
    images: ImageSet | None,
    more: More | None = None,
    drawn: Mapping[str, bytes] | None = None,
) -> str:
    """Return the page as HTML.

    Args:
        folder: as for `write_html`.
        report: the evaluation.
        images: its images, or None if they are gone: then the page has no pictures.
        more: what `classicnets report` adds; None for the page that a training writes.
        drawn: figures of the same report that `save_figures` has drawn; the others are drawn here.
    """
    drawn = drawn or {}
    config = read_table(folder / "model" / "config.json")
    recipe = read_table(folder / "recipe.toml")
    drawing = draw_network(config)
    return render(
        "report.html.j2",
        report=report,
        num_wrong=len(report.mistakes),
        loss_of_equal_scores=math.log(len(report.classes)),
        curves=_curves(folder, drawn.get("curves.png")),
        refit=table_at(config, "classicnets", "provenance", "training").get("refit"),
        drawing=svg_uri(drawing) if drawing else "",
        confusion=themed(partial(confusion, report), drawn.get("confusion.png")),
        confusions=[(*pair[:2], f"{pair.images:,}") for pair in report.confusions[:_MOST_CONFUSIONS]],
        class_rows=_class_rows(report),
        are_all_classes_shown=len(report.classes) <= _MOST_CLASSES,
        slices=_slices(report),
        corruptions=_corruptions(folder, report, images),
        reliability=themed(partial(reliability, report), drawn.get("reliability.png")),
        set_rows=_set_rows(report.trust),
        sets_caveat=SEEN if report.is_validation else CHOSEN,
        examples=_examples(report, images),
        mistakes=_mistakes(report, images, more.maps if more else {}),
        more=more,
        data=table_at(config, "classicnets", "provenance", "data"),
        counts=_count_table(folder, report.classes),
        notes=read_notes(folder),
        recipe=read_text(folder / "recipe.toml").strip(),
        environment=read_table(folder / "environment.json"),
        commands=_commands(recipe) if config else "",
    )


def _curves(folder: Path, light: bytes | None) -> Themed | None:
    rows, by = read_curves(folder / "metrics.csv"), read_best(folder)
    return themed(lambda theme: training_curves(rows, by, theme), light) if rows else None


def _class_rows(report: Report) -> list[tuple[str, str, str, str, str]]:
    """The table of the classes; of very many classes those with the lowest F1."""
    return [
        (
            name,
            percent(score.precision),
            percent(score.recall) if score.support else "no images",
            percent(score.f1),
            f"{score.support:,}",
        )
        for name, score in ((name, report.per_class[name]) for name in _shown_classes(report, _MOST_CLASSES))
    ]


def _set_rows(trust: Trust | None) -> list[tuple[str, str, str, str, str]]:
    """The table of measured sets."""
    return [
        (
            percent(row.coverage, 0),
            row.method.upper(),
            percent(row.measured),
            f"{percent(row.interval.low)} to {percent(row.interval.high)}",
            f"{row.mean_size:.2f} ({row.size_interval.low:.2f} to {row.size_interval.high:.2f})",
        )
        for row in (trust.sets if trust else ())
    ]


def _shown_classes(report: Report, most: int) -> list[str]:
    """All classes, or the `most` with the lowest F1 among those that have images."""
    scores = report.per_class
    if len(scores) <= most:
        return list(scores)
    with_images = [name for name, score in scores.items() if score.support]
    return sorted(with_images, key=lambda name: scores[name].f1)[:most]


def _slices(report: Report) -> dict[str, Any]:
    """The section of the slices: the table, and the figure if there is one to draw."""
    slices = report.slices
    return {
        "figure": themed(partial(slice_intervals, report)) if slices.judged else None,
        "weak": slices.weak,
        "rows": [
            (
                one.name,
                percent(one.accuracy),
                f"{one.interval.low * 100:.1f} to {one.interval.high * 100:.1f} %" if one.interval else "",
                percent(one.rest or 0),
                percent(one.expected),
                f"{one.images:,}",
            )
            for one in slices.judged
        ],
        "few": [f"{one.name} ({one.right} of {one.images} right)" for one in slices.few],
        "least": FEW,
        "left_out": slices.left_out,
    }


def _corruptions(folder: Path, report: Report, images: ImageSet | None) -> dict[str, Any] | None:
    """The section of the corruptions, if `evaluate --corruptions` has measured this classifier on these images."""
    try:
        found = Robustness.load(folder / "evaluation")
    except DataError:
        return None
    if not found.belongs_to(report):
        return None
    sheet = ""
    # Images are corrupted with PyTorch: without it, the page has the numbers alone.
    if images is not None and is_installed("torch") and (shown := _with_picture(report.answers, images)[:1]):
        image = images.image(images.ids.index(shown[0].path))
        small = image if max(image.shape[1:]) <= _SHEET_SIDE else thumbnail(image, _SHEET_SIDE)
        sheet = thumbnail_uri(corruption_sheet(small, seed=found.seed))
    return {
        "found": found,
        "figure": themed(partial(corruption_curves, found)),
        "rows": [
            (spoken(name), *map(percent, accuracies), percent(found.mean_of(name)))
            for name, accuracies in found.accuracy.items()
        ],
        "sheet": sheet,
        "names": [spoken(name) for name in found.accuracy],
    }


def _count_table(folder: Path, classes: tuple[str, ...]) -> dict[str, Any]:
    """How many images each part had: the columns and rows of a table, and how many classes are left out of it."""
    counts = read_counts(folder)
    known = [name for name in classes if any(part[name] for part in counts.values())]
    rows = [(name, *(f"{part[name]:,}" for part in counts.values())) for name in known[:_MOST_COUNTED]]
    if rows:
        rows.append(("all", *(f"{part.total():,}" for part in counts.values())))
    return {"columns": ("class", *counts), "rows": rows, "more": max(0, len(known) - _MOST_COUNTED)}


def _examples(report: Report, images: ImageSet | None) -> list[tuple[str, list[tuple[Answer, str]]]]:
    """The first images of each class, with their answers; of many classes those with the lowest F1."""
    if images is None:
        return []
    of_class: dict[str, list[Answer]] = {}
    for answer in _with_picture(report.answers, images):
        of_class.setdefault(answer.truth or "", []).append(answer)
    shown = [name for name in _shown_classes(report, MOST_SHOWN) if name in of_class]
    return [(name, _pictured(of_class[name][:MOST_EXAMPLES], images)) for name in shown]


def _mistakes(
    report: Report, images: ImageSet | None, maps: Mapping[str, MistakeMap]
) -> list[tuple[Answer, str, MistakeMap | None, str]]:
    """The most confident mistakes: the answer, the picture, and if there is one the map and its picture."""
    if images is None:
        return []
    shown = _pictured(_with_picture(report.mistakes, images)[:MOST_MISTAKES], images)
    rows = []
    for answer, picture in shown:
        found = maps.get(answer.path)
        overlay = thumbnail_uri(found.overlay.transpose(2, 0, 1)) if found else ""
        rows.append((answer, picture, found, overlay))
    return rows


def _with_picture(answers: list[Answer] | tuple[Answer, ...], images: ImageSet) -> list[Answer]:
    """The answers whose images are there."""
    known = set(images.ids)
    return [answer for answer in answers if answer.path in known]


def _pictured(answers: list[Answer], images: ImageSet) -> list[tuple[Answer, str]]:
    return list(zip(answers, map(thumbnail_uri, pictures(answers, images, side=SIDE)), strict=True))


def _commands(recipe: dict[str, Any]) -> str:
    """What to type in the run folder."""
    lines = [
        "# measure it again, in this folder",
        "classicnets evaluate .",
        "",
        "# complete this page: a check of every image, and what speaks for the mistakes",
        "classicnets report .",
        "",
        "# see inside its network",
        "classicnets look .",
        "",
        "# ask it",
        "classicnets predict . IMAGE",
    ]
    model, source = table_at(recipe, "model").get("name"), table_at(recipe, "data").get("source")
    if model and source:
        train = f"classicnets train {shlex.quote(str(model))} {shlex.quote(str(source))} --recipe recipe.toml"
        lines = ["# train it again, in this folder", train, "", *lines]
    return "\n".join(lines)
