"""next.html: the images to label next, with their pictures."""

from __future__ import annotations

from collections import Counter

from classicnets.audit.label_page import pictures_of
from classicnets.audit.wanted import NextLabels
from classicnets.reports.html import render

_MOST_SHOWN = 200
_SIDE = 168  # pixels of a picture's longer side


def next_page(found: NextLabels) -> str:
    """Return the page as HTML. Raises BadImage if a picture cannot be decoded."""
    pictured = pictures_of(found.images)
    shown = found.wanted[:_MOST_SHOWN]
    return render(
        "next.html.j2",
        found=found,
        shown=[(one, pictured(one.path, _SIDE)) for one in shown],
        guesses=[(name, f"{number:,}") for name, number in Counter(one.guess for one in found.wanted).most_common(20)],
    )
