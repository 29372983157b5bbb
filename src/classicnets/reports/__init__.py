"""Pictures and pages of whatever holds numbers: Report -> write_report -> evaluation/, figures/, report.html."""

from __future__ import annotations

from pathlib import Path

from classicnets.data.imageset import ImageSet
from classicnets.evaluation.report import Report
from classicnets.reports.figures import save_figures
from classicnets.reports.page import write_html

__all__ = ["write_report"]


def write_report(folder: str | Path, report: Report, images: ImageSet) -> Path:
    """Write `evaluation/`, `figures/` and `report.html` into `folder`, a run or any other; returns the page's path.

    `images` are those of the report. The curves are drawn where the folder has a metrics.csv. Raises StorageError.
    """
    folder = Path(folder)
    report.save(folder / "evaluation")
    save_figures(report, images, folder / "figures", curves=folder / "metrics.csv")
    return write_html(folder, report, images)
