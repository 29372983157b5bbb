"""The figures of a report as files."""

from __future__ import annotations

from pathlib import Path

from classicnets.data.imageset import ImageSet
from classicnets.evaluation.report import Report
from classicnets.reports.canvas import png
from classicnets.reports.confusion import confusion
from classicnets.reports.curves import read_best, read_curves, training_curves
from classicnets.reports.mistakes import mistakes
from classicnets.reports.reliability import reliability
from classicnets.system.storage import written_aside


def save_figures(
    report: Report, images: ImageSet, folder: str | Path, *, run: str | Path | None = None
) -> dict[str, bytes]:
    """Write confusion.png, reliability.png and mistakes.png, and curves.png if there is a training.

    Args:
        report: what is drawn.
        images: the images of the report.
        folder: where to write; it is created if necessary.
        run: the run folder whose metrics.csv and recipe.toml say how the training went, or None.

    Returns the files by name, so that a page can show them without drawing them again. Raises StorageError if they
    cannot be written.

    >>> save_figures(evaluate(classifier, images), images, "figures")  # doctest: +SKIP
    """
    figures = {
        "confusion.png": confusion(report),
        "reliability.png": reliability(report),
        "mistakes.png": mistakes(report, images),
    }
    if run is not None and (rows := read_curves(Path(run) / "metrics.csv")):
        figures["curves.png"] = training_curves(rows, read_best(run))
    drawn = {name: png(figure) for name, figure in figures.items()}
    for name, content in drawn.items():
        with written_aside(Path(folder) / name) as new:
            new.write_bytes(content)
    return drawn
