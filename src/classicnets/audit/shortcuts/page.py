"""The page of an audit for shortcuts: a figure of all clues, then each shortcut with its values and pictures."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from classicnets.audit.shortcuts.clue import Feature
from classicnets.audit.shortcuts.finding import Finding, ShortcutAudit, Verdict, by_class, rows, shown
from classicnets.images import thumbnail_uri
from classicnets.reports.canvas import LIGHT, Theme
from classicnets.reports.html import render, themed
from classicnets.reports.shortcuts import ClueRow, ValueRow, clues_figure, values_figure
from classicnets.reports.thumbnails import thumbnail

_CLASSES = 6  # with pictures
_OF_EACH = 5
_ROWS = 20  # classes in the figure of values
_SIDE = 112  # pixels of a picture's longer side


class ClassOfValues(NamedTuple):
    """A class, its images, their values of a feature, and the value that stands for the class."""

    label: int
    images: np.ndarray
    values: np.ndarray
    typical: float


def shortcuts_page(found: ShortcutAudit) -> str:
    """The page as HTML."""
    return render(
        "shortcuts.html.j2",
        found=found,
        figure=themed(partial(overview, found)) if found.findings else None,
        shortcuts=[_shortcut(finding, found) for finding in found.shortcuts],
        traces=[str(finding) for finding in found.findings if finding.verdict is Verdict.trace],
        rows=rows(found.findings),
    )


def overview(found: ShortcutAudit, theme: Theme = LIGHT) -> Figure:
    """Draw what each clue predicts."""
    drawn = [
        ClueRow(
            finding.clue.name, finding.measured.accuracy, finding.measured.interval, finding.chance,
            finding.verdict is Verdict.shortcut,
        )
        for finding in found.findings
    ]  # fmt: skip
    names = found.shortcuts
    headline = f"{names[0].clue.name} alone predicts the class" if names else "No clue predicts the class"
    return clues_figure(
        drawn, headline[:1].upper() + headline[1:], "Balanced accuracy of each clue; the short lines are chance", theme
    )


def _shortcut(finding: Finding, found: ShortcutAudit) -> dict[str, Any]:
    feature = finding.feature
    classes = sorted(_classes(feature, found.images.labels.numpy()), key=lambda one: one.typical)
    return {
        "sentence": str(finding),
        "finding": finding,
        "feature": feature.name,
        "figure": themed(partial(_values, feature, _spread(classes, _ROWS), found)),
        "classes": [
            {"name": found.images.classes[one.label], "pictures": _pictures(one, feature, found)}
            for one in _spread(classes, _CLASSES)
        ],
        "left_out": max(0, len(classes) - _CLASSES),
    }


def _values(feature: Feature, classes: list[ClassOfValues], found: ShortcutAudit, theme: Theme = LIGHT) -> Figure:
    drawn = [ValueRow(found.images.classes[one.label], one.values[np.isfinite(one.values)]) for one in classes]
    if feature.is_flag:
        detail = "The share of the images of each class"
        return values_figure(drawn, feature.name[:1].upper() + feature.name[1:], detail, theme)
    detail = "By class: the median, the middle half and nine tenths of the images"
    title = feature.name[:1].upper() + feature.name[1:]
    return values_figure(drawn, title, detail, theme, shown=partial(shown, feature=feature))


def _classes(feature: Feature, labels: np.ndarray) -> list[ClassOfValues]:
    """The classes; the value that stands for a class is its median, or the share of ones."""
    found = []
    for label, values in by_class(feature, labels):
        known = values[np.isfinite(values)]
        middle = np.mean if feature.is_flag else np.median
        typical = float(middle(known)) if len(known) else -np.inf
        found.append(ClassOfValues(label, np.flatnonzero(labels == label), values, typical))
    return found


def _spread(classes: list[ClassOfValues], most: int) -> list[ClassOfValues]:
    """At most so many of the classes, from the lowest to the highest, evenly apart."""
    if len(classes) <= most:
        return classes
    return [classes[round(i * (len(classes) - 1) / (most - 1))] for i in range(most)]


def _pictures(one: ClassOfValues, feature: Feature, found: ShortcutAudit) -> list[dict[str, str]]:
    """The images whose values are nearest to what is typical of the class."""
    distance = np.abs(np.where(np.isfinite(one.values), one.values, -np.inf) - one.typical)
    if not np.isfinite(one.typical):
        distance = np.isfinite(one.values).astype(float)
    if feature.is_flag:
        distance = np.abs(one.values - round(one.typical))
    nearest = np.argsort(distance, kind="stable")[:_OF_EACH]
    return [
        {
            "image": thumbnail_uri(thumbnail(found.images.image(int(one.images[i])), _SIDE)),
            "path": found.images.ids[int(one.images[i])],
            "value": _caption(float(one.values[i]), feature),
        }
        for i in nearest.tolist()
    ]


def _caption(value: float, feature: Feature) -> str:
    if feature.is_flag:
        return f"{feature.name}: {shown(value, feature)}"
    return shown(value, feature)
