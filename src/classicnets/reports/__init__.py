"""Pictures and pages of whatever holds numbers: Report -> write_report -> evaluation/, figures/, report.html.

Every figure is a function that takes numbers and returns a matplotlib `Figure`, drawn with the colours, titles and axes
of `canvas`. Every page is a template that extends `templates/base.html.j2`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from classicnets.system.paths import give_libraries_a_home

if TYPE_CHECKING:
    from classicnets.data.imageset import ImageSet
    from classicnets.evaluation.report import Report

__all__ = ["write_report"]

give_libraries_a_home()  # before anything here imports Matplotlib


def write_report(folder: str | Path, report: Report, images: ImageSet) -> Path:
    """Write a report as files, figures and a page: `evaluation/`, `figures/` and `report.html`.

    Args:
        folder: a run folder, or any other; it is created if necessary. The page and the figures also show what a run
            folder holds: the curves of the training, the recipe and the environment.
        report: what `evaluate` returned.
        images: the images of the report.

    Returns the page's path. Raises StorageError if the files cannot be written.

    >>> write_report("my-report", evaluate(classifier, images), images)  # doctest: +SKIP
    PosixPath('my-report/report.html')
    """
    from classicnets.reports.figures import save_figures  # needs matplotlib
    from classicnets.reports.page import write_html

    folder = Path(folder)
    report.save(folder / "evaluation")
    drawn = save_figures(report, images, folder / "figures", run=folder)
    return write_html(folder, report, images, drawn)
