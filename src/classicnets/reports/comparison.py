"""The figure of several trainings: loss and accuracy by epoch of each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from classicnets.errors import ConfigError
from classicnets.evaluation.best import Best, score_of
from classicnets.reports.canvas import LIGHT, Theme, distinct_colours, new_figure, write_title
from classicnets.reports.curves import (
    CurvePoint,
    best_point,
    epoch_axes,
    fit_losses,
    mark_losses_above,
    plot_epochs,
)
from classicnets.reports.labels import Labels
from classicnets.reports.text import percent


class Training(NamedTuple):
    """A training to compare: its name, its epochs (1 or more), and what its best epoch was chosen by."""

    name: str
    rows: Sequence[CurvePoint]
    by: Best = "accuracy"

    @property
    def accuracy(self) -> float:
        """The validation accuracy of the best epoch, in 0..1."""
        return best_point(self.rows, self.by).val_accuracy


def compared_curves(trainings: Sequence[Training], theme: Theme = LIGHT) -> Figure:
    """Draw loss and accuracy by epoch of every training: solid lines for validation, dashed ones for training images.

    Args:
        trainings: what is compared, each with a name of its own; those without an epoch are left out.
        theme: the colours.

    Raises ConfigError if none of them has an epoch.
    """
    trainings = [training for training in trainings if training.rows]
    if not trainings:
        raise ConfigError("None of these runs has finished an epoch: there are no curves to draw yet.")
    names = [training.name for training in trainings]
    colours = dict(zip(names, distinct_colours(len(names)), strict=True))
    ranked = sorted(trainings, key=lambda training: score_of(training.accuracy, "accuracy"), reverse=True)
    labels = Labels([f"{one.name} {percent(one.accuracy)}" for one in ranked], kind="run", most=60)
    beside = 0.09 * max(len(labels[i]) for i in range(len(ranked))) + 0.7
    width, height = 9.2 + beside, max(4.2, 1.2 + 0.24 * len(ranked))
    figure = new_figure((width, height), theme)
    panels = figure.subplots(
        1, 2,
        gridspec_kw={
            "wspace": 0.18, "top": 1 - 1.05 / height, "bottom": 0.5 / height, "left": 0.55 / width,
            "right": 1 - beside / width,
        },
    )  # fmt: skip
    for axes, what in zip(panels, ("loss", "accuracy"), strict=True):
        for training in trainings:
            style = {"color": colours[training.name], "markersize": 4}
            plot_epochs(axes, training.rows, f"train_{what}", linewidth=1.0, linestyle=(0, (3, 2)), **style)
            plot_epochs(axes, training.rows, f"val_{what}", linewidth=1.8, linestyle="-", **style)
        epoch_axes(axes, what, theme)
    fit_losses(panels[0], [training.rows for training in trainings])
    lines = [(one.rows, column, colours[one.name]) for one in trainings for column in ("train_loss", "val_loss")]
    mark_losses_above(panels[0], lines)
    figure.legend(
        [Line2D([], [], color=colours[training.name], linewidth=2.5) for training in ranked],
        [labels[i] for i in range(len(ranked))],
        loc="upper left", bbox_to_anchor=(1 - (beside - 0.15) / width, 1 - 1.0 / height), frameon=False,
        borderaxespad=0, handlelength=1.2, labelcolor=theme.ink, prop={"size": 8.5, "family": labels.families},
    )  # fmt: skip
    write_title(
        figure,
        f"Best validation accuracy: {labels[0]}",
        "Solid lines: validation images. Dashed lines: training images, as they were augmented",
        theme,
        labels.families,
    )
    return figure
