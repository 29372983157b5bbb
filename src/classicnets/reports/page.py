"""report.html: everything about a run on one page."""

from __future__ import annotations

import json
import math
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from classicnets.data.imageset import ImageSet
from classicnets.evaluation.report import Report
from classicnets.images import image_uri
from classicnets.reports.confusion import confusion
from classicnets.reports.curves import read_best, read_curves, training_curves
from classicnets.reports.html import Themed, render, themed
from classicnets.reports.mistakes import MOST_MISTAKES, pictures
from classicnets.reports.reliability import reliability
from classicnets.reports.text import percent
from classicnets.system.storage import written_aside

_MOST_CONFUSIONS = 10
_MOST_CLASSES = 1_000  # in the table of the classes


def write_html(folder: str | Path, report: Report, images: ImageSet) -> Path:
    """Write `folder`/report.html: the report, and what else a run folder holds: curves, recipe, environment.

    Args:
        folder: a run folder, or any other. Files that are missing or damaged are left out.
        report: what `evaluate` returned.
        images: the images of the report.

    Returns the page's path. Raises StorageError if it cannot be written.
    """
    page = Path(folder) / "report.html"
    text = report_page(Path(folder), report, images)
    with written_aside(page) as new:
        new.write_text(text, "utf-8")
    return page


def report_page(folder: Path, report: Report, images: ImageSet) -> str:
    """The page as HTML."""
    wrong = report.mistakes
    chosen = wrong[:MOST_MISTAKES]
    recipe, config = _read(folder / "recipe.toml"), _parsed(json.loads, _read(folder / "model" / "config.json"))
    return render(
        "report.html.j2",
        report=report,
        num_wrong=len(wrong),
        loss_of_equal_scores=math.log(len(report.classes)),
        curves=_curves(folder),
        refit=_table(config, "classicnets", "provenance", "training").get("refit"),
        confusion=themed(lambda theme: confusion(report, theme)),
        confusions=[(*pair[:2], f"{pair.images:,}") for pair in report.confusions[:_MOST_CONFUSIONS]],
        class_rows=_class_rows(report),
        are_all_classes_shown=len(report.classes) <= _MOST_CLASSES,
        reliability=themed(lambda theme: reliability(report, theme)),
        mistakes=list(zip(chosen, map(image_uri, pictures(chosen, images, side=168)), strict=True)),
        data=_table(config, "classicnets", "provenance", "data"),
        recipe=recipe.strip(),
        environment=_parsed(json.loads, _read(folder / "environment.json")),
        commands=_commands(_parsed(tomllib.loads, recipe)) if config else "",
    )


def _curves(folder: Path) -> Themed | None:
    rows, by = read_curves(folder / "metrics.csv"), read_best(folder)
    return themed(lambda theme: training_curves(rows, by, theme)) if rows else None


def _class_rows(report: Report) -> list[tuple[str, str, str, str, str]]:
    """The table of the classes; of very many classes those with the lowest F1."""
    scores = list(report.per_class.items())
    if len(scores) > _MOST_CLASSES:
        with_images = [(name, score) for name, score in scores if score.support]
        scores = sorted(with_images, key=lambda item: item[1].f1)[:_MOST_CLASSES]
    return [
        (
            name,
            percent(score.precision),
            percent(score.recall) if score.support else "no images",
            percent(score.f1),
            f"{score.support:,}",
        )
        for name, score in scores
    ]


def _commands(recipe: dict[str, Any]) -> str:
    """What to type in the run folder."""
    lines = [
        "# measure it again, in this folder",
        "classicnets evaluate .",
        "",
        "# ask it",
        "classicnets predict . IMAGE",
    ]
    model, source = _table(recipe, "model").get("name"), _table(recipe, "data").get("source")
    if model and source:
        train = f"classicnets train {shlex.quote(str(model))} {shlex.quote(str(source))} --recipe recipe.toml"
        lines = ["# train it again, in this folder", train, "", *lines]
    return "\n".join(lines)


# ---- files of the run: the page is written with those that can be read


def _read(path: Path) -> str:
    """The text of a file, or "" if it cannot be read."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _parsed(parse: Callable[[str], Any], text: str) -> dict[str, Any]:
    """The table in a text, or {} if there is none."""
    try:
        values = parse(text)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _table(values: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The table at these keys, or {} if there is none."""
    for key in keys:
        inner = values.get(key)
        if not isinstance(inner, dict):
            return {}
        values = inner
    return values
