"""The figure of the most confident mistakes."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from classicnets.data.imageset import ImageSet
from classicnets.evaluation.report import Report
from classicnets.reports.canvas import LIGHT, Theme, new_figure, write_title
from classicnets.reports.labels import Labels
from classicnets.reports.text import percent
from classicnets.reports.thumbnails import pictures

MOST_MISTAKES = 24


def mistakes(report: Report, images: ImageSet, theme: Theme = LIGHT) -> Figure:
    """Draw the most confident mistakes: each image with its true class above, the predicted class and its score below.

    Args:
        report: the report whose wrong answers are drawn, at most 24 of them.
        images: the images of the report.
        theme: the colours.

    Raises BadImage if one of them cannot be decoded.
    """
    wrong = report.mistakes
    chosen = wrong[:MOST_MISTAKES]
    names = Labels(report.classes, extra=report.data, most=19)
    columns = min(6, max(3, len(chosen)))
    rows = max(1, math.ceil(len(chosen) / columns))
    figure = new_figure((1.75 * columns + 0.3, 2.2 * rows + 0.8), theme)
    top = 1 - 0.8 / figure.get_figheight()
    cells = figure.subplots(
        rows, columns, squeeze=False,
        gridspec_kw={"top": top, "bottom": 0.01, "left": 0.02, "right": 0.98, "wspace": 0.12, "hspace": 0.05},
    ).ravel()  # fmt: skip
    for axes in cells:
        axes.set_axis_off()
    for axes, answer, picture in zip(cells, chosen, pictures(chosen, images, side=160), strict=False):
        axes.imshow(picture.transpose(1, 2, 0), interpolation="nearest")
        truth, predicted = (names[report.classes.index(name or "")] for name in (answer.truth, answer.label))
        style = {"transform": axes.transAxes, "fontsize": 8, "family": names.families}
        axes.text(0, 1.03, truth, color=theme.right, va="bottom", **style)
        axes.text(0, -0.03, f"{predicted}, {percent(answer.score)}", color=theme.wrong, va="top", **style)
    finding = f"The {len(chosen)} most confident of {len(wrong):,} mistakes"
    if len(chosen) == len(wrong):
        finding = f"All {len(wrong)} mistakes, most confident first" if len(wrong) > 1 else "The only mistake"
    detail = "Above each image: its true class. Below: the predicted class and its score"
    if not wrong:
        finding, detail = "No mistakes", f"All {report.num_images:,} images are right"
    write_title(figure, finding, detail, theme, names.families)
    return figure
