"""What a claim draws: functions that return a `Claim.draw`. Matplotlib is loaded when something is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from classicnets.studies.claim import Cells

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from classicnets.reports.canvas import Theme
    from classicnets.reports.studies import Scale

    Draw = Callable[[Sequence[Cells], str, str, Theme], Figure]


def dots(numbers: Mapping[str, str], *, scale: Scale = "share") -> Draw:
    """Return a drawing of numbers of the cells as dots, a row for each arm.

    Args:
        numbers: a panel for each number: its title -> its name in the cells. Arms without it are left out.
        scale: how they are written: as a "number", a "share" or a "count"; "log" is logarithmic up to 1.
    """

    def draw(measured: Sequence[Cells], headline: str, detail: str, theme: Theme) -> Figure:
        from classicnets.reports.studies import dots_figure

        panels = {title: by_arm(measured, number) for title, number in numbers.items()}
        return dots_figure(panels, headline, detail, theme, scale=scale)

    return draw


def curves(numbers: Mapping[str, str], *, percent: bool = True) -> Draw:
    """Return a drawing of numbers of the epochs, a line for each arm and seed.

    Args:
        numbers: a panel for each number: its title -> its name in the rows of `epochs`, such as "train_accuracy".
        percent: the numbers are shares.
    """

    def draw(measured: Sequence[Cells], headline: str, detail: str, theme: Theme) -> Figure:
        from classicnets.reports.studies import lines_figure

        epochs = by_arm(measured, "epochs")
        panels = {
            title: {
                arm: [[(row["epoch"], row[number]) for row in rows] for rows in seeds] for arm, seeds in epochs.items()
            }
            for title, number in numbers.items()
        }
        return lines_figure(panels, "epoch", headline, detail, theme, percent=percent)

    return draw


def by_layer(numbers: Mapping[str, str], across: str, *, log: bool = True) -> Draw:
    """Return a drawing of lists of numbers, one for each layer, a line for each arm and seed.

    Args:
        numbers: a panel for each list: its title -> its name in the cells.
        across: what the horizontal axis shows: 0 is the first layer, 1 the last.
        log: the values are drawn on a logarithmic axis.
    """

    def draw(measured: Sequence[Cells], headline: str, detail: str, theme: Theme) -> Figure:
        from classicnets.reports.studies import lines_figure

        panels = {
            title: {arm: [_spread(values) for values in seeds] for arm, seeds in by_arm(measured, number).items()}
            for title, number in numbers.items()
        }
        return lines_figure(panels, across, headline, detail, theme, log=log)

    return draw


def source_map(number: str, across: str, down: str) -> Draw:
    """Return a drawing of a list of rows, the mean over the seeds, of the only arm that has it.

    Args:
        number: its name in the cells.
        across, down: what the columns and the rows are.
    """

    def draw(measured: Sequence[Cells], headline: str, detail: str, theme: Theme) -> Figure:
        from classicnets.reports.studies import map_figure

        (seeds,) = by_arm(measured, number).values()
        rows = [[sum(values) / len(values) for values in zip(*row, strict=True)] for row in zip(*seeds, strict=True)]
        return map_figure(rows or [[math.nan]], across, down, headline, detail, theme)

    return draw


def by_arm(measured: Sequence[Cells], number: str) -> dict[str, list[Any]]:
    """Return what the cells measured under the name `number`: arm -> one value for each seed that has it."""
    arms = {arm: None for cells in measured for arm, cell in cells.items() if number in cell or "diverged" in cell}
    return {arm: [cells[arm][number] for cells in measured if number in cells[arm]] for arm in arms}


def _spread(values: Sequence[float]) -> list[tuple[float, float]]:
    """Values at even distances from 0 to 1."""
    return [(i / max(1, len(values) - 1), value) for i, value in enumerate(values)]
