"""The pictures of the corruptions: the accuracy at each severity, and what an image looks like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from classicnets.evaluation.corruptions import CORRUPTIONS, KINDS, SEVERITIES, Robustness, corrupt
from classicnets.reports.canvas import LIGHT, PERCENT, Theme, distinct_colours, new_figure, plain_axes, write_title
from classicnets.reports.text import percent

if TYPE_CHECKING:
    from torch import Tensor


def spoken(name: str) -> str:
    """Write the name of a corruption as it is read.

    >>> spoken("jpeg_compression")
    'JPEG compression'
    """
    return name.replace("_", " ").replace("jpeg", "JPEG")


def corruption_curves(robustness: Robustness, theme: Theme = LIGHT) -> Figure:
    """Draw the accuracy at each severity: a panel for each kind of corruption, a line for each corruption.

    Args:
        robustness: what is drawn.
        theme: the colours.
    """
    figure = new_figure((9.6, 5.6), theme)
    panels = figure.subplots(
        2, 2, sharex=True, sharey=True,
        gridspec_kw={"hspace": 0.22, "wspace": 0.08, "top": 0.83, "bottom": 0.09, "left": 0.07, "right": 0.98},
    ).ravel()  # fmt: skip
    for axes, (kind, names) in zip(panels, KINDS.items(), strict=True):
        for name, colour in zip(names, distinct_colours(len(names), theme), strict=True):
            accuracies = [robustness.clean, *robustness.accuracy[name]]
            axes.plot(range(SEVERITIES + 1), accuracies, "o-", color=colour, markersize=3.5, label=spoken(name))
        plain_axes(axes, theme)
        axes.set_title(kind, loc="left", color=theme.ink, fontsize=10)
        axes.legend(loc="lower left", frameon=False, fontsize=8, labelcolor=theme.ink, borderaxespad=0.1)
        axes.set_xticks(range(SEVERITIES + 1), ["clean", *map(str, range(1, SEVERITIES + 1))])
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PERCENT)
    for axes in panels[2:]:
        axes.set_xlabel("severity", color=theme.faint, fontsize=9)
    low, high = robustness.relative_interval
    worst = spoken(robustness.worst)
    finding = f"{percent(robustness.relative)} of the accuracy is left; {worst} costs most"
    detail = f"Interval {low * 100:.1f} to {high * 100:.1f} %, over {robustness.num_images:,} images in 75 corruptions"
    write_title(figure, finding, detail, theme)
    return figure


def corruption_sheet(image: np.ndarray | Tensor, *, seed: int = 0) -> Tensor:
    """Make a sheet of one image: a row for each corruption, first the image as it is, then severity 1 to 5.

    It needs PyTorch, as `corrupt` does.

    Args:
        image: uint8 (C, H, W), grey or RGB.
        seed: as for `corrupt`.

    Returns the sheet, uint8 (3, h, w): 15 rows of 6 pictures, with white gaps.
    """
    import torch
    from torch.nn.functional import pad

    image = torch.as_tensor(image)
    gap = max(1, image.shape[-1] // 20)
    rows = []
    for name in CORRUPTIONS:
        levels = range(1, SEVERITIES + 1)
        pictures = [image, *(corrupt(image[None], name, severity, seed=seed)[0] for severity in levels)]
        rows.append(torch.cat([pad(picture, (0, gap, 0, gap), value=255) for picture in pictures], dim=2))
    sheet = torch.cat(rows, dim=1)
    return sheet[:3] if len(sheet) >= 3 else sheet[:1].expand(3, -1, -1)
