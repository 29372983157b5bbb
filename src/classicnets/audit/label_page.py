"""labels.html: the surest suspects, each beside the nearest images of its label and of the proposed class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any

from classicnets.audit.suspects import LabelAudit, Suspect
from classicnets.data.imageset import ImageSet
from classicnets.images import thumbnail_uri
from classicnets.reports.html import render
from classicnets.reports.thumbnails import picture

MOST_SHOWN = 100
MOST_PAIRS = 20
_LARGE, _SMALL = 168, 84  # pixels of the longer side


def labels_page(audit: LabelAudit) -> str:
    """Return the page as HTML. Raises BadImage if a picture cannot be decoded."""
    shown, pictured = audit.suspects[:MOST_SHOWN], pictures_of(audit.images)
    return render(
        "labels.html.j2",
        audit=audit,
        pairs=[(pair.label, pair.proposed, f"{pair.suspects:,}") for pair in audit.pairs[:MOST_PAIRS]],
        suspects=[described(suspect, pictured, large=_LARGE, small=_SMALL) for suspect in shown],
    )


def described(suspect: Suspect, pictured: Callable[[str, int], str], *, large: int, small: int) -> dict[str, Any]:
    """Return what a page shows of a suspect; `pictured` makes a data URI of an image's name and a size in pixels."""

    def beside(names: Sequence[str]) -> list[dict[str, str]]:
        return [{"path": name, "name": _short(name), "picture": pictured(name, small)} for name in names]

    return {
        "path": suspect.path,
        "name": _short(suspect.path),
        "label": suspect.label,
        "proposed": suspect.proposed,
        "score": suspect.score,
        "picture": pictured(suspect.path, large),
        "like_label": beside(suspect.like_label),
        "like_proposed": beside(suspect.like_proposed),
    }


def pictures_of(images: ImageSet | None) -> Callable[[str, int], str]:
    """Return a function from an image's name and a size to a picture, a data URI; "" if there is no such image."""
    places = {} if images is None else {id: i for i, id in enumerate(images.ids)}

    def pictured(name: str, side: int) -> str:
        if images is None or name not in places:
            return ""
        return thumbnail_uri(picture(images, places[name], side=side))

    return pictured


def _short(path: str) -> str:
    """The name of a file without its folders."""
    return PurePosixPath(path).name
