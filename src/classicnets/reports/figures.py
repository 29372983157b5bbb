"""Pictures of a report: the confusion matrix, reliability, the curves of the training, the surest mistakes.

Every function draws one `Figure` and keeps no state. Titles say the finding. Blue is right and orange is wrong
throughout, a pair that every kind of colour vision tells apart.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager, get_font
from matplotlib.ticker import MaxNLocator
from torch import Tensor
from torch.nn.functional import interpolate

from classicnets.data.imageset import ImageSet
from classicnets.evaluation.report import Report
from classicnets.reports.canvas import LIGHT, PERCENT, Theme, new_figure, percent, plain_axes, png, write_title
from classicnets.scorer import Answer
from classicnets.system.storage import written_aside

MOST_MISTAKES = 24
_MOST_COUNTS = 30  # classes with the counts written in the cells
_FEW = 10  # images in a bin, too few to go by
_MOST_NAMES = 100  # classes with their names at the axes


def save_figures(report: Report, images: ImageSet, folder: str | Path, *, curves: str | Path | None = None) -> None:
    """Write confusion.png, reliability.png and mistakes.png to `folder`, and curves.png from the metrics.csv `curves`.

    `images` are those of the report. Raises StorageError when the disk refuses.
    """
    figures = {
        "confusion.png": confusion(report),
        "reliability.png": reliability(report),
        "mistakes.png": mistakes(report, images),
    }
    rows = read_curves(curves) if curves is not None else []
    if rows:
        figures["curves.png"] = training_curves(rows)
    for name, figure in figures.items():
        with written_aside(Path(folder) / name) as new:
            new.write_bytes(png(figure))


# ---- the four figures


def confusion(report: Report, theme: Theme = LIGHT) -> Figure:
    """The confusion matrix: rows are true classes, a cell's colour is its share of the row, its number the count.

    Classes that have no images and were never predicted are left out.
    """
    counts = torch.tensor(report.confusion)
    shown = [i for i in range(len(counts)) if counts[i].sum() + counts[:, i].sum()]
    counts = counts[shown][:, shown]
    names = Labels(report.classes, extra=report.data)
    size = len(shown)
    side = min(max(4.2, 0.52 * size), 13.0)
    labelled = size <= _MOST_NAMES
    font = min(9.0, 0.62 * 72 * side / size)  # of the cells' height
    turned = size > 4
    margin = 0.3 + (max(len(names[i]) for i in shown) * font * 0.008 if labelled else 0.3)
    below = margin if turned else 0.5
    width, height = side + margin + 0.4, side + below + 1.1
    figure = new_figure((width, height), theme)
    axes = figure.add_axes(((margin + 0.15) / width, (below + 0.15) / height, side / width, side / height))
    axes.imshow(_shares(counts, theme).numpy(), interpolation="nearest")
    if labelled:
        ticks = [names[i] for i in shown]
        axes.set_xticks(range(size), ticks, rotation=90 if turned else 0, fontsize=font, family=names.families)
        axes.set_yticks(range(size), ticks, fontsize=font, family=names.families)
    axes.tick_params(length=0, colors=theme.ink)
    axes.set_xlabel("predicted", color=theme.faint, fontsize=9)
    axes.set_ylabel("true", color=theme.faint, fontsize=9)
    if labelled:
        edges = [i + 0.5 for i in range(size - 1)]
        axes.set_xticks(edges, minor=True)
        axes.set_yticks(edges, minor=True)
        axes.grid(which="minor", color=theme.paper, linewidth=1.2 if size <= _MOST_COUNTS else 0.3)
        axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    if size <= _MOST_COUNTS:
        _write_counts(axes, counts, theme, font=min(9.0, 34 * side / size / 2.6))
    finding = f"{percent(report.top1)} of {report.num_images:,} images are right"
    pairs = report.confusions
    detail = "No class is taken for another one"
    if pairs:
        label, predicted = (names[report.classes.index(name)] for name in pairs[0][:2])
        support = report.per_class[pairs[0].label].support
        detail = f"Most often wrong: {label} taken for {predicted}, {pairs[0].images:,} of {support:,}"
    write_title(figure, finding, detail, theme, names.families)
    return figure


def reliability(report: Report, theme: Theme = LIGHT) -> Figure:
    """How often answers of a given score are right, and below it how many answers have that score."""
    bins = [bin for bin in report.calibration.bins if bin.size]
    figure = new_figure((5.6, 5.6), theme)
    upper, lower = figure.subplots(
        2, 1, sharex=True,
        gridspec_kw={"height_ratios": (4, 1), "hspace": 0.12, "top": 0.84, "bottom": 0.1, "left": 0.13, "right": 0.95},
    )  # fmt: skip
    width = 1 / len(report.calibration.bins)
    for bin in bins:
        centre, pale = bin.low + width / 2, bin.size < _FEW
        upper.bar(centre, bin.accuracy, width * 0.9, color=theme.right, alpha=0.3 if pale else 1)
        upper.plot([centre, centre], [bin.accuracy, bin.confidence], color=theme.wrong, linewidth=1.5)
        upper.plot(
            [centre - width * 0.45, centre + width * 0.45], [bin.confidence] * 2, color=theme.wrong, linewidth=2.5
        )
    upper.plot([0, 1], [0, 1], color=theme.faint, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    upper.text(0.03, 0.93, "blue: how often right", color=theme.right, fontsize=9, va="center")
    upper.text(0.03, 0.87, "orange: the score itself", color=theme.wrong, fontsize=9, va="center")
    if any(bin.size < _FEW for bin in bins):
        upper.text(0.03, 0.81, f"pale: fewer than {_FEW} images", color=theme.faint, fontsize=9, va="center")
    upper.set_ylim(0, 1)
    upper.set_ylabel("share that is right", color=theme.faint, fontsize=9)
    lower.bar(
        [bin.low + width / 2 for bin in bins], [bin.size / report.num_images for bin in bins], width * 0.9,
        color=theme.faint,
    )  # fmt: skip
    lower.set_xlim(0, 1)
    lower.set_ylabel("of all images", color=theme.faint, fontsize=9)
    lower.set_xlabel("score of the answer", color=theme.faint, fontsize=9)
    for axes in (upper, lower):
        plain_axes(axes, theme)
        axes.yaxis.set_major_formatter(PERCENT)
        axes.xaxis.set_major_formatter(PERCENT)
    ece, gap = report.calibration.ece, report.calibration.gap
    finding = "Scores can be taken as chances"
    if ece >= 0.02:
        word = "Overconfident" if gap > 0 else "Underconfident"
        finding = f"{word}: scores are {abs(gap) * 100:.1f} points too {'high' if gap > 0 else 'low'}"
        if abs(gap) < ece / 2:
            finding = "Scores are off in both directions"
    write_title(figure, finding, f"Expected calibration error {ece:.3f}, over {report.num_images:,} images", theme)
    return figure


@dataclass(frozen=True)
class CurvePoint:
    """What the curves need of a row of metrics.csv."""

    epoch: int
    train_loss: float
    val_loss: float
    train_accuracy: float
    val_accuracy: float


def read_curves(path: str | Path) -> list[CurvePoint]:
    """The rows of a metrics.csv; none where there is no such file, or in place of a row that cannot be read."""
    rows = []
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                numbers = (float(row[key] or "nan") for key in list(CurvePoint.__annotations__)[1:])
                rows.append(CurvePoint(int(row["epoch"]), *numbers))
    except (OSError, KeyError, ValueError, TypeError):
        return rows
    return rows


def training_curves(rows: Sequence[CurvePoint], theme: Theme = LIGHT) -> Figure:
    """Loss and accuracy by epoch, of the training and of the validation images; the best epoch is marked."""
    figure = new_figure((8.4, 3.9), theme)
    panels = figure.subplots(
        1, 2, gridspec_kw={"wspace": 0.42, "top": 0.74, "bottom": 0.14, "left": 0.07, "right": 0.9}
    )
    epochs = [row.epoch for row in rows]
    best = max(rows, key=lambda row: (row.val_accuracy, row.epoch))
    for axes, what in zip(panels, ("loss", "accuracy"), strict=True):
        for part, colour in (("train", theme.faint), ("val", theme.right)):
            values = [getattr(row, f"{part}_{what}") for row in rows]
            marker = "o" if len(rows) == 1 else None
            axes.plot(epochs, values, color=colour, linewidth=1.8, marker=marker, solid_capstyle="round")
        _label_ends(axes, rows[-1], what, theme)
        axes.plot(best.epoch, getattr(best, f"val_{what}"), "o", color=theme.wrong, markersize=6, zorder=3)
        axes.set_title(what, loc="left", color=theme.faint, fontsize=9)
        axes.set_xlabel("epoch", color=theme.faint, fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        plain_axes(axes, theme)
    panels[1].yaxis.set_major_formatter(PERCENT)
    finding = f"Best validation accuracy: {percent(best.val_accuracy)}, in epoch {best.epoch} of {rows[-1].epoch}"
    gap = best.train_accuracy - best.val_accuracy
    side = "above" if gap >= 0 else "below"
    write_title(figure, finding, f"There the training accuracy is {abs(gap) * 100:.1f} points {side} it", theme)
    return figure


def mistakes(report: Report, images: ImageSet, theme: Theme = LIGHT) -> Figure:
    """The surest wrong answers: each picture with its true class (above) and the answer and its score (below)."""
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
        axes.imshow(picture.permute(1, 2, 0).numpy(), interpolation="nearest")
        label, predicted = (names[report.classes.index(name or "")] for name in (answer.truth, answer.label))
        axes.text(
            0, 1.03, label, transform=axes.transAxes, color=theme.right, fontsize=8, va="bottom", family=names.families
        )
        axes.text(
            0, -0.03, f"{predicted}, {percent(answer.score)}", transform=axes.transAxes, color=theme.wrong, fontsize=8,
            va="top", family=names.families,
        )  # fmt: skip
    finding = f"The {len(chosen)} surest of {len(wrong):,} mistakes"
    if len(chosen) == len(wrong):
        finding = f"All {len(wrong)} mistakes, the surest first" if len(wrong) > 1 else "The only mistake"
    detail = "Above each picture its true class, below it the answer and its score"
    if not wrong:
        finding, detail = "No mistakes", f"All {report.num_images:,} images are right"
    write_title(figure, finding, detail, theme, names.families)
    return figure


def pictures(answers: Iterable[Answer], images: ImageSet, *, side: int) -> list[Tensor]:
    """The images of the answers as RGB thumbnails, uint8 (3, h, w), the longer side at most `side` pixels.

    An image smaller than that is enlarged by a whole factor, so that its pixels stay square. Raises BadImage.
    """
    index = {id: i for i, id in enumerate(images.ids)}
    return [_thumbnail(images.image(index[answer.path]), side) for answer in answers]


def _thumbnail(image: Tensor, side: int) -> Tensor:
    rgb = image[:3] if image.shape[0] >= 3 else image[:1].expand(3, -1, -1)
    longest = max(rgb.shape[1:])
    if longest <= side:
        factor = max(1, side // longest)
        return rgb.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    height, width = (max(1, round(n * side / longest)) for n in rgb.shape[1:])
    return interpolate(rgb[None], (height, width), mode="bilinear", antialias=True)[0]


# ---- what they share


def _label_ends(axes: Axes, last: CurvePoint, what: str, theme: Theme) -> None:
    """Name both lines at their right ends, apart from one another."""
    ends = {part: getattr(last, f"{part}_{what}") for part in ("train", "val")}
    low, high = axes.get_ylim()
    apart = (high - low) * 0.07
    middle, half = sum(ends.values()) / 2, max(abs(ends["train"] - ends["val"]), apart) / 2
    sign = 1 if ends["train"] >= ends["val"] else -1
    places = {"train": middle + sign * half, "val": middle - sign * half}
    for part, name, colour in (("train", "training", theme.faint), ("val", "validation", theme.right)):
        if math.isfinite(places[part]):
            axes.annotate(
                name, (last.epoch, places[part]), xytext=(7, 0), textcoords="offset points", color=colour, fontsize=8.5,
                va="center", annotation_clip=False,
            )  # fmt: skip


def _shares(counts: Tensor, theme: Theme) -> Tensor:
    """The colours of the cells, RGB (K, K, 3): the diagonal in blue by its share of the row, the rest in orange.

    Orange is scaled to the largest share of mistakes, by its square root: rare mistakes are what one looks for.
    """
    shares = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    wrong = shares.clone().fill_diagonal_(0)
    wrong = 0.85 * (wrong / wrong.max().clamp(min=1e-12)).sqrt()
    right_colour, wrong_colour, paper, line = (
        torch.tensor(to_rgb(colour)) for colour in (theme.right, theme.wrong, theme.paper, theme.line)
    )
    diagonal = torch.eye(len(counts), dtype=torch.bool)[:, :, None]
    strength = torch.where(diagonal, shares[:, :, None], wrong[:, :, None])
    return torch.lerp(torch.lerp(paper, line, 0.4), torch.where(diagonal, right_colour, wrong_colour), strength)


def _write_counts(axes: Axes, counts: Tensor, theme: Theme, font: float) -> None:
    for i, row in enumerate(counts.tolist()):
        for j, count in enumerate(row):
            if count:
                strong = i == j and count > sum(row) / 2
                axes.text(
                    j,
                    i,
                    f"{count}",
                    ha="center",
                    va="center",
                    color=theme.paper if strong else theme.ink,
                    fontsize=font,
                )


class Labels:
    """Names as they can be drawn: by index, shortened, and "class 7" where no installed font has the letters.

    `families` are the fonts to draw them with, `extra` is other text that they must cover, `kind` is what is named.
    """

    def __init__(self, names: Sequence[str], *, kind: str = "class", extra: str = "", most: int = 26) -> None:
        letters = set("".join(names) + extra)
        fonts = {letter: _font_of(letter) for letter in letters if letter.isprintable()}
        self.families = ["DejaVu Sans", *sorted({font for font in fonts.values() if font} - {"DejaVu Sans"})]
        self._names = []
        for i, name in enumerate(names):
            text = " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())
            text = text if len(text) <= most else f"{text[: most - 1]}…"
            drawable = text and all(fonts.get(letter) or letter in " …" for letter in text)
            self._names.append(text.replace("$", r"\$") if drawable else f"{kind} {i}")

    def __getitem__(self, index: int) -> str:
        return self._names[index]


@cache
def _font_of(letter: str) -> str | None:
    """The name of an installed font that has the letter: DejaVu Sans, which comes with matplotlib, before any other."""
    entries = sorted(fontManager.ttflist, key=lambda entry: (entry.name != "DejaVu Sans", entry.name))
    for entry in entries:
        if entry.style == "normal" and "last resort" not in entry.name.lower() and _has(entry.fname, letter):
            return str(entry.name)
    return None


@cache
def _letters(path: str) -> frozenset[int]:
    try:
        return frozenset(get_font(path).get_charmap())
    except (OSError, RuntimeError):  # a bitmap font, or a file that has gone
        return frozenset()


def _has(path: str, letter: str) -> bool:
    return ord(letter) in _letters(path)
